# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Spherical harmonics against golden numbers, the addition theorem and scipy."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from unigeo_jax.nn import harmonics

GOLDEN = pathlib.Path(__file__).parents[3] / "shared/golden/spherical_harmonics.json"


def places(n=50):
    rng = np.random.default_rng(0)
    return np.stack([rng.uniform(-90, 90, n), rng.uniform(-180, 180, n)], -1)


@pytest.mark.parametrize("weights", ["orthonormal", "m0_pi"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_golden_numbers_are_met(weights, dtype):
    if not GOLDEN.exists():
        pytest.skip("no golden numbers beside this checkout")
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
