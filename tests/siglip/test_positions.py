# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Positions resized: by hand, and as the libraries do that the reference calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from unigeo_jax.nn import naflex
from unigeo_jax.siglip import positions


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(16 * 16, 5)).astype(np.float32)


def test_the_same_grid_is_left_alone(table):
    for method in ("corners", "cubic", "antialiased"):
        out = positions.resize_image(table, (16, 16), (16, 16), method)
        np.testing.assert_array_equal(out, table)


def test_big_vision_resizes_between_corners(table):
    out = positions.resize_image(table, (16, 16), (24, 14), "corners")
    grid = table.reshape(16, 16, 5)
    expected = scipy.ndimage.zoom(grid, (24 / 16, 14 / 16, 1), order=1)
    np.testing.assert_allclose(out.reshape(24, 14, 5), expected, atol=1e-6)
    np.testing.assert_allclose(out[0], table[0], atol=1e-6)
    np.testing.assert_allclose(out[-1], table[-1], atol=1e-6)


def test_cubic_weights_sum_to_one_and_follow_the_kernel():
    weights = positions._cubic(8, 16)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    taps = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]  # a quarter to the right
    np.testing.assert_allclose(weights[5, 1:5], taps, atol=1e-12)
    assert np.count_nonzero(weights[5]) == 4
    table = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    out = positions.resize_image(table, (8, 8), (16, 16), "cubic").reshape(16, 16, 2)
    expected = np.einsum("i,j,ijw->w", weights[5], weights[0], table.reshape(8, 8, 2))
    np.testing.assert_allclose(out[5, 0], expected, atol=1e-6)


@pytest.mark.parametrize("grid", [(16, 16), (8, 24), (3, 5), (1, 20), (32, 2)])
def test_the_naflex_network_and_the_import_resize_alike(table, grid):
    expected = positions.resize_image(table, (16, 16), grid, "antialiased")
    slots = grid[0] * grid[1] + 3
    out = jax.jit(naflex.positions, static_argnums=2)(
        table.reshape(16, 16, 5), jnp.array([grid]), slots
    )[0]
    np.testing.assert_allclose(out[:-3], expected, atol=2e-6)
    np.testing.assert_allclose(out[-3:], expected[[-1] * 3], atol=2e-6)
    image = jax.image.resize(
        table.reshape(16, 16, 5), (*grid, 5), "bilinear", antialias=True
    )
    np.testing.assert_allclose(expected, image.reshape(-1, 5), atol=2e-6)


def test_the_mask_keeps_the_first_rows_times_columns_slots():
    mask = naflex.mask(jnp.array([[2, 3], [0, 0], [1, 8]]), 8)
    np.testing.assert_array_equal(mask.sum(axis=1), [6, 0, 8])
    assert mask[0, :6].all()


def test_longer_texts_interpolate_at_half_pixel_centres():
    table = np.array([[0.0], [1.0], [3.0]], np.float32)
    out = positions.resize_text(table, 6)[:, 0]
    np.testing.assert_allclose(out, [0, 0.25, 0.75, 1.5, 2.5, 3], atol=1e-7)
    image = jax.image.resize(table, (6, 1), "linear")
    np.testing.assert_allclose(out, image[:, 0], atol=1e-7)


def test_shorter_texts_take_the_first_positions(table):
    np.testing.assert_array_equal(positions.resize_text(table, 10), table[:10])


def test_a_table_that_is_no_square_has_no_grid():
    assert positions.source_grid((1, 196, 8)) == (14, 14)
    assert positions.source_grid((196, 8)) == (14, 14)
    assert positions.source_grid((16, 16, 8)) == (16, 16)
    assert positions.source_grid((1, 197, 8)) is None
