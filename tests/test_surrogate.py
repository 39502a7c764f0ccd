# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of MobCLIP's released surrogate gives the numbers of float64 numpy."""

import itertools
import json
import warnings

import jax
import numpy as np
import pytest

from configs import distill as student
from launch import evaluate
from tests.pth_files import tensor, write_doubles, write_pth
from unigeo_jax import cards, distill, export, infer, surrogate, trained
from unigeo_jax.nn import harmonics

SIZES = [1024, *[512] * 8, 128]


def weights():
    rng, state = np.random.default_rng(0), {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(SIZES)):
        scale = np.sqrt(2 / inputs)
        state[f"network.{2 * number}.weight"] = scale * rng.normal(
            size=(outputs, inputs)
        )
        state[f"network.{2 * number}.bias"] = 0.1 * rng.normal(size=outputs)
    return state


def reference(state, lon, lat):
    """The release in float64: (lon, lat), harmonics of the antipode, m = 0 times pi."""
    x_nd = harmonics.real_harmonics(np.stack([lat, lon], -1), 32, m0_pi=True)
    assert x_nd.dtype == np.float64
    for number in range(9):
        name = f"network.{2 * number}"
        x_nd = x_nd @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        x_nd = np.maximum(x_nd, 0) if number < 8 else x_nd
    return x_nd


def test_harmonics_of_the_release_have_its_published_first_numbers():
    first = harmonics.real_harmonics(np.array([[-90.0, 0.0]]), 2, m0_pi=True)[0]
    assert first[0] == pytest.approx(0.886227, abs=1e-6)
    assert first[2] == pytest.approx(1.534990, abs=1e-6)  # cos(lat + 90) = 1


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A workdir of a file like the release's, in float64, and what the file holds."""
    folder, state = tmp_path_factory.mktemp("surrogate"), weights()
    path = write_doubles(folder / "surrogate.pth", state, "model_state_dict")
    surrogate.write_workdir(path, folder / "run", student.get_config())
    return folder / "run", state


def test_a_file_of_torch_is_read_as_ours_is(tmp_path):
    torch = pytest.importorskip("torch")
    state = weights()
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    saved = {"epoch": 3, "model_state_dict": tensors}
    torch.save(saved, tmp_path / "torch.pth")
    ours = write_doubles(tmp_path / "ours.pth", state, "model_state_dict")
    jax.tree.map(
        np.testing.assert_array_equal,
        surrogate.read(tmp_path / "torch.pth"),
        surrogate.read(ours),
    )


def test_a_file_becomes_a_student_of_the_same_numbers(imported):
    out, state = imported
    config, stored, step = trained.restore(out)[:3]
    assert (step, config.dim) == (0, 128)
    layers = {k: v for k, v in stored["coords"].items() if isinstance(v, dict)}
    assert sum(x.size for x in jax.tree.leaves(layers)) == 2_429_056
    np.testing.assert_array_equal(
        stored["coords"]["hidden_1"]["kernel"],
        state["network.2.weight"].T.astype(np.float32),
    )
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(18, 54, 64), rng.uniform(73, 135, 64)
    lat[:2], lon[:2] = (90, -45), (0, 180)
    with pytest.warns(UserWarning, match="where .* was trained is unknown"):
        embed = distill.load(out)
    got = embed(lat, lon)
    at = np.float32(lon).astype(float), np.float32(lat).astype(float)
    wanted = reference(state, *at)
    assert got.dtype == np.float32 and np.abs(wanted).max() > 1
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_where_it_was_trained_is_unknown_and_said_so(imported, earth_tiny, tmp_path):
    """Though the dataset `earth` lies there: neither its places nor its data card."""
    model = tmp_path / "model"
    export.run(imported[0], model, ("jax",), earth_tiny)
    about = json.loads((model / "config.json").read_text())
    assert about["training_data"] == cards.UNKNOWN and about["places"] is None
    assert {path.name for path in model.iterdir()} == {
        *("README.md", "config.json", "coords.jax", "model.safetensors")
    }
    card = (model / "README.md").read_text()
    assert cards.UNKNOWN in card and "`earth" not in card
    for claim in ("DATA_CARD", "Trained by unigeo_jax", "`explain`", "7 km"):
        assert claim not in card
    enc = infer.load(model)
    with pytest.raises(ValueError, match=r"no training places \(.*unknown.*allowed"):
        enc.explain(lat=[30.0], lon=[104.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert enc.supported(lat=[0.0], lon=[0.0]).tolist() == [True]


def test_evaluation_takes_no_places_of_earth_for_its_training_places(
    imported, earth_tiny
):
    out, state = imported
    run = evaluate.Run(out, earth_tiny)
    judged = evaluate.encoders(run, [], earth_tiny)
    assert [one.name for one in judged] == ["coords", "untrained"]
    assert [one.places for one in judged] == [None, None]
    lat, lon = np.array([30.0]), np.array([104.0])
    wanted = reference(state, lon, lat)
    np.testing.assert_allclose(judged[0].embed(lat, lon), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 2), r"network\.0\.weight: got \(3, 2\), wanted \(512, 1024\)"),
        (None, r"network\.0\.bias: got nothing, wanted \(512,\)"),
    ],
)
def test_another_layout_is_one_clear_error(tmp_path, shape, words):
    state = {"network.0.weight": tensor("0", 6, shape, (2, 1))} if shape else {}
    path = write_pth(tmp_path / "a.pth", {"model_state_dict": state}, {"0": range(6)})
    with pytest.raises(ValueError, match=words) as error:
        surrogate.write_workdir(path, tmp_path / "out", student.get_config())
    assert "a.pth" in str(error.value) and not (tmp_path / "out").exists()
    bare = write_pth(tmp_path / "b.pth", {}, {})
    with pytest.raises(ValueError, match="model_state_dict"):
        surrogate.read(bare)
