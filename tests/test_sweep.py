# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/sweep.py: finished runs are read, the others trained, a failure is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def sweep(out, *flags):
    return subprocess.run(
        [sys.executable, "launch/sweep.py", f"--out={out}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )


def finish(out, variant, seed, recall, towers=("aerial", "text", "coords")):
    """Writes what a finished run leaves of itself."""
    folder = out / f"{variant}-seed{seed}"
    (folder / "eval").mkdir(parents=True)
    about = {"commit": "abc", "config": {"steps": 7}}
    (folder / "config.json").write_text(json.dumps(about))
    pairs = [f"{a}->{b}" for a in towers for b in towers if a != b]
    score = {"recall@1": recall / 2, "recall@10": recall, "block_oracle@10": 0.1}
    about_all = {"gallery": 1000, "median_km": 100.0}
    table = {pair: score | about_all for pair in pairs}
    # Few places have mobility: chance is high among them.
    few = {"recall@1": 1.0, "recall@10": 1.0, "block_oracle@10": 1.0, "gallery": 30}
    table["aerial->mobility"] = few
    results = {"near": table, "test": table}
    (folder / "eval" / "7.json").write_text(json.dumps(results))
    rows = [{"step": 3, "step_s": 1.0}, {"step": 7, "step_s": 2.0}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_finished_runs_become_a_table_and_a_plot_without_training(tmp_path):
    for seed, recall in ((0, 0.4), (1, 0.6)):
        finish(tmp_path, "all_to_all", seed, recall)
        finish(tmp_path, "pair_aerial_coords", seed, 0.3, ("aerial", "coords"))
    flags = "--variants=all_to_all,pair_aerial_coords", "--seeds=0,1"
    ran = sweep(tmp_path, *flags)
    assert ran.returncode == 0, ran.stderr
    (line,) = [x for x in ran.stdout.splitlines() if x.startswith("all_to_all")]
    assert "25.0 +- 7.1" in line and "50.0 +- 14.1" in line
    assert " -" in line  # the ensemble of all others needs a surface height
    report = json.loads((tmp_path / "sweep.json").read_text())
    assert report["commits"] == ["abc"]
    rows = report["runs"]["all_to_all"]
    assert [row["test recall@10"] for row in rows] == [0.4, 0.6]
    assert rows[0]["seconds"] == 11.0
    away = report["against"]["pair_aerial_coords"]["test aerial->coords@10"]
    # -0.1 and -0.3, and 12.71 standard errors.
    assert away == {"mean": pytest.approx(-0.2), "half_width": pytest.approx(1.271)}
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<circle") % 2 == 0 and page.count("<circle") >= 16
    assert "http" not in page


@pytest.mark.parametrize(
    ("variant", "words"), [("pivot_nothing", ["pivot_nothing-seed0", "exit code"])]
)
def test_a_run_that_fails_ends_the_sweep_and_names_its_log(tmp_path, variant, words):
    ran = sweep(tmp_path, f"--variants={variant}", "--seeds=0")
    assert ran.returncode == 1
    for word in words:
        assert word in ran.stderr
    assert "Traceback" not in ran.stderr
    log = (tmp_path / f"{variant}-seed0.log").read_text()
    assert "config argument variant: got 'pivot_nothing'" in log
