# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Features that stand beside a learned vector of coordinates."""

import numpy as np

from unigeo_jax.nn import fixed


def test_no_cut_at_the_date_line_or_a_pole():
    lat = np.array([51.0, 51.0, 90.0, 90.0, -90.0, -90.0])
    lon = np.array([180.0, -180.0, 0.0, 77.0, 12.0, -140.0])
    x_nd = fixed.features(lat, lon)
    assert x_nd.shape == (6, fixed.DIM) and x_nd.dtype == np.float32
    np.testing.assert_allclose(x_nd[::2], x_nd[1::2], atol=1e-5)


def test_near_places_are_alike_and_far_ones_are_not():
    lat, lon = np.array([45.0, 45.2, 48.0, -30.0]), np.array([5.0, 5.0, 15.0, 140.0])
    x_nd = fixed.features(lat, lon)
    x_nd /= np.linalg.norm(x_nd, axis=1, keepdims=True)
    near, middle, far = x_nd[0] @ x_nd[1:].T
    assert near > 0.99 and 0.8 > middle > far + 0.2


def test_the_numbers_do_not_change_between_versions():
    x_nd = fixed.features([10.0], [20.0])
    np.testing.assert_allclose(
        x_nd[0, 1], -np.sqrt(3 / (4 * np.pi)) * np.sin(np.deg2rad(10)), rtol=1e-6
    )
    golden = [0.6600313, 0.9954476, 0.9729348, 0.9954808]
    np.testing.assert_allclose(x_nd[0, 99:103], golden, atol=1e-6)


def test_the_learned_vector_comes_first():
    z_nd = np.ones((2, 3), np.float32)
    both = fixed.beside(z_nd, [1.0, 2.0], [3.0, 4.0])
    assert both.shape == (2, 3 + fixed.DIM) and (both[:, :3] == 1).all()
