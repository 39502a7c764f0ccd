# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights files: what is not one is refused in one line, and nothing is executed."""

import io
import json
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests import siglip_files
from unigeo_jax.siglip import files, layout, towers


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def arrays():
    return {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(1)}


def test_an_npz_is_read_array_by_array_in_pieces(tmp_path, arrays, monkeypatch):
    arrays["half"] = arrays["a"].astype(np.float16)
    arrays["brain"] = arrays["a"].astype(ml_dtypes.bfloat16)
    arrays["columns"] = np.asfortranarray(arrays["a"])
    arrays["scalar"] = np.array(2.5)
    path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    monkeypatch.setattr(files, "PIECE_BYTES", 16)
    weights = files.open_weights(path)
    assert weights.shapes["a"] == (3, 4) and weights.shapes["scalar"] == ()
    assert len(list(weights.pieces("a"))) == 3
    for key, value in arrays.items():
        read = weights.read(key)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, np.asarray(value, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_an_array_that_is_not_finite_is_refused_by_name(tmp_path, arrays, value, dtype):
    arrays = {key: x.astype(dtype) for key, x in arrays.items()}
    arrays["a"][1, 2] = value
    siglip_files.save_npz(tmp_path / "w.npz", arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    for name in ("w.npz", "w.safetensors"):
        weights = files.open_weights(tmp_path / name)
        np.testing.assert_array_equal(weights.read("b"), [1])
        with pytest.raises(ValueError, match=rf"{name}: a: holds NaN or Inf"):
            weights.read("a")


def test_compressed_npz_and_bfloat16_safetensors_are_read_too(
    tmp_path, arrays, monkeypatch
):
    with open(tmp_path / "w.npz", "wb") as file:
        np.savez_compressed(file, **arrays)
    brain = {k: v.astype(ml_dtypes.bfloat16) for k, v in arrays.items()}
    safetensors.numpy.save_file(brain, tmp_path / "w.safetensors")
    monkeypatch.setattr(files, "PIECE_BYTES", 16)
    for name in ("w.npz", "w.safetensors"):
        weights = files.open_weights(tmp_path / name)
        for key, value in arrays.items():
            np.testing.assert_array_equal(weights.read(key), value)


def test_shards_are_one_file(tmp_path, arrays):
    folder = siglip_files.save_huggingface(tmp_path / "hf", arrays, shards=2)
    for path in (folder, folder / "model.safetensors.index.json"):
        weights = files.open_weights(path)
        assert set(weights.shapes) == {"a", "b"}
        np.testing.assert_array_equal(weights.read("a"), arrays["a"])
        assert weights.about["text_config"] == {"num_attention_heads": 3}
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="not beside it: model-00002-of-00002"):
        files.open_weights(folder)
    index = folder / "model.safetensors.index.json"
    for name in ("../hf/config.json", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(ValueError, match="not beside it"):
            files.open_weights(folder)
    index.write_text("[1]")
    with pytest.raises(ValueError, match="not an index"):
        files.open_weights(folder)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt", ".ckpt", ".pkl"])
def test_pickled_files_are_never_opened(tmp_path, suffix):
    path, fired = tmp_path / f"model{suffix}", tmp_path / "fired"
    path.write_bytes(pickle.dumps(Bomb(fired)))
    with pytest.raises(ValueError, match="can hold code and are never opened"):
        files.open_weights(path)
    assert not fired.exists()


def test_pickles_under_another_name_are_refused_unread(tmp_path):
    fired = tmp_path / "fired"
    objects = np.array([Bomb(fired)], dtype=object)
    with open(tmp_path / "objects.npz", "wb") as file:
        np.savez(file, **{"params/img/embedding/kernel": objects})
    with zipfile.ZipFile(tmp_path / "torch.npz", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(fired)))
    plain = pickle.dumps(Bomb(fired))
    (tmp_path / "plain.npz").write_bytes(plain)
    (tmp_path / "plain.safetensors").write_bytes(plain)
    for name, message in (
        ("objects.npz", "is of object, which is never read"),
        ("torch.npz", "archive/data.pkl is no array"),
        ("plain.npz", "damaged, truncated or no npz"),
        ("plain.safetensors", "damaged, truncated or no safetensors"),
    ):
        with pytest.raises(ValueError, match=message):
            files.open_weights(tmp_path / name)
    assert not fired.exists()


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_truncated_files_are_refused(tmp_path, kind, share):
    arrays = siglip_files.big_vision()
    if kind == "npz":
        path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    else:
        path = tmp_path / "w.safetensors"
        safetensors.numpy.save_file(arrays, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="damaged, truncated or no"):
        files.open_weights(path)


def test_damage_inside_an_npz_is_seen_when_the_array_is_read(tmp_path):
    large = np.arange(10**5, dtype=np.float32)
    path = siglip_files.save_npz(tmp_path / "w.npz", {"a": large})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    weights = files.open_weights(path)
    with pytest.raises(ValueError, match=r"w\.npz: a: Bad CRC-32"):
        weights.read("a")


def test_an_array_whose_header_lies_about_its_size_is_refused(tmp_path):
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**3)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", stream.getvalue() + b"0000")
    with pytest.raises(ValueError, match="bytes stand where"):
        files.open_weights(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npz", "no such file"),
        ("notes.txt", "unknown kind of file"),
        ("empty", "the folder holds nothing"),
        ("two", "the folder holds a.npz, b.npz"),
        ("pickled", "the folder holds pytorch_model.bin"),
    ],
)
def test_what_is_no_weights_file_is_named(tmp_path, arrays, name, message):
    (tmp_path / "notes.txt").write_text("hello")
    for folder, inside in (
        ("empty", []),
        ("two", ["a.npz", "b.npz"]),
        ("pickled", ["pytorch_model.bin"]),
    ):
        (tmp_path / folder).mkdir()
        for file in inside:
            siglip_files.save_npz(tmp_path / folder / file, arrays)
    with pytest.raises(ValueError, match=message):
        files.open_weights(tmp_path / name)


def test_integers_are_no_weights_but_the_counter_of_positions_may_be_there(tmp_path):
    values = {
        "text_model.embeddings.position_ids": np.arange(4)[None],
        "text_model.head.bias": np.zeros(3, np.float32),
    }
    safetensors.numpy.save_file(values, tmp_path / "w.safetensors")
    weights = files.open_weights(tmp_path / "w.safetensors")
    assert set(weights.shapes) == {"text_model.head.bias"}
    values["text_model.head.weight"] = np.zeros(3, np.int64)
    safetensors.numpy.save_file(values, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"head\.weight is of I64; allowed: F64"):
        files.open_weights(tmp_path / "w.safetensors")


MEASURE = """
import pathlib, resource, sys
import numpy as np
from unigeo_jax.siglip import convert, files, towers
weights = files.open_weights(sys.argv[1])
wanted = [convert.tower(s, one) for s, one in convert.describe(weights).items()]
plan = towers.plan(weights, wanted)
shapes = {(t.name, p): s for t in wanted for p, s in t.shapes.items()}
order = plan.order(shapes)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
kept = {name: plan.read[name]() for name in order}
size = sum(x.nbytes for x in kept.values())
print(size, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["unrolled", "scanned", "safetensors"])
def test_a_tower_needs_far_less_than_twice_its_size_in_memory(tmp_path, form):
    image = siglip_files.IMAGE | {"width": 512, "hidden": 2048, "depth": 6, "heads": 8}
    text = siglip_files.TEXT | {"width": 512, "hidden": 2048, "depth": 6, "heads": 8}
    text["vocab"] = 80_000  # more than half of all, as in the released files
    arrays = siglip_files.big_vision(image=image, text=text)
    if form == "safetensors":
        values = siglip_files.huggingface(arrays)
        path = siglip_files.save_huggingface(tmp_path / "hf", values, heads=(8, 8))
    else:
        arrays = siglip_files.scanned(arrays) if form == "scanned" else arrays
        path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    run = [sys.executable, "-c", MEASURE, str(path)]
    ran = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300)
    size, grown = map(int, ran.stdout.split())
    assert size > 250e6
    assert grown < 1.35 * size, f"{grown / size:.2f} times the size"


def test_another_model_is_told_by_its_keys(tmp_path):
    values = {"visual.conv1.weight": np.zeros((4, 3, 2, 2)), "logit_scale": np.ones(1)}
    path = siglip_files.save_npz(tmp_path / "clip.npz", values)
    with pytest.raises(ValueError, match=r"not a SigLIP model: holds visual\.conv1"):
        layout.detect(files.open_weights(path))
    weights = files.open_weights(siglip_files.save_npz(tmp_path / "none.npz", {}))
    with pytest.raises(ValueError, match="not a SigLIP model: holds nothing"):
        towers.plan(weights, [])
