# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A file against towers: every form gives the same arrays, what differs is listed."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from tests import siglip_files
from unigeo_jax.siglip import convert, files, towers


def read_all(path):
    """The file as a tree of our parameters, and its description."""
    weights = files.open_weights(path)
    sizes = convert.describe(weights)
    wanted = [convert.tower(side, one) for side, one in sizes.items()]
    plan = towers.plan(weights, wanted)
    shapes = {(t.name, p): s for t in wanted for p, s in t.shapes.items()}
    flat = {(s, *p.split("/")): plan.read[s, p]() for s, p in plan.order(shapes)}
    flat |= {(name,): np.full(1, read()) for name, read in plan.scalar.items()}
    return traverse_util.unflatten_dict(flat), sizes


@pytest.mark.parametrize("naflex", [False, True])
@pytest.mark.parametrize("form", ["unrolled", "scanned", "whole", "sharded"])
def test_every_form_of_a_file_gives_the_same_arrays(tmp_path, form, naflex):
    arrays = siglip_files.big_vision(naflex=naflex)
    if form in ("unrolled", "scanned"):
        saved = siglip_files.scanned(arrays) if form == "scanned" else arrays
        path = siglip_files.save_npz(tmp_path / "w.npz", saved)
    else:
        values = siglip_files.huggingface(arrays)
        shards = 3 if form == "sharded" else 1
        path = siglip_files.save_huggingface(tmp_path / "hf", values, shards)
    tree, sizes = read_all(path)
    expected = siglip_files.random_towers(arrays)
    jax.tree.map(np.testing.assert_array_equal, tree, expected)
    image, text = sizes["img"], sizes["txt"]
    assert (image.width, image.depth, image.heads, image.hidden) == (16, 2, 2, 24)
    assert (image.patch, image.grid, image.naflex) == (8, (4, 4), naflex)
    assert (text.vocab, text.length, text.dim, text.heads) == (50, 6, 16, 3)


def test_optimiser_states_of_big_vision_and_a_missing_prefix_are_no_trouble(tmp_path):
    arrays = siglip_files.big_vision()
    expected = siglip_files.random_towers(arrays)
    more = arrays | {"opt/0/count": np.zeros(1), "chrono": np.zeros(2)}
    tree, _ = read_all(siglip_files.save_npz(tmp_path / "a.npz", more))
    jax.tree.map(np.testing.assert_array_equal, tree, expected)
    bare = {key.removeprefix("params/"): value for key, value in arrays.items()}
    tree, _ = read_all(siglip_files.save_npz(tmp_path / "b.npz", bare))
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def trouble(weights, wanted):
    with pytest.raises(ValueError) as caught:
        towers.plan(weights, wanted)
    return str(caught.value)


def test_one_error_lists_missing_surplus_and_misshapen_arrays(tmp_path):
    arrays = siglip_files.big_vision()
    wanted = [
        convert.tower(side, one)
        for side, one in convert.describe(
            files.open_weights(siglip_files.save_npz(tmp_path / "w.npz", arrays))
        ).items()
    ]
    del arrays["params/img/MAPHead_0/probe"]
    del arrays["params/txt/head/bias"]
    for layer in (0, 1):
        before = f"params/img/Transformer/encoderblock_{layer}/"
        arrays[before + "gate"] = np.zeros(1, np.float32)
    arrays["params/txt/Embed_0/embedding"] = np.zeros((40, 12), np.float32)
    arrays["params/ema"] = np.zeros(1, np.float32)
    for form in (arrays, siglip_files.scanned(arrays)):
        weights = files.open_weights(siglip_files.save_npz(tmp_path / "x.npz", form))
        text = trouble(weights, wanted)
        assert "missing in the file, img has it (-):" in text
        assert "params/img/MAPHead_0/probe" in text
        assert "params/txt/head/bias" in text
        assert "in the file, img does not have it (+):" in text
        assert "encoderblock" in text and "gate" in text
        assert "in the file, of no tower (+):\n    params/ema" in text
        assert "params/txt/Embed_0/embedding: file (40, 12), tower (50, 12)" in text
        assert "vocabulary" in text
        assert text.count("\n") < 16


@pytest.mark.parametrize("form", ["unrolled", "scanned", "whole"])
@pytest.mark.parametrize(
    "change", [{"width": 24}, {"depth": 3}, {"depth": 1}, {"hidden": 32}, {"patch": 4}]
)
def test_a_tower_of_another_size_is_refused(tmp_path, form, change):
    other = siglip_files.IMAGE | change
    arrays = siglip_files.big_vision(image=other)
    if form == "whole":
        values = siglip_files.huggingface(arrays)
        path = siglip_files.save_huggingface(tmp_path / "hf", values)
    else:
        saved = siglip_files.scanned(arrays) if form == "scanned" else arrays
        path = siglip_files.save_npz(tmp_path / "w.npz", saved)
    own = siglip_files.save_npz(tmp_path / "own.npz", siglip_files.big_vision())
    sizes = convert.describe(files.open_weights(own))
    wanted = [convert.tower("img", sizes["img"])]
    assert "do not fit the towers img" in trouble(files.open_weights(path), wanted)


def test_another_number_of_heads_is_seen(tmp_path):
    arrays = siglip_files.big_vision()
    own = files.open_weights(siglip_files.save_npz(tmp_path / "own.npz", arrays))
    wanted = [convert.tower("img", convert.describe(own)["img"]._replace(heads=4))]
    text = trouble(own, wanted)
    assert "query/kernel: file (16, 2, 8), tower (16, 4, 4)" in text
    path = siglip_files.save_huggingface(
        tmp_path / "hf", siglip_files.huggingface(arrays)
    )
    text = trouble(files.open_weights(path), wanted)
    assert "img: 4 heads, config.json has 2" in text


def test_naflex_and_fixed_towers_start_from_each_other(tmp_path):
    for naflex in (False, True):
        arrays = siglip_files.big_vision(naflex=naflex)
        path = siglip_files.save_npz(tmp_path / f"{naflex}.npz", arrays)
        hf = siglip_files.save_huggingface(
            tmp_path / f"hf{naflex}", siglip_files.huggingface(arrays)
        )
        for file in (path, hf):
            weights = files.open_weights(file)
            size = convert.describe(weights)["img"]._replace(naflex=not naflex)
            plan = towers.plan(weights, [convert.tower("img", size)])
            kernel = plan.read["img", "embedding/kernel"]().reshape(192, 16)
            table = plan.read["img", "pos_embedding"]().reshape(16, 16)
            expected = arrays["params/img/embedding/kernel"].reshape(192, 16)
            np.testing.assert_array_equal(kernel, expected)
            expected = arrays["params/img/pos_embedding"].reshape(16, 16)
            np.testing.assert_allclose(table, expected, atol=1e-7)
