# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoCLIP's weights are read without PyTorch, and nothing else of a .pth is done."""

import collections
import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from unigeo_jax.evals import peers


class FakeStorage:
    """Pickles as a persistent id, as a storage of PyTorch does."""

    def __init__(self, key, count):
        self.identity = ("storage", Name("torch", "FloatStorage"), key, "cpu", count)


class Name:
    """Pickles as the global `module name`, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Writer(pickle._Pickler):
    """Writes protocol 2 as torch.save does, without PyTorch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, FakeStorage):
            self.save(obj.identity)
            self.write(pickle.BINPERSID)
        elif isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Name("collections", "OrderedDict"))


def tensor(key, storage, shape, strides, offset=0):
    arguments = (FakeStorage(key, storage), offset, shape, strides, False, ORDERED)
    return Call(REBUILD, *arguments)


def write_pth(path, state, storages, byteorder=b"little"):
    stream = io.BytesIO()
    Writer(stream, 2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name/data.pkl", stream.getvalue())
        archive.writestr("name/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"name/data/{key}", np.asarray(values, "<f4").tobytes())
    return path


def test_tensors_views_and_strides_are_read(tmp_path):
    state = {
        "plain": tensor("0", 6, (2, 3), (3, 1)),
        "turned": tensor("0", 6, (3, 2), (1, 3)),
        "part": tensor("0", 6, (2,), (1,), offset=4),
        "scalar": tensor("1", 1, (), ()),
    }
    path = write_pth(tmp_path / "a.pth", state, {"0": range(6), "1": [7]})
    got = peers.read_pth(path)
    whole = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(got["plain"], whole)
    np.testing.assert_array_equal(got["turned"], whole.T)
    np.testing.assert_array_equal(got["part"], [4, 5])
    assert got["scalar"] == 7


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"a": Call(Name("os", "system"), "touch hacked")}, "GLOBAL 'os system'"),
        ({"a": Call(Name("builtins", "eval"), "1")}, "GLOBAL 'builtins eval'"),
        ({"a": Call(ORDERED, "x")}, "refused"),
        ({"a": tensor("0", 2, (9,), (1,))}, "beyond its storage"),
        ({"a": tensor("0", 2, (2,), (-1,))}, "beyond its storage"),
        ({"a": tensor("../x", 2, (2,), (1,))}, "refused"),
        ({"a": tensor("5", 2, (2,), (1,))}, "no readable"),
        ({"a": 3}, "dictionary of tensors"),
        (("a",), "dictionary of tensors"),
        ({"a": {1, 2}}, "refused"),
    ],
)
def test_a_file_that_asks_for_anything_else_is_refused(
    tmp_path, monkeypatch, state, word
):
    monkeypatch.chdir(tmp_path)
    path = write_pth(tmp_path / "bad.pth", state, {"0": [1, 2]})
    with pytest.raises(ValueError, match="bad") as error:
        peers.read_pth(path)
    assert word in str(error.value)
    assert not pathlib.Path("hacked").exists()


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("hello")
    with pytest.raises(ValueError, match="no readable"):
        peers.read_pth(path)
    with pytest.raises(ValueError, match="no readable"):
        peers.read_pth(tmp_path / "absent.pth")
    big = write_pth(tmp_path / "big.pth", {}, {}, byteorder=b"big")
    with pytest.raises(ValueError, match="little-endian"):
        peers.read_pth(big)
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
