# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates for the packaged encoder: maps in the parameters, and a fine network.

Where a place lies (spherical harmonics), what maps of several scales say of it, and the
last hidden layer of a small network for what is finer than the maps, go through one
linear layer. How they come about is in unigeo_jax/earth_encoder.py.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.modalities.coords import check, read, spec
from unigeo_jax.nn import fourier, harmonics

__all__ = ["NORTH", "SOUTH", "TILE", "Encoder", "check", "look_up", "read", "spec"]

SOUTH, NORTH = -60.0, 84.0  # edges of the maps, degrees; beyond, the edge is repeated
TILE = 8  # pixels a side


def look_up(tiles_tc: jax.Array, index_rc: jax.Array, latlon_b2: jax.Array) -> Any:
    """Reads a map between its pixels, bilinear, as float32 (b, c).

    tiles_tc: the pixels of all tiles, row by row, tile after tile. index_rc: which tile
    lies where; many places may share one, such as the open sea. Row 0 is north; columns
    run from -180 and wrap.
    """
    height, width = (TILE * side for side in index_rc.shape)
    # Degrees from the first pixel's centre, times pixels a degree: nothing is left that
    # a compiler may join in its own way, and so round in another place.
    per_lat, per_lon = height / (NORTH - SOUTH), width / 360.0
    row_b = ((NORTH - 0.5 / per_lat) - latlon_b2[:, 0]) * per_lat
    row_b = jnp.clip(row_b, 0.0, height - 1.0)
    column_b = (latlon_b2[:, 1] + (180.0 - 0.5 / per_lon)) * per_lon
    top_b, left_b = jnp.floor(row_b), jnp.floor(column_b)
    total_bc = jnp.zeros((latlon_b2.shape[0], tiles_tc.shape[1]), jnp.float32)
    for down in (0, 1):
        for right in (0, 1):
            row = jnp.minimum(top_b.astype(jnp.int32) + down, height - 1)
            column = (left_b.astype(jnp.int32) + right) % width
            at = row // TILE * index_rc.shape[1] + column // TILE
            tile = jnp.take(index_rc.reshape(-1), at, mode="clip")
            pixel = (tile * TILE + row % TILE) * TILE + column % TILE
            here_bc = jnp.take(tiles_tc, pixel, axis=0, mode="clip")
            share_b = 1.0 - jnp.abs(row_b - top_b - down)
            share_b *= 1.0 - jnp.abs(column_b - left_b - right)
            total_bc += here_bc.astype(jnp.float32) * share_b[:, None]
    return total_bc


class Encoder(nn.Module):
    """Encode [lat, lon], float32 (b, 2) in degrees, as (b, dim), ready for use.

    levels: degrees 0 to levels - 1 of harmonics.
    frequencies, widths: of the fine network, modalities/student.py on Equal Earth. It
      is faded out towards the date line and the poles, where that projection is cut.
    maps: of each map, int8, from NORTH to SOUTH: tiles from north to south, tiles
      around, tiles that are kept, channels.

    The kernel of `head` takes the harmonics but the constant one, the last hidden layer
    of the fine network, then the channels of the maps, one by one.
    """

    dim: int
    dtype: Any = jnp.float32
    levels: int = 2
    frequencies: int = 1
    widths: tuple[int, ...] = (1,)
    maps: tuple[tuple[int, int, int, int], ...] = ()

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        del train
        found = [harmonics.real_harmonics(latlon_b2, self.levels)[:, 1:]]
        found.append(self.fine(latlon_b2).astype(jnp.float32))
        zeros = nn.initializers.zeros
        for number, (rows, columns, kept, channels) in enumerate(self.maps):
            shape = (kept * TILE**2, channels)
            tiles_tc = self.param(f"tiles_{number}", zeros, shape, jnp.int8)
            shape = (rows, columns)
            index_rc = self.param(f"index_{number}", zeros, shape, jnp.int32)
            found.append(look_up(tiles_tc, index_rc, latlon_b2))
        return nn.Dense(self.dim, name="head")(jnp.concatenate(found, axis=-1))

    def fine(self, latlon_b2: jax.Array) -> jax.Array:
        """Return the last hidden layer of the fine network, (b, w)."""
        tokens = fourier.FourierTokens((1.0,), self.frequencies, fast=True)
        nn.share_scope(self, tokens)
        x_bw = tokens(latlon_b2)[:, 0].astype(self.dtype) * math.sqrt(2)
        for number, width in enumerate(self.widths):
            dense = nn.Dense(width, dtype=self.dtype, name=f"hidden_{number}")
            x_bw = nn.relu(dense(x_bw))
        cut_b2 = jnp.array([84.0, 180.0])[None] - jnp.abs(latlon_b2)
        return x_bw * jnp.clip(cut_b2, 0.0, 1.0).prod(axis=1, keepdims=True)
