# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder whose hashes are right and whose contents are not: one clear error."""

import json
import shutil
import struct

import numpy as np
import pytest

import unigeo_jax
from tests import small_models
from unigeo_jax import bundles


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_models.write(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "copy")


def tensors(header, body=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def entry(first, last, shape, dtype="F32"):
    return {"data_offsets": [first, last], "shape": shape, "dtype": dtype}


CHANGES = {
    "a version that is a text": ({"format_version": "x"}, "format_version is 'x'"),
    "a version that is a truth": ({"format_version": True}, "format_version is True"),
    "version 0": ({"format_version": 0}, "format_version is 0"),
    "weights of no file": ({"weights": "other.safetensors"}, "weights is not"),
    "weights of many files": ({"weights": ["model.safetensors"]}, "unhashable"),
    "places of no file": ({"places": "places.safetensors"}, "places is not"),
    "no width": ({"dim": 0}, "dim is not"),
    "no name": ({"model_id": None}, "model_id is not"),
    "no number": ({"int8_scale": "big"}, "int8_scale is not"),
    "training of a text": ({"training": "long"}, "training is not"),
    "no towers": ({"towers": {}}, "towers is not"),
    "a list of towers": ({"towers": ["coords"]}, "AttributeError"),
    "a list of files": ({"files": []}, "AttributeError"),
    "files without hashes": ({"files": {"model.safetensors": {}}}, "'sha256'"),
    "a file elsewhere": ({"files": {"../x": {"sha256": ""}}}, r"files\.\.\./x is not"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_that_holds_other_things_is_one_clear_error(copy, name):
    change, words = CHANGES[name]
    about = json.loads((copy / "config.json").read_text()) | change
    (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(
        ValueError, match=rf"model .*copy: config\.json: .*{words}.*allow"
    ):
        unigeo_jax.load(copy)


@pytest.mark.parametrize("key", ["format_version", "weights", "files", "dim", "towers"])
def test_a_config_that_lacks_a_key_names_it(copy, key):
    about = json.loads((copy / "config.json").read_text())
    del about[key]
    (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=f"KeyError.*'{key}'.*allowed"):
        unigeo_jax.load(copy)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"input": {"dtype": "float32", "shape": [3]}}, "input"),
        ({"input": {"dtype": "float32", "shape": [2.5]}}, "input"),
        ({"input": {"dtype": "V8", "shape": [2]}}, "input"),
        ({"input": {"dtype": "9" * 5000 + ",f4", "shape": [2]}}, "input"),
        ({"input": {"dtype": "int12", "shape": [2]}}, "input"),
        ({"dim": "8"}, "dim"),
        ({"weights": [["a"]]}, "weights"),
        ({"program": "../coords.jax"}, "program"),
        ({"vocabulary": "../words"}, "vocabulary"),
    ],
)
def test_a_tower_that_is_none_is_named(copy, change, key):
    about = json.loads((copy / "config.json").read_text())
    about["towers"]["coords"] |= change
    (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=rf"towers\.coords\.{key} is not.*allowed"):
        unigeo_jax.load(copy)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 200_000, '"x"', "", "\x00"])
def test_a_config_that_is_no_object_is_one_clear_error(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: .*allowed"):
        unigeo_jax.load(copy)


WEIGHTS = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "a list": tensors([]),
    "a number": tensors(7),
    "deep": tensors(b"[" * 200_000),
    "a header of 2^63 bytes": tensors({}, size=2**63),
    "a header beyond the end": tensors({"a": entry(0, 4, [1])}, bytes(4), 999),
    "no offsets": tensors({"a": {"shape": [1], "dtype": "F32"}}, bytes(4)),
    "one offset": tensors({"a": entry(0, 4, [1]) | {"data_offsets": [0]}}, bytes(4)),
    "a list of an entry": tensors({"a": []}),
    "beyond the file": tensors({"a": entry(0, 8, [2])}, bytes(4)),
    "negative": tensors({"a": entry(-4, 0, [1])}, bytes(4)),
    "backwards": tensors({"a": entry(4, 0, [-1])}, bytes(4)),
    "overlapping": tensors({"a": entry(0, 8, [2]), "b": entry(4, 8, [1])}, bytes(8)),
    "the same twice": tensors({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, bytes(4)),
    "a gap": tensors({"a": entry(4, 8, [1])}, bytes(8)),
    "a tail": tensors({"a": entry(0, 4, [1])}, bytes(8)),
    "a huge shape": tensors({"a": entry(0, 4, [1 << 40, 1 << 40])}, bytes(4)),
    "huge and nothing": tensors({"a": entry(0, 4, [1 << 62, 0])}, bytes(4)),
    "a shape of parts": tensors({"a": entry(0, 4, [0.5, 2])}, bytes(4)),
    "a shape of truths": tensors({"a": entry(0, 4, [True])}, bytes(4)),
    "another type": tensors({"a": entry(0, 4, [1], "F31")}, bytes(4)),
    "a list of a type": tensors({"a": entry(0, 4, [1], ["F32"])}, bytes(4)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_none_are_one_clear_error(copy, name):
    (copy / "model.safetensors").write_bytes(WEIGHTS[name])
    small_models.rewrite(copy, json.loads((copy / "config.json").read_text()))
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors"):
        unigeo_jax.load(copy)


def test_arrays_of_no_numbers_and_of_no_axes_are_read(tmp_path):
    header = {
        "a": entry(0, 0, [0, 3]),
        "b": entry(0, 4, []),
        "__metadata__": {"x": "y"},
    }
    (tmp_path / "w").write_bytes(tensors(header, np.float32(2.5).tobytes()))
    found = bundles.read_safetensors(tmp_path / "w")
    assert found["a"].shape == (0, 3) and found["b"] == 2.5 and len(found) == 2


def test_weights_without_one_that_a_tower_needs_are_refused(copy):
    small_models.weigh(copy, {"other": np.zeros(3, np.float32)})
    about = json.loads((copy / "config.json").read_text())
    about["towers"]["coords"]["weights"].append("head")
    small_models.rewrite(copy, about)
    with pytest.raises(ValueError, match=r"model\.safetensors lacks head; allowed"):
        unigeo_jax.load(copy)


def test_weights_of_other_shapes_are_one_clear_error(copy):
    weights = bundles.read_safetensors(copy / "model.safetensors")
    small_models.weigh(copy, {k: np.zeros((3, 3), v.dtype) for k, v in weights.items()})
    with pytest.raises(ValueError, match=r"coords\.jax is no program for .*shapes"):
        unigeo_jax.load(copy)


@pytest.mark.parametrize("damage", ["none", "of its operations", "of its names"])
def test_a_program_that_is_none_is_one_clear_error(copy, damage):
    data = bytearray((copy / "coords.jax").read_bytes())
    at = data.index(b"StableHLO_v") + 40  # it is read as a program is compiled
    data[at : at + 400] = bytes(400)
    if damage == "none":
        data = bytes(100)
    elif damage == "of its names":  # no UTF-8: the bindings raise, not JAX
        data = (copy / "coords.jax").read_bytes().replace(b"round_1", b"\xff" * 7)
    (copy / "coords.jax").write_bytes(data)
    small_models.rewrite(copy, json.loads((copy / "config.json").read_text()))
    with pytest.raises(ValueError, match=r"coords\.jax is no program"):
        unigeo_jax.load(copy)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"inside": np.zeros(129_600, np.uint8)},
        {"inside": np.zeros(9, np.uint8), "km": np.float64(5)},
        {"inside": np.zeros(129_600, np.float32), "km": np.float64(5)},
        {"inside": np.zeros(129_600, np.uint8), "km": np.zeros(2)},
        None,
    ],
)
def test_a_domain_that_is_none_is_one_clear_error(copy, arrays):
    if arrays is None:
        (copy / "domain.npz").write_bytes(b"PK\x03\x04" + bytes(200))
    else:
        np.savez(copy / "domain.npz", **arrays)
    small_models.rewrite(copy, json.loads((copy / "config.json").read_text()))
    with pytest.raises(ValueError, match=r"domain\.npz: cannot be read"):
        unigeo_jax.load(copy)


def test_what_127_stands_for_is_found_where_a_config_does_not_say_it(copy):
    assert unigeo_jax.load(copy).int8_scale == 1.0  # its vectors are of length 1
    weights = bundles.read_safetensors(copy / "model.safetensors")
    assert bundles.sample(None).shape == (4096, 2) and weights
    lat = np.linspace(-80, 80, 70_000, dtype=np.float32)
    assert len(bundles.sample({"lat": lat, "lon": lat})) == 35_000
    z_nd = np.array([[3.0, -4.004], [1.0, 1.0]])
    assert bundles.int8_scale(z_nd) == 5.0  # 5.005 in three digits
