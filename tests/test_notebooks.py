# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom, and hold the outputs of such a run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import xla

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
NAMES = ("train_on_your_own_table", "probe_with_blocked_validation", "embed_and_map")


def code(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(name, model, folder):
    """Run the cells in one process, Jupyter left out."""
    text = "\n".join("".join(cell["source"]) for cell in code(name))
    folder.mkdir(exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-c", text],
        cwd=NOTEBOOKS,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": xla.flags()}
        | {"UNIGEO_MODEL": str(model), "UNIGEO_NOTEBOOK_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.slow
def test_a_table_is_trained_on_and_its_model_serves_the_other_notebooks(tmp_path):
    said = run("train_on_your_own_table", "", tmp_path / "own")
    assert "'coords'" in said and "float32" in said
    model = tmp_path / "own" / "model"
    pytest.importorskip("sklearn")
    said = run("probe_with_blocked_validation", model, tmp_path / "probe")
    assert all(word in said for word in ("random", "blocked", "8 neighbours"))
    pytest.importorskip("geopandas")
    said = run("embed_and_map", model, tmp_path / "map")
    assert "Polygon" in said and "8857" in said


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_executed_small_and_says_nothing_of_the_machine(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < 300_000
    cells = code(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell["outputs"]]
    assert len(outputs) >= 4
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert "/home/" not in path.read_text("utf-8")
