# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder leaves in other formats as the same model."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import unigeo_jax
from tests import small_models
from unigeo_jax import bundles, export, reexport
from unigeo_jax.modalities import student

ROOT = pathlib.Path(__file__).parents[1]
NET = {"sigmas": [1.0, 16.0], "frequencies": 4, "widths": [8], "output": "raw"}
AT = np.random.default_rng(0).uniform([-90, -180], [90, 180], (50, 2)).astype("f4")


def tower(net):
    return {"coords": {"module": "student", "data": {}, "net": net}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder that says how its tower is built, as exports do, without a program."""
    folder = small_models.write(tmp_path_factory.mktemp("models") / "model")
    net = student.Encoder(8, **NET)
    variables = jax.jit(net.init)(jax.random.key(3), AT)
    arrays = {f"coords.{k}": 5 * v for k, v in export.flatten(variables).items()}
    small_models.weigh(folder, arrays)
    about = json.loads((folder / "config.json").read_text())
    about["training"] |= {"dim": 8, "towers": tower(NET)}
    about |= {"licence": "mit", "step": 0}
    (folder / "coords.jax").unlink()
    (folder / "README.md").write_text("# Mine\n\nWords.\n\n## Files\n\nold\n")
    small_models.rewrite(folder, about)
    return folder


def command(*flags):
    line = [sys.executable, "launch/export.py", *map(str, flags)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_writes_another_format_of_the_same_model(model, tmp_path):
    out = tmp_path / "out"
    ran = command(f"--model={model}", f"--out={out}", "--format=jax")
    assert ran.returncode == 0, ran.stderr
    enc = unigeo_jax.load(out)
    weights = bundles.read_safetensors(model / "model.safetensors")
    tree: dict = {"params": {}}
    for key, value in weights.items():
        _, _, *layer, leaf = key.split(".")
        at = tree["params"].setdefault(layer[0], {}) if layer else tree["params"]
        at[leaf] = value
    want = jax.jit(student.Encoder(8, **NET).apply)(tree, AT)
    z = enc.embed(lat=AT[:, 0], lon=AT[:, 1])
    np.testing.assert_allclose(z, want, atol=1e-5)
    assert enc.info["sha256"] == export.hashes(model)["model.safetensors"]["sha256"]
    assert enc.info["licence"] == "mit"
    assert (
        1
        < enc.int8_scale
        == json.loads((out / "config.json").read_text())["int8_scale"]
    )
    card = (out / "README.md").read_text()
    assert card.startswith("# Mine\n\nWords.") and "`coords.jax`" in card
    assert "old" not in card
    again = command(f"--model={model}", f"--out={out}")
    assert again.returncode == 1 and "is there already" in again.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=x"], "--workdir of a run, or --model"),
        (["--out=x", "--model=earth", "--workdir=y"], "--workdir of a run, or --model"),
        (["--out=x", "--model=earth", "--name=z"], "are for --workdir"),
    ],
)
def test_a_run_or_a_model_not_both(flags, words):
    ran = command(*flags)
    assert ran.returncode == 1 and words in ran.stdout + ran.stderr
    assert not (ROOT / "x").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"towers": {}}, "coords"),
        (
            {"towers": tower(NET | {"widths": [9]})},
            "hidden_0",
        ),
        ({"towers": tower(NET | {"depth": 1})}, "depth"),
    ],
)
def test_a_tower_that_cannot_be_built_is_refused(model, tmp_path, changed, words):
    copy = shutil.copytree(model, tmp_path / "copy")
    about = json.loads((copy / "config.json").read_text())
    about["training"] |= changed
    small_models.rewrite(copy, about)
    with pytest.raises(ValueError, match="tower coords cannot be built") as error:
        reexport.run(copy, tmp_path / "out")
    assert words in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy"]


def test_a_module_of_elsewhere_is_not_imported(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    about = json.loads((copy / "config.json").read_text())
    about["towers"]["coords"]["module"] = "this"
    small_models.rewrite(copy, about)
    with pytest.raises(ValueError, match="'this' is not of this package"):
        reexport.run(copy, tmp_path / "out")
    assert "this" not in sys.modules


def test_a_table_of_nodes_stays_one():
    entry = {"weights": ["m.nodes"], "input": {"node": {"dtype": "int32", "shape": []}}}
    table = {"m.nodes": np.arange(6, dtype=np.float32).reshape(3, 2)}
    about = {"model_id": "x", "towers": {"m": entry}}
    function, example, held = reexport.rebuilt("m", about, table)
    assert example["node"].shape == () and held == table
    found = np.asarray(function(held, {"node": np.array([2, 7], np.int32)}))
    np.testing.assert_array_equal(found[0], [4, 5])
    assert np.isnan(found[1]).all()
