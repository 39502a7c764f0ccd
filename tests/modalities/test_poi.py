# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points of interest: a set, read from lines, encoded whatever its order."""

from typing import Any

import jax
import numpy as np
import pytest

from unigeo_jax.modalities import poi

LINES = [("airport", "Salt Lake", 3.5), ("lake", "Utah", 12.0), ("city", "Provo", 20.0)]


def record(lines=LINES, **fields):
    text = "\n".join(f"{kind}\t{name}\t{km}" for kind, name, km in lines)
    return {"place": 9, "poi": text} | fields


def test_points_come_nearest_first_with_padding_behind():
    got = poi.read(record(), None, items=4)
    zeros = poi.spec(items=4)
    assert {k: (v.shape, v.dtype) for k, v in got.items()} == {
        k: (v.shape, v.dtype) for k, v in zeros.items()
    }
    assert got["here"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(got["log_km"][:3], np.log1p([3.5, 12, 20]), rtol=1e-6)
    assert (got["kind"][:3, 0] > 0).all() and not got["kind"][3].any()
    assert not np.array_equal(got["name"][0], got["name"][1])
    two = poi.read(record(), None, items=2)
    np.testing.assert_array_equal(two["kind"], got["kind"][:2])
    without: Any = poi.read(record(), None, name=0)
    assert "name" not in without


def test_an_empty_set_is_absent():
    assert poi.read({"poi": ""}, None) is None
    assert poi.read({}, None) is None


@pytest.mark.parametrize("line", ["lake\tUtah", "lake\tUtah\tfar", "lake\tUtah\t-1"])
def test_a_malformed_line_is_an_error_that_names_the_place(line):
    with pytest.raises(ValueError, match=r"poi: place 9: got 'lake.*allowed: kind"):
        poi.read({"place": 9, "poi": line}, None)


def test_training_drops_points_but_never_all():
    sizes = [
        poi.read(record(), np.random.default_rng(seed), drop=0.6)["here"].sum()
        for seed in range(60)
    ]
    assert min(sizes) == 1 and max(sizes) == 3


def test_frozen_vectors_of_the_lines_replace_tokens():
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    options = {"items": 4, "vectors": "bge", "width": 2}
    got = poi.read(record(bge=vectors), None, **options)
    assert got.keys() == poi.spec(**options).keys()
    np.testing.assert_array_equal(got["vector"][:3], vectors)
    with pytest.raises(ValueError, match=r"'bge' has shape \(2, 2\), .*\(3, 2\)"):
        poi.read(record(bge=vectors[:2]), None, **options)
    with pytest.raises(ValueError, match="vectors need width"):
        poi.check({"vectors": "bge"}, {})


@pytest.mark.parametrize("vectors", ["", "bge"])
def test_neither_order_nor_padding_changes_the_embedding(vectors, draw):
    rng = np.random.default_rng(0)
    options = {"vectors": vectors, "width": 5}
    x = jax.tree.map(
        lambda z: np.stack([z] * 2), poi.spec(items=3, kind=2, name=2, **options)
    )
    x["here"][:] = True
    x["log_km"][:] = rng.random((2, 3))
    for key in x.keys() - {"here", "log_km"}:
        x[key][:] = rng.integers(1, 30, x[key].shape)
    encoder = poi.Encoder(dim=6, vocab_size=32, width=16, heads=2)
    variables = draw(encoder, x)
    run = jax.jit(encoder.apply)
    plain = run(variables, x)
    turned = run(variables, {k: v[:, [2, 0, 1]] for k, v in x.items()})
    np.testing.assert_allclose(turned, plain, atol=1e-5)
    longer = {k: np.concatenate([v, v[:, :2]], axis=1) for k, v in x.items()}
    longer["here"][:, 3:] = False
    np.testing.assert_allclose(run(variables, longer), plain, atol=1e-5)
    nearer = dict(x, log_km=x["log_km"] * 0.5)
    assert not np.allclose(run(variables, nearer), plain, atol=1e-3)
