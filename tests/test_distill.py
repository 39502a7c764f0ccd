# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A student is given its teacher's vectors, learns them, and says where it cannot."""

import json
import os
import pathlib
import subprocess
import sys
import warnings
from typing import Any

import jax
import numpy as np
import pytest

from configs import distill as student
from configs import unified
from unigeo_jax import distill, fidelity, sharding, tasks, train, trained, workdir
from unigeo_jax.data import datasets, splits

ROOT = pathlib.Path(__file__).parents[1]


def small(**changes) -> Any:
    config: Any = student.get_config("tiny")
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module", autouse=True)
def one_device():
    make, devices = sharding.make_mesh, jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", lambda *_, **__: make(devices=devices))
        yield


@pytest.fixture(scope="module")
def teacher(earth_tiny, tmp_path_factory):
    """A run of two towers, two steps long."""
    config: Any = unified.get_config("data=earth,tiny")
    with config.unlocked():
        for name in set(config.towers) - {"demographics", "coords"}:
            del config.towers[name]
        config.towers.coords.net.depth = 0
        config.steps, config.eval.gallery, config.eval.splits = 2, 8, ("val",)
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train.fit(config, folder, earth_tiny)
    return folder


@pytest.fixture(scope="module")
def distilled(teacher, earth_tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("student") / "run"
    return out, distill.run(teacher, out, small(), earth_tiny)


def lesson(n=96, d=8, seed=0):
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(25, 48, n), rng.uniform(-120, -70, n)
    target_nd = rng.normal(2.0, 3.0, (n, d)).astype(np.float32)
    none = np.zeros(n, bool)
    return distill.Lesson(lat, lon, target_nd, none, none)


def test_the_folder_is_a_workdir_with_a_report(distilled, teacher, earth_tiny):
    out, found = distilled
    stored, params, step = trained.restore(out, earth_tiny)[:3]
    assert (stored.task, stored.data.name, step) == ("distillation", "earth/tiny", 30)
    assert set(stored.taught_by) == {"demographics", "coords"}
    assert set(params["coords"]) >= {"frequencies", "head", "target_mean"}
    assert json.loads((out / "fidelity.json").read_text()) == found
    assert found["teacher"]["workdir"] == str(teacher)
    counts = [found[key]["n"] for key in ("seen", "held_out", "kept")]
    assert counts[0] + counts[1] == counts[2]
    assert sum(x["n"] for x in found["held_out_by_km"].values()) == counts[1]
    held = json.loads((out / "held_out" / "eval" / "30.json").read_text())
    assert held["held_out"] == found["held_out"]


def test_the_same_command_again_resumes_and_another_is_refused(
    distilled, teacher, earth_tiny
):
    out, found = distilled
    assert distill.run(teacher, out, small(), earth_tiny) == found
    with pytest.raises(ValueError, match=r"optim\.lr: the workdir has"):
        distill.run(teacher, out, small(**{"optim.lr": 0.5}), earth_tiny)


def test_what_is_loaded_embeds_degrees_and_warns_where_it_extrapolates(
    distilled, earth_tiny
):
    out, _ = distilled
    embed = distill.load(out)
    _, index = datasets.load("earth/tiny", "train", earth_tiny)
    lat, lon = index["lat"][:5], index["lon"][:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z_nd = embed(lat, lon)
    assert z_nd.shape == (5, 32) and z_nd.dtype == np.float32
    np.testing.assert_allclose(embed(lat, lon + 360), z_nd, atol=1e-4)
    with pytest.warns(UserWarning, match=r"1 of 2 points .* lat=-60.0, lon=-140.0"):
        embed(np.array([lat[0], -60.0]), np.array([lon[0], -140.0]))
    with pytest.raises(ValueError, match=r"record 1 has lat=91.0"):
        embed(np.array([0.0, 91.0]), np.zeros(2))
    assert embed(np.zeros(0), np.zeros(0)).shape == (0, 32)


@pytest.mark.parametrize("output", ["raw", "unit", "unit+norm"])
def test_the_targets_are_the_vectors_of_the_tower(teacher, earth_tiny, output):
    config = small(teacher="coords", output=output, points=40)
    got, made, _ = distill.learn_from(teacher, config, earth_tiny)
    stored, params, *_ = trained.restore(teacher, earth_tiny)
    latlon_n2 = np.stack([got.lat, got.lon], 1).astype(np.float32)
    unit_nd = np.asarray(tasks.coordinates(stored)(params, latlon_n2))
    assert got.drawn_n.sum() == 40 and made.dim == got.target_nd.shape[1]
    if output == "raw":
        norm = np.linalg.norm(got.target_nd, axis=1, keepdims=True)
        np.testing.assert_allclose(got.target_nd / norm, unit_nd, atol=2e-6)
        assert not np.allclose(norm, 1, atol=1e-2)
    else:
        np.testing.assert_allclose(got.target_nd[:, :32], unit_nd, atol=2e-6)
        assert made.dim == (32 if output == "unit" else 33)


def test_by_default_the_mean_of_the_unit_vectors_of_all_towers_is_learned(
    teacher, earth_tiny
):
    got, _, about = distill.learn_from(teacher, small(), earth_tiny)
    names = ("coords", "demographics")
    places, _, _ = distill.teacher_vectors(teacher, names, earth_tiny)
    coords_nd, other_nd = (places.z[name] for name in names)
    np.testing.assert_allclose(np.linalg.norm(other_nd, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(got.target_nd, (coords_nd + other_nd) / 2, atol=1e-6)
    assert about["step"] == 2 and len(got.lat) == 512


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": "street"}, "got 'street'; allowed: fused, coords, demographics"),
        ({"points": 9}, r"config\.points: got 9 with teacher 'fused'"),
        ({"towers.coords.net.frequencies": 0}, "levels=0"),
        ({"output": "norm"}, "output='norm'"),
    ],
)
def test_a_lesson_that_cannot_be_is_refused(
    teacher, earth_tiny, tmp_path, changes, words
):
    with pytest.raises(ValueError, match=words):
        distill.run(teacher, tmp_path / "out", small(**changes), earth_tiny)
    assert not (tmp_path / "out").exists()


def test_whole_squares_are_held_out_and_about_the_share():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(30, 50, 4000), rng.uniform(-100, -70, 4000)
    held_n = distill.held_out(lat, lon, 0.1, 2)
    blocks = splits.block_ids(lat, lon, 2)
    assert not set(blocks[held_n]) & set(blocks[~held_n])
    assert 0.1 <= held_n.mean() < 0.12
    assert not distill.held_out(lat, lon, 0.0, 2).any()
    assert not distill.held_out(lat[:3] * 0, lon[:3] * 0, 0.1, 2).any()


def test_every_epoch_takes_every_place_once():
    rows = [distill.step_rows(10, 4, step, seed=3) for step in range(10)]
    for epoch in np.concatenate(rows).reshape(4, 10):
        assert sorted(epoch) == list(range(10))
    assert not np.array_equal(rows[0], rows[5])
    np.testing.assert_array_equal(distill.step_rows(10, 4, 7, seed=3), rows[7])


def test_a_student_learns_by_heart_and_is_told_the_scale(tmp_path):
    changes = {"steps": 300, "dim": 8, "data.name": "none", "optim.lr": 1e-2}
    config = small(**changes, **{"towers.coords.net.output": "raw", "batch": 96})
    given = lesson()
    params = distill.fit(tmp_path, config, given)
    found = distill.measure(config, params, given)
    assert found["seen"]["r2"] > 0.6
    assert "held_out" not in found
    np.testing.assert_allclose(
        params["coords"]["target_mean"], given.target_nd.mean(0), rtol=1e-6
    )
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(lines[at])["loss"] for at in (0, -1))
    assert last < first / 2


def test_the_loss_is_that_of_the_text():
    config = small(dim=3, **{"towers.coords.net.output": "unit+norm"})
    task = tasks.get("distillation")(config, sharding.make_mesh())
    rng = np.random.default_rng(0)
    x = {"coords": np.array([[10, 20], [-30, 99]], np.float32)}
    x["target"] = rng.normal(size=(2, 3)).astype(np.float32)
    batch: Any = {"x": x, "here": {}, "index": None, "cell": None}
    params = jax.jit(task.init)(jax.random.key(0), {"x": x}, {})
    scale_d = np.array([1.0, 2.0, 0.5], np.float32)
    params["coords"] |= {"target_scale": scale_d, "target_mean": scale_d + 1}
    loss, _ = task.loss_fn(params, batch, jax.random.key(0), {})
    model = tasks.build_model(config, np.dtype("float32"))
    z_bd = np.asarray(
        model.apply({"params": params}, "coords", x["coords"], True, method="raw")
    )
    squared = np.mean(((z_bd - x["target"]) / scale_d) ** 2)
    a, b = z_bd[:, :2], x["target"][:, :2]
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(
        loss, squared + 1 - np.mean((a * b).sum(1) / norms), rtol=1e-5
    )
    ready_bd = np.asarray(task.embed(params, x)[0])
    np.testing.assert_allclose(np.linalg.norm(ready_bd[:, :2], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(ready_bd[:, 2], z_bd[:, 2], rtol=1e-6)


def test_drawn_points_lie_around_the_places_or_on_land_near_them():
    given = lesson()
    lat, lon = distill.draw_points(given.lat, given.lon, 400, 0, 50.0)
    km = fidelity.nearest_km(lat, lon, given.lat, given.lon)
    assert len(lat) == 400
    assert (km[:200] <= 101).all() and km[:200].min() < 5
    assert (km <= 50 + 101).all() and (np.abs(lon) <= 180).all()


@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        (["--out=x"], 2, "--workdir=DIR or --weights=FILE are required"),
        (["--workdir=x", "--out=x"], 2, "another one"),
        (["--workdir=absent", "--out=x"], 1, "absent"),
        (["--workdir=absent", "--out=x", "--config.stepz=1"], 2, "stepz"),
    ],
)
def test_wrong_input_gives_one_clear_error(flags, code, word):
    ran = subprocess.run(
        [sys.executable, "launch/distill.py", *flags],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == code, ran.stderr
    assert word in ran.stderr and "Traceback" not in ran.stderr


def test_a_run_that_is_no_student_is_not_loaded_as_one(teacher):
    with pytest.raises(ValueError, match="task contrastive"):
        distill.load(teacher)
    assert workdir.read_about(teacher)["config"].task == "contrastive"
