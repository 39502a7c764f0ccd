# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoCLIP's weights are read without PyTorch and give its vectors."""

import collections

import numpy as np
import pytest

from tests.pth_files import tensor, write_pth
from unigeo_jax.evals import peers


def test_weights_of_something_else_are_refused(tmp_path):
    empty = write_pth(tmp_path / "empty.pth", {}, {})
    with pytest.raises(ValueError, match="lacks"):
        peers.GeoClip(empty)


def test_the_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install --no-deps geoclip"):
        peers.GeoClip()


def small_weights(path, width=8, hidden=5):
    """A GeoCLIP of three capsules with small layers, and the arrays in it."""
    rng, state, storages, arrays = np.random.default_rng(0), {}, {}, {}
    sizes = {"capsule.1": (hidden, 2 * width), "capsule.3": (hidden, hidden)}
    sizes |= {"capsule.5": (hidden, hidden), "head.0": (512, hidden)}
    shapes = {}
    for i in range(3):
        shapes[f"LocEnc{i}.capsule.0.b"] = (width, 2)
        for name, shape in sizes.items():
            shapes[f"LocEnc{i}.{name}.weight"] = shape
            shapes[f"LocEnc{i}.{name}.bias"] = shape[:1]
    for number, (name, shape) in enumerate(shapes.items()):
        value = rng.normal(size=shape).astype(np.float32)
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        state[name] = tensor(str(number), value.size, shape, strides)
        storages[str(number)], arrays[name] = value.ravel(), value
    return write_pth(path, collections.OrderedDict(state), storages), arrays


def test_the_forward_pass_is_that_of_the_paper(tmp_path):
    path, arrays = small_weights(tmp_path / "w.pth")
    lat, lon = np.array([10.0, -45.5]), np.array([20.0, 170.25])
    got = peers.GeoClip(path).embed(lat, lon)
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(lat)))
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    slope = 3 * (9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1)
    x = 2 * np.sqrt(3) * np.radians(lon) * np.cos(theta) / slope
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    point = np.stack([x, y], 1) * 66.50336 / 180
    expected = 0
    for i in range(3):
        phase = 2 * np.pi * point @ arrays[f"LocEnc{i}.capsule.0.b"].T
        z = np.concatenate([np.cos(phase), np.sin(phase)], 1)
        for layer in ("capsule.1", "capsule.3", "capsule.5", "head.0"):
            weight, bias = (
                arrays[f"LocEnc{i}.{layer}.{k}"] for k in ("weight", "bias")
            )
            z = z @ weight.T + bias
            z = np.maximum(z, 0) if layer != "head.0" else z
        expected = expected + z
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_an_empty_list_of_places_gives_an_empty_table(tmp_path):
    path, _ = small_weights(tmp_path / "w.pth")
    assert peers.GeoClip(path).embed(np.zeros(0), np.zeros(0)).shape == (0, 512)
