# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hash grids: which entry a pixel reads, what lies between, and nothing jumps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import packaged
from unigeo_jax.modalities import student
from unigeo_jax.nn import hash_grid

DEGREES, ENTRIES = 10.0, 50
STRIDE = 31  # of 50, the golden section


@pytest.fixture(scope="module")
def grid():
    module = hash_grid.HashGrids(((DEGREES, ENTRIES, 3),))
    params = module.init(jax.random.key(0), jnp.zeros((1, 2)))
    return lambda at: np.asarray(module.apply(params, jnp.float32(at))), params


def centre(row, column):
    return 90 - (row + 0.5) * DEGREES, (column + 0.5) * DEGREES - 180


def test_a_pixel_reads_the_entry_of_its_row_and_column(grid):
    apply, params = grid
    table_ec = params["params"]["grid_0"]["table"]
    at = [(0, 0), (0, 35), (7, 11), (17, 3)]
    entries = [(STRIDE * row + column) % ENTRIES for row, column in at]
    got = apply([centre(*pixel) for pixel in at])
    np.testing.assert_allclose(got, table_ec[np.array(entries)], atol=1e-5)


def test_between_centres_lies_the_mean_also_across_the_date_line(grid):
    apply, _ = grid
    lat = centre(4, 0)[0]
    ends = apply([(lat, 180.0), (lat, -180.0)])
    sides = apply([centre(4, 35), centre(4, 0)])
    np.testing.assert_allclose(ends, [sides.mean(0)] * 2, atol=1e-5)


def test_at_the_poles_there_is_nothing_and_nothing_jumps_on_the_way(grid):
    apply, _ = grid
    np.testing.assert_array_equal(apply([(90.0, 5.0), (-90.0, 99.0)]), 0.0)
    lat = np.linspace(80, 90, 2001)
    along = apply(np.stack([lat, np.full_like(lat, 12.0)], 1))
    assert abs(np.diff(along, axis=0)).max() < 1e-3


@pytest.mark.parametrize("entries", [50, 15_000, 18_000, 30_000, 33_000, 65_536])
def test_pixels_that_share_an_entry_lie_far_apart(entries):
    stride, reach = round(entries * hash_grid.GOLDEN), int(entries**0.5)
    down = np.arange(reach)
    right = (-down * stride) % entries  # the nearest column that shares, on each side
    right = np.minimum(right, entries - right)
    right[0] = entries
    assert np.hypot(down, right).min() > 0.6 * entries**0.5


def test_a_gradient_reaches_the_entries_that_were_read_and_no_others(grid):
    _, params = grid
    module = hash_grid.HashGrids(((DEGREES, ENTRIES, 3),))
    at = jnp.float32([centre(7, 11)])
    loss = jax.grad(lambda p: module.apply(p, at).sum())
    moved = np.asarray(loss(params)["params"]["grid_0"]["table"])
    np.testing.assert_array_equal(
        np.flatnonzero(moved.any(1)), [(STRIDE * 7 + 11) % 50]
    )


def test_a_student_of_a_grid_learns_what_changes_within_a_degree():
    net = student.Encoder(2, grids=((0.25, 4096, 8),), widths=(16,))
    rng = np.random.default_rng(0)
    at = rng.uniform([47, 8], [49, 10], (512, 2)).astype(np.float32)
    wanted = np.stack([np.sin(8 * at[:, 0]), np.cos(6 * at[:, 1])], 1)
    params = net.init(jax.random.key(1), at)

    @jax.jit
    def step(params):
        loss = lambda p: jnp.square(net.apply(p, at, True) - wanted).mean()  # noqa: E731
        value, slope = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - 0.3 * g, params, slope)

    first, params = step(params)
    for _ in range(1500):
        last, params = step(params)
    assert last < 0.25 * first


@pytest.mark.parametrize(
    "grid", [(7.0, 5, 1), (0.0, 5, 1), (180.0, 5, 1), (1.0, 0, 1), (0.5, 2**23, 1)]
)
def test_grids_that_cannot_be_are_refused(grid):
    with pytest.raises(ValueError, match=r"^grids: got .*; allowed: "):
        student.check({}, {"grids": (grid,)})
    student.check({}, {"grids": packaged.grids()})
