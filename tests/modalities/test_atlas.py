# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Maps in the parameters: what is read from them, and nothing jumps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.modalities import atlas

HEIGHT, WIDTH = 24, 64  # 6 and 5.625 degrees a pixel


@pytest.fixture(scope="module")
def drawn():
    values = np.random.default_rng(0).integers(-127, 128, (HEIGHT, WIDTH, 3))
    values[8:16, :24] = 5  # three tiles that are equal
    return values.astype(np.int8)


def in_tiles(map_hwc):
    """Tiles and index of a map, equal tiles kept once."""
    cut = map_hwc.reshape(3, 8, 8, 8, 3).swapaxes(1, 2).reshape(24, -1)
    kept, index = np.unique(cut, axis=0, return_inverse=True)
    return jnp.asarray(kept.reshape(-1, 3)), jnp.asarray(index.reshape(3, 8))


def centres():
    rows, columns = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    lat = atlas.NORTH - (rows + 0.5) * (atlas.NORTH - atlas.SOUTH) / HEIGHT
    lon = (columns + 0.5) * 360 / WIDTH - 180
    return np.stack([lat, lon], -1).reshape(-1, 2).astype(np.float32)


def test_a_pixel_is_read_at_its_centre_whatever_tile_holds_it(drawn):
    tiles_tc, index_rc = in_tiles(drawn)
    assert index_rc.shape == (3, 8) and len(tiles_tc) == (24 - 2) * atlas.TILE**2
    got = atlas.look_up(tiles_tc, index_rc, centres())
    np.testing.assert_allclose(got, drawn.reshape(-1, 3), atol=1e-2)


def test_between_pixels_it_is_their_mean_also_across_the_date_line(drawn):
    parts = in_tiles(drawn)
    lat = float(centres()[0, 0])
    ends = atlas.look_up(*parts, jnp.float32([[lat, 180.0], [lat, -180.0]]))
    wanted = drawn[0, [0, -1]].astype(float).mean(0)
    np.testing.assert_allclose(ends, [wanted, wanted], atol=1e-2)


def test_beyond_its_edges_the_edge_is_repeated(drawn):
    parts = in_tiles(drawn)
    lon = float(centres()[0, 1])
    poles = atlas.look_up(*parts, jnp.float32([[90.0, lon], [-90.0, lon]]))
    np.testing.assert_allclose(poles, drawn[[0, -1], 0], atol=1e-2)


def test_a_vector_does_not_depend_on_its_batch():
    net = {"levels": 3, "grids": ((6.0, 20, 2),), "maps": ((3, 8, 2, 3),)}
    module = atlas.Encoder(12, **net, turns=(3, 4))
    at = centres()[:9]
    params = module.init(jax.random.key(0), at)
    whole = module.apply(params, at)
    alone = module.apply(params, at[4:5])
    np.testing.assert_allclose(whole[4:5], alone, atol=1e-6)
