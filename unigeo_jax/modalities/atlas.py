# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates for the packaged encoder: maps and hash grids in the parameters.

Where a place lies (spherical harmonics), what a small network over hash grids says of
what is finer than the maps, and what maps of several scales say of it, are scaled
number by number and rotated. How they come about is in unigeo_jax/earth_encoder.py.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.modalities.coords import check, read, spec
from unigeo_jax.nn import harmonics, hash_grid

__all__ = ["NORTH", "SOUTH", "TILE", "Encoder", "check", "look_up", "read", "spec"]

SOUTH, NORTH = -60.0, 84.0  # edges of the maps, degrees; beyond, the edge is repeated
TILE = 8  # pixels a side


def look_up(tiles_tc: jax.Array, index_rc: jax.Array, latlon_b2: jax.Array) -> Any:
    """Reads a map between its pixels, bilinear, as float32 (b, c).

    tiles_tc: the pixels of all tiles, row by row, tile after tile. index_rc: which tile
    lies where; many places may share one, such as the open sea. Row 0 is north; columns
    run from -180 and wrap.
    """

    def pixel(row: jax.Array, column: jax.Array) -> jax.Array:
        at = row // TILE * index_rc.shape[1] + column // TILE
        tile = jnp.take(index_rc.reshape(-1), at, mode="clip")
        return (tile * TILE + row % TILE) * TILE + column % TILE

    sides = TILE * index_rc.shape[0], TILE * index_rc.shape[1]
    return hash_grid.bilinear(tiles_tc, pixel, latlon_b2, sides, (SOUTH, NORTH))


class Encoder(nn.Module):
    """Encode [lat, lon], float32 (b, 2) in degrees, as (b, dim), ready for use.

    levels: degrees 0 to levels - 1 of harmonics.
    grids, widths, fine_channels: of the fine network: hash grids (nn/hash_grid.py: of
      each, degrees a pixel, entries, channels), int8, hidden layers with ReLU, and what
      it gives.
    maps: of each map, int8, from NORTH to SOUTH: tiles from north to south, tiles
      around, tiles that are kept, channels.
    turns: (p, q), p q = dim. The rotation is the Kronecker product of two, of p and of
      q numbers: a tenth of the products of a dense one.

    `scale` takes the harmonics but the constant one, the fine channels, then the
    channels of the maps, one by one.
    """

    dim: int
    dtype: Any = jnp.float32
    levels: int = 2
    grids: tuple[hash_grid.Grid, ...] = ()
    widths: tuple[int, ...] = ()
    fine_channels: int = 1
    maps: tuple[tuple[int, int, int, int], ...] = ()
    turns: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        del train
        zeros = nn.initializers.zeros
        found = [harmonics.real_harmonics(latlon_b2, self.levels)[:, 1:]]
        found.append(self.fine(latlon_b2).astype(jnp.float32))
        for number, (rows, columns, kept, channels) in enumerate(self.maps):
            shape = (kept * TILE**2, channels)
            tiles_tc = self.param(f"tiles_{number}", zeros, shape, jnp.int8)
            shape = (rows, columns)
            index_rc = self.param(f"index_{number}", zeros, shape, jnp.int32)
            found.append(look_up(tiles_tc, index_rc, latlon_b2))
        x_bd = jnp.concatenate(found, axis=-1)
        x_bd *= self.param("scale", nn.initializers.ones, (self.dim,))[None]
        p, q = self.turns
        left_pp = self.param("turn_0", nn.initializers.orthogonal(), (p, p))
        right_qq = self.param("turn_1", nn.initializers.orthogonal(), (q, q))
        x_bpq = x_bd.reshape(-1, p, q)
        turned_bpq = jnp.einsum("bpq,pr,qs->brs", x_bpq, left_pp, right_qq)
        bias_d = self.param("bias", zeros, (self.dim,))
        return turned_bpq.reshape(-1, self.dim) + bias_d[None]

    def fine(self, latlon_b2: jax.Array) -> jax.Array:
        """Return what is finer than the maps, (b, fine_channels)."""
        grids = hash_grid.HashGrids(tuple(self.grids), jnp.int8)
        nn.share_scope(self, grids)
        x_bw = grids(latlon_b2).astype(self.dtype)
        for number, width in enumerate(self.widths):
            dense = nn.Dense(width, dtype=self.dtype, name=f"hidden_{number}")
            x_bw = nn.relu(dense(x_bw))
        head = nn.Dense(self.fine_channels, use_bias=False, name="fine_head")
        return head(x_bw)
