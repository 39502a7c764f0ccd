# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/evaluate.py on runs with a graph, without coordinates, and on students."""

import functools
import html
import json
from typing import Any

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from configs import distill as distill_config
from configs import mobclip
from launch import evaluate
from unigeo_jax import distill, train
from unigeo_jax.data.datasets import us_flows
from unigeo_jax.evals import baselines, nodes, report

DATA = "us_places/tiny"


@pytest.fixture(scope="module")
def at(data_dir):
    """lat, lon of all 512 nodes."""
    return nodes.located(DATA, data_dir)


@pytest.fixture
def judge(tmp_path, data_dir, at, monkeypatch):
    """judge(workdir) -> results.json: a task at 90 nodes, another between them."""
    lat, lon = at[0][:90], at[1][:90]
    (tmp_path / "tasks").mkdir()
    entries = []
    for name, aside in (("at_nodes", 0.0), ("between", 0.1)):
        rows = zip(lat + aside, lon, lat - lon, strict=True)
        lines = [f"{a},{b},{y}" for a, b, y in rows]
        (tmp_path / "tasks" / f"{name}.csv").write_text(
            "\n".join(["lat,lon,y", *lines])
        )
        entry = {"name": name, "file": f"{name}.csv", "target": "y"}
        entries.append(entry | {"kind": "regression", "leaks": ["mobility"]})
    (tmp_path / "tasks" / "tasks.json").write_text(json.dumps(entries))
    monkeypatch.setattr(report, "write", functools.partial(report.write, grid_deg=20.0))

    some = {k: e for k, e in baselines.features(16).items() if k in BASELINES}
    monkeypatch.setattr(baselines, "features", lambda width: some)

    def run(workdir):
        options = {"seeds": 1, "splits": ["random"], "builtin": False, "gallery": 50}
        options |= {"probes": ["linear"], "tasks": [str(tmp_path / "tasks")]}
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        with flagsaver.flagsaver(**options):
            evaluate.evaluate(workdir, data_dir, tmp_path / "out")
        return json.loads((tmp_path / "out" / "results.json").read_text())

    return run


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train.fit(config(), folder, data_dir)
    return folder


def config(*without):
    found: Any = mobclip.get_config("tiny")
    with found.unlocked():
        for name in ("aerial", "poi", *without):
            del found.towers[name]
        found.steps, found.eval.splits = 2, ("val",)
    return found


BASELINES = {"latlon", "harmonics10", "idw"}
FLOWS = {"mobility (modelled)", "raw flows (modelled)"}
TOWERS = {"mobility (modelled)", "all towers", "all but mobility"}
RAW = {"raw figures", "raw flows (modelled)", "raw figures, flows (modelled)"}


def test_a_run_with_a_graph_is_judged_at_its_nodes_too(
    teacher, judge, tmp_path, capsys
):
    results = judge(teacher)
    # That flows are modelled is said where they show: data, page, print.
    said = [us_flows.MODELLED, us_flows.SHARED_OUT]
    assert results["cautions"] == said
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert all(words in page for words in (*said, *FLOWS))
    printed = capsys.readouterr().out
    assert all(words in printed for words in said)
    found = results["downstream"]["at_nodes"]["random"]
    assert BASELINES | TOWERS | RAW | {"coords", "untrained"} <= found.keys()
    for name in TOWERS | FLOWS:
        assert np.isfinite(found[name]["score"])
        assert found[name]["leak"] == ["mobility"]
    elsewhere = results["downstream"]["between"]["random"]
    assert BASELINES | {"coords", "untrained"} <= elsewhere.keys()
    assert not (TOWERS | RAW) & elsewhere.keys()
    assert {"demographics->mobility", "coords+demographics->mobility"} <= (
        results["retrieval"]["val"].keys()
    )


def test_a_run_without_coordinates_is_judged_where_its_nodes_are(
    judge, tmp_path, data_dir, capsys
):
    train.fit(config("coords"), tmp_path / "run", data_dir)
    assert capsys.readouterr().out.count(us_flows.MODELLED) == 1
    results = judge(tmp_path / "run")
    assert list(results["downstream"]) == ["at_nodes"]
    found = results["downstream"]["at_nodes"]["random"]
    assert found.keys() >= BASELINES | TOWERS | RAW and "coords" not in found
    assert results["geolocation"] == {}


def test_a_student_is_judged_like_any_tower_of_coordinates(
    teacher, judge, tmp_path, data_dir
):
    asked = distill_config.get_config("tiny")
    with asked.unlocked():
        asked.steps, asked.refit = 2, False
    distill.run(teacher, tmp_path / "student", asked, data_dir)
    results = judge(tmp_path / "student")
    assert (results["retrieval"], results["geolocation"]) == ({}, {})
    for task in ("at_nodes", "between"):
        found = results["downstream"][task]["random"]
        assert BASELINES | {"coords", "untrained"} <= found.keys()
        assert not TOWERS & found.keys()
        assert found["coords"]["leak"] == ["mobility"]  # its teacher saw it
