# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The audit of dependencies refuses what is loose or known vulnerable."""

import importlib.util
import json
import pathlib
import sys

import pytest

PATH = pathlib.Path(__file__).parents[1] / ".ci" / "audit.py"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def auditor(tmp_path):
    """Makes a program that answers as pip-audit does."""

    def make(text, code):
        path = tmp_path / "pip-audit"
        path.write_text(
            f"#!{sys.executable}\nimport sys\nprint({text!r})\n"
            f"print('no route to the index', file=sys.stderr)\nsys.exit({code})\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


PINNED = "good==1.0\nbad==1.0\nother_one==2.0\nmarked==3.0; sys_platform == 'none'\n"
VERSIONS = {"good": "1.0", "bad": "1.0", "other-one": "2.0", "marked": "3.0"}


def report(skipped=(), **vulns):
    rows = [
        {"name": n, "version": VERSIONS[n.replace("_", "-")], "vulns": v}
        for n, v in vulns.items()
    ]
    rows += [{"name": name, "skip_reason": "not found"} for name in skipped]
    return json.dumps({"dependencies": rows, "fixes": []})


def test_a_package_of_another_version_or_of_none_is_loose(audit):
    wanted = audit.pinned(
        "# all\nA_b.c==1.0\nd==2.0; sys_platform == 'linux'  # here\n\ne==3\n"
    )
    assert wanted == {"a-b-c": "1.0", "d": "2.0", "e": "3"}
    installed = {"a-b-c": "1.0", "d": "2.1", "f": "1", "pip": "9"}
    lines = audit.unpinned(installed, wanted)
    assert [line.split(":")[0] for line in lines] == ["d 2.1", "f 1"]


def test_what_is_due_is_all_that_is_pinned_where_its_marker_holds(audit):
    assert set(audit.due(PINNED, {})) == {"good", "bad", "other-one"}
    assert set(audit.due(PINNED, {"marked": "3.0"})) == set(VERSIONS)


def test_a_known_vulnerability_is_told_with_the_release_that_mends_it(audit):
    one = {"id": "CVE-1", "fix_versions": ["1.1"]}
    found, audited, skipped = audit.vulnerable(
        report(bad=[one], good=[], skipped=["other_one"])
    )
    assert found == ["bad 1.0: CVE-1, mended in 1.1"]
    assert audited == {"bad": "1.0", "good": "1.0"}
    assert skipped == {"other-one": "not found"}


WHOLE = report(good=[], bad=[], other_one=[])
PART = report(good=[], skipped=["bad", "other_one"])
BAD = report(good=[], bad=[{"id": "X", "fix_versions": []}], other_one=[])


@pytest.mark.parametrize(
    ("text", "code", "flags", "wanted", "said"),
    [
        (WHOLE, 0, [], 0, "3 of 3 pinned packages audited, 0 known"),
        (WHOLE, 0, ["--required"], 0, "3 of 3 pinned"),
        (BAD, 1, [], 1, "in no release"),
        (PART, 0, [], 0, "NOT AUDITED: bad, other-one, 2 in all; not found"),
        (PART, 0, ["--required"], 1, "1 of 3 pinned"),
        (report(good=[], bad=[]), 0, ["--required"], 1, "NOT AUDITED: other-one"),
        (report(skipped=VERSIONS), 0, [], 0, "0 of 3 pinned"),
        ("", 1, [], 0, "NOT AUDITED"),
        ("", 1, ["--required"], 1, "no route to the index"),
        ("", 0, ["--required"], 1, "0 of 3 pinned"),
        ("", 2, [], 1, "pip-audit ended with 2, 0 found: no route"),
        (WHOLE, 1, [], 1, "pip-audit ended with 1, 0 found"),
        (WHOLE, 3, [], 1, "pip-audit ended with 3"),
        (BAD, 0, [], 1, "pip-audit ended with 0, 1 found"),
        ("Traceback", 1, [], 1, "no report: JSONDecodeError"),
        ("[1]", 0, [], 1, "no report: TypeError"),
    ],
)
def test_the_exit_tells(
    audit, auditor, monkeypatch, capsys, tmp_path, text, code, flags, wanted, said
):
    (tmp_path / "constraints.txt").write_text(PINNED)
    monkeypatch.setattr(audit, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(audit.importlib.metadata, "distributions", list)
    assert audit.main(auditor(text, code), flags) == wanted
    assert said in capsys.readouterr().out


def test_another_version_than_the_pinned_one_is_not_what_was_to_be_audited(
    audit, auditor, monkeypatch, capsys, tmp_path
):
    (tmp_path / "constraints.txt").write_text(PINNED.replace("good==1.0", "good==1.1"))
    monkeypatch.setattr(audit, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(audit.importlib.metadata, "distributions", list)
    assert audit.main(auditor(WHOLE, 0), ["--required"]) == 1
    assert "NOT AUDITED: good" in capsys.readouterr().out
