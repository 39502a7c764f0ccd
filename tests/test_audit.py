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
            f"#!{sys.executable}\nimport sys\nprint({text!r})\nsys.exit({code})\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


def report(**vulns):
    rows = [{"name": n, "version": "1.0", "vulns": v} for n, v in vulns.items()]
    rows.append({"name": "skipped", "skip_reason": "not found"})
    return json.dumps({"dependencies": rows, "fixes": []})


def test_a_package_of_another_version_or_of_none_is_loose(audit):
    wanted = audit.pinned(
        "# all\nA_b.c==1.0\nd==2.0; sys_platform == 'linux'  # here\n\ne==3\n"
    )
    assert wanted == {"a-b-c": "1.0", "d": "2.0", "e": "3"}
    installed = {"a-b-c": "1.0", "d": "2.1", "f": "1", "pip": "9"}
    lines = audit.unpinned(installed, wanted)
    assert [line.split(":")[0] for line in lines] == ["d 2.1", "f 1"]


def test_a_known_vulnerability_is_told_with_the_release_that_mends_it(audit):
    one = {"id": "CVE-1", "fix_versions": ["1.1"]}
    found, audited = audit.vulnerable(report(bad=[one], good=[]))
    assert found == ["bad 1.0: CVE-1, mended in 1.1"]
    assert audited == ["bad", "good"]


@pytest.mark.parametrize(
    ("text", "code", "flags", "wanted", "said"),
    [
        (report(good=[]), 0, [], 0, "1 packages audited, 0 known"),
        (report(bad=[{"id": "X", "fix_versions": []}]), 1, [], 1, "in no release"),
        (report(), 0, [], 0, "NOT AUDITED"),
        ("", 1, [], 0, "NOT AUDITED"),
        ("", 1, ["--required"], 1, "NOT AUDITED"),
    ],
    ids=["clean", "vulnerable", "no-advisories", "no-network", "required"],
)
def test_the_exit_tells(
    audit, auditor, monkeypatch, capsys, text, code, flags, wanted, said
):
    monkeypatch.setattr(audit.importlib.metadata, "distributions", list)
    assert audit.main(auditor(text, code), flags) == wanted
    assert said in capsys.readouterr().out
