# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings that start from a SigLIP file: right values, right place, once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import common, five_modal
from tests import siglip_files, xla
from unigeo_jax import modalities, sharding, train
from unigeo_jax.data import pipeline
from unigeo_jax.siglip import files, positions, start

ROOT = Path(__file__).resolve().parents[2]
IMAGE_NET = {"width": 16, "depth": 2, "heads": 2, "mlp_ratio": 1.5, "patch": 8}
TEXT_NET = {"width": 12, "depth": 3, "heads": 3, "mlp_ratio": 5 / 3}
TEXT_NET |= {"vocab_size": 8192, "pool": "last", "mask_padding": False}
WORDS = siglip_files.TEXT | {"vocab": 8192}  # the bundled vocabulary


def siglip_config(path, **changes):
    """Five tiny towers; aerial, street and text as SigLIP has them."""
    config = five_modal.get_config("tiny")
    with config.unlocked():
        config.dim = 16
        config.towers.aerial = common.tower({"size": 32}, IMAGE_NET | {"pool": "map"})
        street = {"views": 2, "height": 16, "width": 96}
        config.towers.street = common.tower(street, IMAGE_NET | {"pool": "map"})
        config.towers.text = common.tower({"length": 6}, TEXT_NET)
        config.init.siglip = str(path)
        config.update_from_flattened_dict(changes)
    return config


@pytest.fixture
def arrays():
    return siglip_files.big_vision(text=WORDS)


@pytest.fixture
def npz(tmp_path, arrays):
    saved = siglip_files.scanned(arrays)
    return siglip_files.save_npz(tmp_path / "w.npz", saved)


def prepared(config, data=1, fsdp=1, devices=1):
    mesh = sharding.make_mesh(data=data, fsdp=fsdp, devices=jax.devices()[:devices])
    example = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))
    return train.prepare(config, mesh, example)


def zeros(abstract):
    """Parameters to be replaced, without compiling their initialisation."""
    return jax.tree.map(
        lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), abstract
    )


def filled(config, **layout):
    abstract = prepared(config, **layout).abstract.params
    plan = start.plan(config, abstract)
    assert plan is not None
    params = start.fill(plan, zeros(abstract))
    jax.tree.map(
        lambda x, a: x.sharding == a.sharding or pytest.fail(), params, abstract
    )
    return jax.device_get(params), plan


def test_three_towers_start_from_one_file_and_the_others_do_not(npz, arrays):
    params, plan = filled(siglip_config(npz))
    tree = siglip_files.random_towers(arrays)
    for name in ("aerial", "text"):
        side = "img" if name == "aerial" else "txt"
        jax.tree.map(np.testing.assert_array_equal, params[name], tree[side])
    table = params["street"].pop("pos_embedding")
    expected = positions.resize_image(
        tree["img"].pop("pos_embedding")[0], (4, 4), (2, 12), "corners"
    )
    np.testing.assert_array_equal(table[0], expected)
    jax.tree.map(np.testing.assert_array_equal, params["street"], tree["img"])
    assert not np.any(params["log_tau"]) and not np.any(params["coords"]["registers"])
    assert "towers aerial, street, text start from" in plan.said
    assert "text is read with the bundled vocabulary" in plan.said


@pytest.mark.parametrize("form", ["unrolled", "scanned", "huggingface"])
def test_stacked_layers_split_over_devices_hold_the_same(
    tmp_path, arrays, form, monkeypatch
):
    monkeypatch.setattr(sharding, "MIN_FSDP_SIZE", 1)
    if form == "huggingface":
        values = siglip_files.huggingface(arrays)
        path = siglip_files.save_huggingface(tmp_path / "hf", values, shards=2)
    else:
        saved = siglip_files.scanned(arrays) if form == "scanned" else arrays
        path = siglip_files.save_npz(tmp_path / "w.npz", saved)
    names = ("aerial", "street", "text")
    config = siglip_config(path, **{f"towers.{n}.net.scan": True for n in names})
    params, _ = filled(config, data=2, fsdp=4, devices=8)
    stacked = siglip_files.random_towers(siglip_files.scanned(arrays))
    jax.tree.map(np.testing.assert_array_equal, params["text"], stacked["txt"])
    jax.tree.map(np.testing.assert_array_equal, params["aerial"], stacked["img"])


def test_one_of_several_towers_can_be_chosen(npz):
    params, _ = filled(siglip_config(npz, **{"init.towers": ("text",)}))
    assert np.any(params["text"]["head"]["kernel"])
    assert not np.any(params["aerial"]["embedding"]["kernel"])


def test_another_embedding_width_leaves_the_heads_as_they_are(npz, arrays):
    params, plan = filled(siglip_config(npz, dim=20))
    assert "aerial/head/kernel" in plan.said and "text/head/bias" in plan.said
    assert params["aerial"]["head"]["kernel"].shape == (16, 20)
    assert not np.any(params["aerial"]["head"]["kernel"])
    assert not np.any(params["text"]["head"]["kernel"])
    table = arrays["params/txt/Embed_0/embedding"]
    np.testing.assert_array_equal(params["text"]["Embed_0"]["embedding"], table)


def test_longer_texts_and_larger_images_get_resized_positions(npz, arrays):
    changes = {"towers.text.data.length": 11, "towers.aerial.data.size": 56}
    params, _ = filled(siglip_config(npz, **changes))
    text = positions.resize_text(arrays["params/txt/pos_embedding"][0], 11)
    np.testing.assert_array_equal(params["text"]["pos_embedding"][0], text)
    table = arrays["params/img/pos_embedding"][0]
    image = positions.resize_image(table, (4, 4), (7, 7), "corners")
    np.testing.assert_array_equal(params["aerial"]["pos_embedding"][0], image)


def test_temperature_and_bias_come_too_if_asked_for(tmp_path, arrays):
    arrays["params/t"][:], arrays["params/b"][:] = np.log(20.0), -16.5
    path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    changes = {"init.temperature": True, "init.bias": True, "loss.kind": "sigmoid"}
    params, plan = filled(siglip_config(path, **changes))
    np.testing.assert_allclose(np.exp(params["log_tau"]), 0.05, rtol=1e-6)
    np.testing.assert_allclose(params["logit_bias"], -16.5)
    assert "temperature 0.05000; bias -16.5000" in plan.said
    arrays["params/t"][:] = np.log(112.0)  # SigLIP 2's own lies below the bound
    path = siglip_files.save_npz(tmp_path / "x.npz", arrays)
    params, plan = filled(siglip_config(path, **{"init.temperature": True}))
    np.testing.assert_allclose(np.exp(params["log_tau"]), 0.01, rtol=1e-6)
    with pytest.raises(ValueError, match=r"config\.init\.bias: got True, but"):
        filled(siglip_config(path, **{"init.bias": True}))
    del arrays["params/t"]
    path = siglip_files.save_npz(tmp_path / "y.npz", arrays)
    with pytest.raises(
        ValueError, match="temperature: got True, but the file has none"
    ):
        filled(siglip_config(path, **{"init.temperature": True}))


def test_shared_image_towers_have_one_set_of_weights(npz, arrays):
    changes = {"share_image_towers": True, "towers.street.data.height": 32}
    config = siglip_config(npz, **changes | {"towers.street.data.width": 32})
    run = prepared(config)
    assert "street" not in run.abstract.params
    params, _ = filled(config)
    x = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))["x"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    x["aerial"], x["street"]["image"][:, 0] = pixels, pixels
    x["street"]["mask"][:, 0] = True
    z_mbd = jax.jit(run.task.embed)(params, x)
    names = list(config.towers)
    aerial, street = (z_mbd[names.index(n)] for n in ("aerial", "street"))
    np.testing.assert_allclose(aerial, street, atol=1e-6)
    with pytest.raises(ValueError, match="share_image_towers: got True; allowed: with"):
        prepared(siglip_config(npz, share_image_towers=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"towers.aerial.net.width": 20}, r"aerial \(!\):"),
        ({"towers.aerial.net.pool": "mean"}, "MAPHead_0/probe"),
        ({"towers.text.net.vocab_size": 9000}, r"file \(8192, 12\), tower \(9000"),
        ({"towers.aerial.net.registers": 2}, "params/img/registers"),
        ({"init.towers": ("coords",)}, "allowed: towers of the modalities aerial"),
        ({"init.siglip": "nowhere.npz"}, "no such file"),
    ],
)
def test_a_config_that_does_not_fit_the_file_is_refused(npz, changes, message):
    config = siglip_config(npz, **changes)
    abstract = prepared(config).abstract.params
    with pytest.raises(ValueError, match=message):
        start.plan(config, abstract)


@pytest.mark.parametrize("naflex", [False, True])
def test_naflex_towers_start_from_naflex_and_from_fixed_files(tmp_path, naflex):
    arrays = siglip_files.big_vision(naflex=naflex, text=WORDS)
    path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    data = {"naflex": 24, "patch": 8}
    changes = {f"towers.{n}.net.positions": 4 for n in ("aerial", "street")}
    config = siglip_config(path, **changes)
    with config.unlocked():
        for name in ("aerial", "street"):
            config.towers[name].data.update(data)
    run = prepared(config)
    params, _ = filled(config)
    for name in ("aerial", "street"):
        kernel = params[name]["embedding"]["kernel"]
        expected = arrays["params/img/embedding/kernel"].reshape(192, 16)
        np.testing.assert_array_equal(kernel, expected)
        expected = arrays["params/img/pos_embedding"].reshape(4, 4, 16)
        np.testing.assert_array_equal(params[name]["pos_embedding"], expected)
    x = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))["x"]
    assert np.isfinite(jax.jit(run.task.embed)(params, x)).all()


def test_the_size_argument_init_sets_the_key_and_a_short_name():
    config = five_modal.get_config("size=B,init=some/where/w.npz")
    assert config.init.siglip == "some/where/w.npz"
    assert config.name == "five_modal-size=B-init=w.npz"
    assert five_modal.get_config("init=a/b/,tiny").name == "five_modal-init=b-tiny"


def command_of(path, workdir, data_dir):
    """Trains aerial, text and coords without learning anything, on one device."""
    config = siglip_config(path)
    with config.unlocked():
        del config.towers.dsm, config.towers.street
        config.optim.update(name="adamw", lr=0.0)
        config.steps = 2
    file = workdir.parent / "tiny_siglip.py"
    file.write_text(
        "import json, ml_collections\n"
        f"TEXT = {config.to_json()!r}\n"
        "def get_config(arg=''):\n"
        "    return ml_collections.ConfigDict(json.loads(TEXT)).lock()\n"
    )
    command = [f"--config={file}", f"--workdir={workdir}", f"--data_dir={data_dir}"]
    return [sys.executable, str(ROOT / "launch/train.py"), *command]


def run(command):
    env = os.environ | {"XLA_FLAGS": xla.flags()}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


@pytest.mark.slow
def test_train_starts_from_the_file_resumes_without_it_and_exports(
    earth_tiny, tmp_path
):
    """At a learning rate of zero, what comes out is what went in."""
    arrays = siglip_files.big_vision(text=WORDS)
    path, workdir = tmp_path / "w.npz", tmp_path / "run"
    siglip_files.save_npz(path, siglip_files.scanned(arrays))
    done = run(command_of(path, workdir, earth_tiny))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "towers aerial, text start from" in done.stdout
    path.unlink()
    again = run(command_of(path, workdir, earth_tiny))
    assert again.returncode == 0, again.stderr[-2000:]
    assert "start from" not in again.stdout and "from step 2" in again.stdout
    for layout in ("huggingface", "big_vision"):
        out = tmp_path / layout
        export = [sys.executable, str(ROOT / "launch/export_siglip.py")]
        ran = run(
            [*export, f"--workdir={workdir}", f"--out={out}", f"--layout={layout}"]
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        weights, expected = files.open_weights(out), arrays
        if layout == "huggingface":
            expected = siglip_files.huggingface(arrays)
            about = json.loads((out / "config.json").read_text())
            assert about["model_type"] == "siglip"
        assert set(weights.shapes) == set(expected)
        for key in {k for k, value in expected.items() if value.size > 1}:
            np.testing.assert_array_equal(weights.read(key), expected[key])
    scalars = {k: float(weights.read(k)[0]) for k in ("params/t", "params/b")}
    assert scalars["params/t"] == pytest.approx(-np.log(0.07), rel=1e-6)
    assert scalars["params/b"] == 0.0
    wrong = run([*export, f"--workdir={workdir}", f"--out={out}", "--image=coords"])
    assert wrong.returncode == 1 and "'coords' is no image tower" in wrong.stderr


@pytest.mark.slow
def test_a_wrong_file_ends_the_command_in_one_message_and_leaves_no_workdir(
    earth_tiny, tmp_path
):
    path = siglip_files.save_npz(tmp_path / "w.npz", siglip_files.big_vision())
    done = run(command_of(path, tmp_path / "run", earth_tiny))
    assert done.returncode == 1
    assert done.stderr.startswith("error: weights ")
    assert "Traceback" not in done.stderr and "vocabulary" in done.stderr
    assert not (tmp_path / "run/config.json").exists()
