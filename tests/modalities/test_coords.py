# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates on the host: order, wrap, range, jitter."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.modalities import atlas, coords, geoclip, satclip, student
from unigeo_jax.nn import fourier, layers, pointwise

TINY = {"sigmas": (1.0, 4.0), "frequencies": 4, "depth": 1, "heads": 1, "registers": 1}
YEARS = (2015.0, 4.0)


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


def test_a_time_follows_and_0_stands_for_an_unknown_one():
    record = {"lat": 1.0, "lon": 2.0, "year": 2021.5, "month": 7.0}
    got = coords.read(record, None, time=True)
    np.testing.assert_array_equal(got, [1.0, 2.0, 2021.5, 7.0])
    assert got.dtype == np.float32 and got.shape == coords.spec(time=True).shape
    for lacking, wanted in (
        ({"year": math.nan, "month": math.nan}, [0, 0]),
        ({"month": math.nan}, [2021.5, 0]),
    ):
        got = coords.read(record | lacking, None, time=True)
        np.testing.assert_array_equal(got[2:], wanted)


def test_training_hides_some_times_and_moves_places_as_it_does_without():
    record, hidden = {"lat": 1.0, "lon": 2.0, "year": 2021.5, "month": 7.0}, []
    for seed in range(500):
        drawn = [np.random.default_rng(seed) for _ in range(2)]
        got = coords.read(record, drawn[0], 99.0, time=True, time_drop=0.3)
        np.testing.assert_array_equal(got[:2], coords.read(record, drawn[1], 99.0))
        hidden.append(got[2] == 0 and got[3] == 0)
        assert hidden[-1] or tuple(got[2:]) == (2021.5, 7.0)
    assert 0.23 < np.mean(hidden) < 0.37


@pytest.mark.parametrize(
    ("data", "net"),
    [
        *(({"time": True}, {}), ({}, {"time": YEARS})),
        ({"time": True}, {"time": YEARS, "depth": 0}),
        ({"time": True}, {"time": (2015.0, 0.0)}),
    ],
)
def test_a_time_that_is_not_both_read_and_encoded_is_refused(data, net):
    with pytest.raises(ValueError, match=r"allowed: neither of the two"):
        coords.check(data, net)
    coords.check({}, {"depth": 0})
    coords.check({"time": True}, {"time": YEARS})


@pytest.mark.parametrize("module", [atlas, geoclip, satclip, student])
def test_other_encoders_of_coordinates_refuse_a_time(module):
    with pytest.raises(ValueError, match=r"coords: got data.time=True, net.time=\(\)"):
        module.check({"time": True}, {"levels": 3})
    module.check({}, {"levels": 3})


def test_december_is_next_to_january_and_years_are_in_deviations():
    months = np.stack([np.full(13, 2019.0), np.arange(1, 14)], 1).astype(np.float32)
    x = np.asarray(fourier.time_features(months, *YEARS))
    season, years = x[:, 1:3], x[:, 4]
    step = np.linalg.norm(season[1:] - season[:-1], axis=1)  # the last: December on
    np.testing.assert_allclose(step, 2 * np.sin(np.pi / 12), rtol=1e-5)
    np.testing.assert_allclose(season[12], season[0], atol=1e-6)
    np.testing.assert_allclose(season[6], -season[0], atol=1e-6)
    np.testing.assert_allclose(years, 1.0)
    rows = np.array([[0, 0], [0, 4], [2011, 0], [2999, 0]], np.float32)
    x = np.asarray(fourier.time_features(rows, *YEARS))
    np.testing.assert_allclose(
        x,
        [[0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, -1], [0, 0, 0, 1, 3]],
        atol=1e-6,
    )


def test_every_part_of_a_time_counts_and_without_one_it_is_unknown(draw):
    net = coords.Encoder(**TINY, time=YEARS, dim=8)
    x = np.zeros((4, 4), np.float32)
    x[:, :2], x[1, 3], x[2, 2], x[3, 2:] = [48.0, 9.0], 7.0, 2020.0, [2020.0, 7.0]
    variables = draw(net, x)
    apply = jax.jit(net.apply)
    z = np.asarray(apply(variables, x))
    np.testing.assert_allclose(apply(variables, x[:1, :2]), z[:1], atol=1e-6)
    apart = np.linalg.norm(z[:, None] - z[None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 1e-3
    moved = np.asarray(apply(variables, x + np.float32([0.1, 0, 0, 0])))
    assert np.abs(moved - z).max(1).min() > 1e-4


def test_without_a_time_the_encoder_is_its_parts_bit_for_bit(draw):
    net = coords.Encoder(**TINY, dim=5)
    latlon = np.array([[48.0, 9.0], [-30.0, 170.0]], np.float32)
    variables = draw(net, latlon)
    params = variables["params"]
    assert set(params) == {"frequencies", "registers", "Transformer", "head"}
    scales = fourier.FourierTokens(TINY["sigmas"], TINY["frequencies"])
    fixed = {"params": {"frequencies": params["frequencies"]}}
    x_bkw = scales.apply(fixed, latlon)
    front = jnp.broadcast_to(params["registers"], (2, 1, x_bkw.shape[2]))
    blocks = layers.Transformer(
        *(1, 1, 4.0), activation=pointwise.gelu_erf, epsilon=1e-5, final_norm=False
    )
    x_bkw = jnp.concatenate([front, x_bkw], 1)
    x_bkw = blocks.apply({"params": params["Transformer"]}, x_bkw)
    head = layers.Dense(5).apply({"params": params["head"]}, x_bkw[:, 1:].mean(1))
    np.testing.assert_array_equal(net.apply(variables, latlon), head)
