# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/evaluate.py as users run it, on a tiny run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import xla

ROOT = pathlib.Path(__file__).parents[1]


def command(script, data_dir, *flags):
    environment = os.environ | {"XLA_FLAGS": xla.flags()}
    return subprocess.run(
        [sys.executable, f"launch/{script}.py", f"--data_dir={data_dir}", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def trained(earth_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = "--config=configs/five_modal.py:tiny"
    ran = command("train", earth_tiny, config, f"--workdir={folder}")
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def task_folder(tmp_path):
    lines = ["lat,lon,height,region"]
    lines += [f"{i % 40},{i % 37 * 5},{i % 40 * 3 + i % 7},{i % 4}" for i in range(150)]
    (tmp_path / "heights.csv").write_text("\n".join(lines) + "\n")
    entry = {"name": "heights", "file": "heights.csv", "target": "height"}
    entry |= {"kind": "regression", "leaks": ["elevation"], "group_columns": ["region"]}
    (tmp_path / "tasks.json").write_text(json.dumps([entry]))
    return tmp_path


@pytest.mark.slow
def test_one_command_writes_what_the_contract_says(trained, task_folder, earth_tiny):
    out = task_folder / "out"
    ran = command(
        *("evaluate", earth_tiny, f"--workdir={trained}", f"--tasks={task_folder}"),
        *(f"--out={out}", "--seeds=1", "--nobuiltin", "--gallery=500"),
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads((out / "results.json").read_text())
    coords = results["downstream"]["heights"]["blocked"]["coords"]
    assert {"score", "std", "metric", "n"} <= coords.keys()
    assert (coords["metric"], coords["n"]) == ("r2", 150)
    assert coords["leak"] == ["elevation"]
    assert "random" in results["downstream"]["heights"]
    assert "region-region" in results["downstream"]["heights"]
    assert {"untrained", "coords_alone", "mean", "idw", "harmonics40"} <= (
        results["downstream"]["heights"]["random"].keys()
    )
    stored = json.loads((trained / "eval" / "4.json").read_text())
    for split, pairs in stored.items():
        for pair, score in pairs.items():
            got = results["retrieval"][split][pair]
            assert got["recall@10"] == pytest.approx(score["recall@10"], abs=1e-6)
    assert "aerial+dsm->coords" in results["retrieval"]["test"]
    located = results["geolocation"]["test"]["aerial+dsm+street+text"]
    assert located["gallery"] == 500
    assert 0 < located["floor_km"] <= located["median_km"]
    page = (out / "report.html").read_text()
    assert "http" not in page
    assert page.count("data:image/png") >= 4
    assert "Nearest neighbours" in page and "aerial asks, coords answers" in page
    assert (out / "predictions" / "heights.parquet").exists()
    assert "heights" in ran.stdout


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ([], 2, ["--workdir=DIR is required"]),
        (["--workdir=absent"], 1, ["absent", "config.json"]),
        (["--workdir=absent", "--peers=oracle"], 2, ["oracle", "geoclip"]),
        (["--workdir=absent", "--tasks=nowhere"], 1, ["nowhere", "tasks.json"]),
    ],
)
def test_wrong_input_gives_one_clear_error(earth_tiny, flags, code, words):
    ran = command("evaluate", earth_tiny, *flags)
    assert ran.returncode == code, ran.stderr
    for word in words:
        assert word in ran.stderr
    assert "Traceback" not in ran.stderr
