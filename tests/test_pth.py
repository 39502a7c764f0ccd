# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors are read without PyTorch, and nothing else of a .pth is done."""

import pathlib

import numpy as np
import pytest

from tests.pth_files import ORDERED, Call, Name, tensor, write_doubles, write_pth
from unigeo_jax import pth


def test_tensors_views_and_strides_are_read(tmp_path):
    state = {
        "plain": tensor("0", 6, (2, 3), (3, 1)),
        "turned": tensor("0", 6, (3, 2), (1, 3)),
        "part": tensor("0", 6, (2,), (1,), offset=4),
        "scalar": tensor("1", 1, (), ()),
    }
    path = write_pth(tmp_path / "a.pth", state, {"0": range(6), "1": [7]})
    got = pth.read(path)
    whole = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(got["plain"], whole)
    np.testing.assert_array_equal(got["turned"], whole.T)
    np.testing.assert_array_equal(got["part"], [4, 5])
    assert got["scalar"] == 7


def test_float64_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {"weight": rng.normal(size=(3, 4)), "bias": rng.normal(size=3)}
    got = pth.read(write_doubles(tmp_path / "a.pth", wanted, "model"), "model")
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert got[name].dtype == np.float64
        assert not np.array_equal(array, np.float32(array))
        np.testing.assert_array_equal(got[name], array)


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
        ({"a": tensor("0", 2, (2,), (1,), kind="DoubleStorage")}, "no readable"),
        ({"a": tensor("0", 2, (2,), (1,), kind="BoolStorage")}, "BoolStorage"),
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
        pth.read(path)
    assert word in str(error.value)
    assert not pathlib.Path("hacked").exists()


def test_a_tensor_that_is_not_finite_is_refused_by_name(tmp_path):
    state = {"good": tensor("0", 2, (2,), (1,)), "bad": tensor("1", 2, (2,), (1,))}
    for value in (float("nan"), float("-inf")):
        path = write_pth(tmp_path / "w.pth", state, {"0": [1, 2], "1": [1, value]})
        with pytest.raises(ValueError, match=r"w\.pth: bad: holds NaN or Inf"):
            pth.read(path)


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("hello")
    with pytest.raises(ValueError, match="no readable"):
        pth.read(path)
    with pytest.raises(ValueError, match="no readable"):
        pth.read(tmp_path / "absent.pth")
    big = write_pth(tmp_path / "big.pth", {}, {}, byteorder=b"big")
    with pytest.raises(ValueError, match="little-endian"):
        pth.read(big)


def test_one_dictionary_of_a_checkpoint_is_read_by_its_key(tmp_path):
    state = {"epoch": 7, "loss": 0.25, "model": {"a": tensor("0", 2, (2,), (1,))}}
    path = write_pth(tmp_path / "a.pth", state, {"0": [1, 2]})
    np.testing.assert_array_equal(pth.read(path, "model")["a"], [1, 2])
    with pytest.raises(ValueError, match="a dictionary with 'weights'"):
        pth.read(path, "weights")
    with pytest.raises(ValueError, match="allowed: a dictionary of tensors"):
        pth.read(path)
