# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Exact search in tiles, and the scores of locating places."""

import numpy as np
import pytest

from unigeo_jax.evals import geolocation


@pytest.fixture(params=["host", "device"])
def backend(request, monkeypatch):
    """Small tiles, and each of the two forms of the search."""
    for name in ("TILE", "HOST_TILE"):
        monkeypatch.setattr(geolocation, name, 128)
    monkeypatch.setattr(geolocation, "QUERIES", 7)
    if request.param == "device":
        monkeypatch.setattr(geolocation.jax, "default_backend", lambda: "tpu")


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("gallery", "k"), [(1000, 10), (130, 3), (50, 50), (1, 1)])
def test_the_search_equals_a_sort(gallery, k):
    rng = np.random.default_rng(0)
    query = rng.integers(-2, 3, (17, 5)).astype(np.float32)  # many ties
    items = rng.integers(-2, 3, (gallery, 5)).astype(np.float32)
    value, row = geolocation.top_k(query, items, k)
    similar = query @ items.T
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(row, order)
    np.testing.assert_array_equal(value, np.take_along_axis(similar, order, 1))


@pytest.mark.usefixtures("backend")
def test_what_cannot_be_searched_is_refused():
    a, b = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k={k}; allowed: 1 to 4"):
            geolocation.top_k(a, b, k)
    with pytest.raises(ValueError, match="width 2"):
        geolocation.top_k(a[:, :2], b, 1)


def test_places_are_located_by_what_is_there_and_not_by_what_is_absent():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 60, 300), rng.uniform(-180, 180, 300)
    gallery = rng.normal(size=(300, 16)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    seen = rng.permutation(300)[:100]
    sharp, blind = gallery[seen], rng.normal(size=(100, 16))
    here = {"sharp": np.arange(100) < 80, "blind": np.ones(100, bool)}
    blind[0] = np.nan
    here["blind"][0] = False
    got = geolocation.run(
        {"sharp": sharp, "blind": blind}, here, lat[seen], lon[seen], gallery, lat, lon
    )
    assert got["sharp"]["queries"] == 80
    assert got["sharp"]["median_km"] < 1e-6
    assert got["sharp"]["acc@25km"] == 1
    assert got["blind"]["queries"] == 99
    assert got["blind"]["acc@25km"] < 0.05
    assert got["blind"]["median_km"] == pytest.approx(
        got["blind"]["chance_km"], rel=0.3
    )
    assert got["blind+sharp"]["queries"] == 100
    assert got["sharp"]["acc@200km"] > got["blind+sharp"]["acc@200km"] > 0.3
    assert got["sharp"]["gallery"] == 300


def test_many_coordinates_are_embedded_in_batches_of_one_shape():
    shapes = set()

    def embed(lat, lon):
        shapes.add(lat.shape)
        return np.stack([lat, lon], 1)

    lat = np.arange(10.0)
    got = geolocation.embed_all(embed, lat, -lat, size=4)
    np.testing.assert_array_equal(got, np.stack([lat, -lat], 1))
    assert shapes == {(4,)}
