# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole files from one layout into the other and back, by function and by command."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import five_modal
from tests import siglip_files
from unigeo_jax.siglip import convert, files

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("naflex", [False, True])
def test_there_and_back_every_bit_is_kept(tmp_path, naflex, monkeypatch):
    arrays = siglip_files.big_vision(naflex=naflex)
    saved = siglip_files.scanned(arrays)
    weights = files.open_weights(siglip_files.save_npz(tmp_path / "w.npz", saved))
    monkeypatch.setattr(convert, "SHARD_BYTES", 8000)
    convert.convert(weights, tmp_path / "hf", "huggingface")
    assert (tmp_path / "hf/model.safetensors.index.json").is_file()
    there = files.open_weights(tmp_path / "hf")
    expected = siglip_files.huggingface(arrays)
    assert set(there.shapes) == set(expected)
    for key, value in expected.items():
        assert there.shapes[key] == value.shape
        np.testing.assert_array_equal(there.read(key), value)
    monkeypatch.undo()
    convert.convert(there, tmp_path / "bv", "big_vision")
    back = files.open_weights(tmp_path / "bv")
    assert set(back.shapes) == set(arrays)
    for key, value in arrays.items():
        np.testing.assert_array_equal(back.read(key), value)
    about = json.loads((tmp_path / "bv/config.json").read_text())
    assert about["img"]["heads"] == 2 and about["txt"]["vocab"] == 50
    assert about["layout"] == "big_vision"


SHAPES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giant-opt": (1536, 40, 16, 6144),
}


@pytest.mark.parametrize(
    ("name", "patch", "grid", "published"),
    [
        ("base", 32, 8, 376_856_066),
        ("base", 16, 14, 375_187_970),
        ("base", 16, 16, 375_234_050),
        ("base", 16, 24, 375_479_810),
        ("base", 16, 32, 375_823_874),
        ("large", 16, 16, 881_526_786),
        ("large", 16, 24, 881_854_466),
        ("large", 16, 32, 882_313_218),
        ("so400m", 14, 16, 1_135_463_602),
        ("so400m", 14, 27, 1_136_008_498),
        ("so400m", 16, 16, 1_135_670_962),
        ("so400m", 16, 24, 1_136_039_602),
        ("so400m", 16, 32, 1_136_555_698),
        ("giant-opt", 16, 16, 1_871_393_906),
        ("giant-opt", 16, 24, 1_871_885_426),
    ],
)
def test_every_released_checkpoint_has_its_number_of_parameters(
    name, patch, grid, published
):
    """All of google/siglip2-<name>-patch<patch>-...: two towers, temperature, bias."""
    image = convert.Sizes(*SHAPES[name], patch=patch, grid=(grid, grid))
    words = SHAPES["so400m" if name == "giant-opt" else name]
    text = convert.Sizes(*words, vocab=256_000, length=64, dim=image.width)
    towers = [convert.tower("img", image), convert.tower("txt", text)]
    total = sum(int(np.prod(s)) for t in towers for s in t.shapes.values())
    assert total + 2 == published


@pytest.mark.parametrize("size", ["B", "L", "So400m", "g"])
def test_the_towers_of_a_config_are_those_of_the_released_checkpoints(size):
    name = {"B": "base", "L": "large", "So400m": "so400m", "g": "giant-opt"}[size]
    config = five_modal.get_config(f"size={size}")
    for tower in ("aerial", "street", "text"):
        net = config.towers[tower].net
        shape = SHAPES["so400m" if (tower, size) == ("text", "g") else name]
        hidden = round(net.mlp_ratio * net.width)
        assert (net.width, net.depth, net.heads, hidden) == shape
    assert config.dim == SHAPES[name][0]
    assert config.towers.aerial.net.patch == (14 if size == "So400m" else 16)


def test_the_command_says_what_a_file_is_and_writes_it(tmp_path):
    arrays = siglip_files.scanned(siglip_files.big_vision())
    path = siglip_files.save_npz(tmp_path / "w.npz", arrays)
    out = tmp_path / "out"
    run = [sys.executable, str(ROOT / "launch/import_siglip.py")]
    run += [f"--weights={path}", f"--out={out}"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "image: width 16, 2 layers, 2 heads, MLP 24, patch 8, 32x32" in done.stdout
    assert "text: width 12, 3 layers, 3 heads, MLP 20, 50 tokens, length" in done.stdout
    about = json.loads((out / "config.json").read_text())
    assert about["source"]["file"] == "w.npz" and len(about["source"]["sha256"]) == 64
    again = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert again.returncode == 1
    assert again.stderr.startswith("error: --out") and "already" in again.stderr


def test_what_transformers_cannot_hold_is_refused(tmp_path):
    arrays = siglip_files.big_vision(dim=24)
    weights = files.open_weights(siglip_files.save_npz(tmp_path / "w.npz", arrays))
    with pytest.raises(ValueError, match="texts of 24 numbers, images of 16"):
        convert.convert(weights, tmp_path / "a", "huggingface")
    image = {k: v for k, v in arrays.items() if "/txt/" not in k}
    weights = files.open_weights(siglip_files.save_npz(tmp_path / "i.npz", image))
    with pytest.raises(ValueError, match="got the towers img"):
        convert.convert(weights, tmp_path / "b", "huggingface")
    convert.convert(weights, tmp_path / "c", "big_vision")  # which is fine here


def test_heads_that_no_one_says_are_refused(tmp_path):
    folder = siglip_files.save_huggingface(
        tmp_path / "hf", siglip_files.huggingface(siglip_files.big_vision())
    )
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="how many heads a width of 16 has is not"):
        convert.describe(files.open_weights(folder))
