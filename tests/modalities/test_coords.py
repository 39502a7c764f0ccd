# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates on the host: order, wrap, range, jitter."""

import math

import numpy as np
import pytest

from unigeo_jax.modalities import coords


@pytest.mark.parametrize(
    ("lon", "wrapped"),
    [(10.5, 10.5), (180, -180), (-180, -180), (190, -170), (-541, 179), (720, 0)],
)
def test_latitude_comes_first_and_longitude_wraps(lon, wrapped):
    got = coords.read({"lat": 45.25, "lon": lon}, None)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [45.25, wrapped], atol=1e-6)


def test_a_longitude_that_float32_would_round_up_to_180_stays_in_range():
    got = coords.read({"lat": 0, "lon": math.nextafter(180, 0)}, None)
    assert got[1] == -180


@pytest.mark.parametrize(
    ("lat", "lon"), [(90.01, 0), (-91, 0), (math.nan, 0), (0, math.inf), (0, math.nan)]
)
def test_an_impossible_place_is_an_error_that_names_it(lat, lon):
    with pytest.raises(ValueError, match=rf"place 17 has lat={float(lat)}"):
        coords.read({"lat": lat, "lon": lon, "place": 17}, None)


@pytest.mark.parametrize("lat", [0.0, 60.0, 89.9, -90.0])
def test_jitter_moves_by_the_stated_metres_in_every_direction(lat):
    moves = []
    for seed in range(800):
        rng = np.random.default_rng(seed)
        got = coords.read({"lat": lat, "lon": 20.0}, rng, jitter_m=20_000.0)
        assert -90 <= got[0] <= 90 and -180 <= got[1] < 180
        a, b = np.radians([lat, got[0]])
        across = np.radians(got[1] - 20.0)
        cosine = np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(across)
        moves.append(6_371_008.8 * np.arccos(min(cosine, 1.0)))
    if abs(lat) < 89:  # at a pole east-west moves only turn
        np.testing.assert_allclose(
            np.sqrt(np.mean(np.square(moves)) / 2), 20e3, rtol=0.1
        )
    assert max(moves) < 120e3


def test_evaluation_has_no_jitter():
    got = coords.read({"lat": 1.0, "lon": 2.0}, None, jitter_m=1e5)
    np.testing.assert_array_equal(got, [1.0, 2.0])
