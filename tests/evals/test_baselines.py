# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Baselines against plain loops."""

import h3
import numpy as np

from unigeo_jax.evals import baselines, folds
from unigeo_jax.evals.retrieval import great_circle_km


def places(n=120):
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 70, n), rng.uniform(-180, 180, n)
    return lat, lon, rng.normal(size=(n, 2)), folds.make("random", lat, lon, seed=0)


def test_inverse_distance_equals_a_loop():
    lat, lon, y, split = places()
    lat[1], lon[1] = lat[0], lon[0]  # a twin of the first place
    got = baselines.inverse_distance(lat, lon, y, split)
    for train, test in split.parts():
        for row in test:
            km = great_circle_km(lat[row], lon[row], lat[train], lon[train])
            near = np.argsort(km)[:8]
            weight = 1 / np.maximum(km[near], 1e-3)
            if km[near[0]] <= 1e-3:
                weight = (km[near] <= 1e-3).astype(float)
            expected = (weight[:, None] * y[train[near]]).sum(0) / weight.sum()
            np.testing.assert_allclose(got[row], expected, rtol=1e-6)


def test_the_cell_mean_is_that_of_the_finest_cell_with_training_rows():
    lat, lon, y, split = places(400)
    got = baselines.cell_mean(lat, lon, y, split)
    places_n, seen = list(zip(lat, lon, strict=True)), set()
    cells = [[h3.latlng_to_cell(*at, r) for at in places_n] for r in range(6)]
    for train, test in split.parts():
        for row in test[:20]:
            expected = y[train].mean(0)
            for resolution, of_place in enumerate(cells):
                same = [i for i in train if of_place[i] == of_place[row]]
                if same:
                    expected = y[same].mean(0)
                    seen.add(resolution)
            np.testing.assert_allclose(got[row], expected, rtol=1e-9)
    assert len(seen) > 1


def test_the_mean_is_that_of_the_training_rows():
    lat, lon, y, split = places()
    got = baselines.mean(lat, lon, y, split)
    for train, test in split.parts():
        np.testing.assert_allclose(got[test], np.tile(y[train].mean(0), (len(test), 1)))


def test_features_have_the_width_of_the_encoder_and_know_no_date_line():
    found = baselines.features(64)
    lat = np.array([10.0, 10.0, -40.0])
    lon = np.array([180.0, -180.0, 20.0])
    widths = {name: embed(lat, lon).shape[1] for name, embed in found.items()}
    assert widths == {
        "latlon": 2,
        "sphere": 3,
        "harmonics10": 99,
        "harmonics20": 399,
        "harmonics40": 1599,
        "fourier64": 64,
        "fourier768": 768,
        "fourier_1_4": 768,
        "fourier_fine": 768,
    }
    for name, embed in found.items():
        if name != "latlon":
            x = embed(lat, lon)
            # The sine of 180 degrees in float32, times the finest scale.
            close = 3e-3 if name.endswith("fine") else 1e-4
            np.testing.assert_allclose(x[0], x[1], atol=close, err_msg=name)
            assert np.abs(x[0] - x[2]).max() > 0.1


def test_the_union_holds_an_encoder_and_untrained_features_side_by_side():
    lat, lon, _, _ = places(5)

    def encoder(lat, lon):
        return np.stack([lat * 2, lon], 1)

    x = baselines.union(encoder)(lat, lon)
    found = baselines.features(64)
    assert x.shape == (5, 2 + 399 + 768)
    np.testing.assert_array_equal(x[:, :2], encoder(lat, lon))
    np.testing.assert_allclose(x[:, 2:401], found["harmonics20"](lat, lon))
    np.testing.assert_allclose(x[:, 401:], found["fourier_fine"](lat, lon))
