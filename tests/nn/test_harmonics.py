# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Spherical harmonics against golden numbers, the addition theorem and scipy."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from unigeo_jax.nn import harmonics

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "spherical_harmonics.json"


def places(n=50):
    rng = np.random.default_rng(0)
    return np.stack([rng.uniform(-90, 90, n), rng.uniform(-180, 180, n)], -1)


@pytest.mark.parametrize("weights", ["orthonormal", "m0_pi"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_golden_numbers_are_met(weights, dtype):
    golden = json.loads(GOLDEN.read_text())
    latlon = np.array([[p["lat"], p["lon"]] for p in golden["points"]], dtype)
    values = harmonics.real_harmonics(latlon, 32, m0_pi=weights == "m0_pi")
    assert values.dtype == dtype
    bound = 1e-12 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(values, golden[weights], atol=bound, rtol=0)


def test_jax_and_numpy_agree_in_float32():
    latlon = places().astype(np.float32)
    np.testing.assert_allclose(
        harmonics.real_harmonics(jnp.asarray(latlon), 20),
        harmonics.real_harmonics(latlon, 20),
        atol=3e-5,
    )


def test_a_degree_sums_to_the_same_everywhere():
    values = harmonics.real_harmonics(places(), 60)
    for degree in (0, 1, 7, 39, 59):
        of_degree = values[:, degree**2 : (degree + 1) ** 2]
        np.testing.assert_allclose(
            (of_degree**2).sum(1), (2 * degree + 1) / (4 * np.pi), rtol=1e-10
        )


def test_scipy_gives_the_same_up_to_its_phase():
    latlon = places(9)
    theta, phi = np.radians(latlon[:, 0] + 90), np.radians(latlon[:, 1] + 180)
    values = harmonics.real_harmonics(latlon, 9)
    for degree, order in ((8, 3), (8, 0), (5, 5), (2, 1)):
        value = scipy.special.sph_harm_y(degree, order, theta, phi)
        factor = (-1) ** order * np.sqrt(2) if order else 1
        at = degree * (degree + 1)
        np.testing.assert_allclose(
            values[:, at + order], factor * value.real, atol=1e-12
        )
        if order:
            np.testing.assert_allclose(
                values[:, at - order], factor * value.imag, atol=1e-12
            )


@pytest.mark.parametrize("levels", [1, 2, 40])
def test_float32_holds_at_the_poles_and_in_every_block(levels):
    lat, lon = places(600).T
    lat[:8] = 90, -90, 90 - 1e-4, 1e-4 - 90, 89.9, -89.9, 0, 0
    latlon = np.stack([lat, lon], -1).astype(np.float32).reshape(2, 300, 2)
    exact = harmonics.real_harmonics(latlon.astype(np.float64), levels)
    got = jax.jit(lambda x: harmonics.real_harmonics(x, levels))(latlon)
    assert got.shape == exact.shape == (2, 300, levels**2)
    np.testing.assert_allclose(got, exact, atol=5e-4, rtol=0)
    np.testing.assert_array_equal(
        exact[1, 299], harmonics.real_harmonics(latlon[1, 299].astype("f8"), levels)
    )
