# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Principal axes: what they keep, and the penalty along them."""

import numpy as np
import pytest

from unigeo_jax.evals import axes


def dependent(n=200, d=30, rank=7):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + 3.0


def test_dependent_features_have_as_many_axes_as_their_rank():
    shared = axes.principal(dependent(), 1e-6)
    assert shared.p_nr.shape == (200, 7)
    np.testing.assert_allclose(shared.p_nr @ shared.axis_dr.T, shared.x_nd, atol=1e-8)
    np.testing.assert_allclose(shared.x_nd.std(0), 1)


def test_the_penalty_along_the_axes_is_that_of_the_standardised_features():
    shared = axes.principal(dependent(), 1e-6)
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.3, 3, 30)
    b = rng.normal(size=7)
    along = axes.root(shared.axis_dr, scale) @ b
    # The smallest weights of the features that give the same predictions.
    fitted = shared.x_nd / scale
    weights = np.linalg.pinv(fitted) @ (shared.p_nr @ along)
    np.testing.assert_allclose(fitted @ weights, shared.p_nr @ along, atol=1e-8)
    assert np.sum(weights**2) == pytest.approx(np.sum(b**2))


def test_constant_features_still_have_an_axis():
    shared = axes.principal(np.full((5, 3), 2.0), 1e-6)
    assert shared.p_nr.shape == (5, 1)
    np.testing.assert_array_equal(shared.p_nr, 0)
