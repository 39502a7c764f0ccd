# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hash grids: learned maps of any resolution in tables of any size.

After the multiresolution hash encoding of Muller et al. 2022 (arXiv 2201.05989). Each
pixel of a map reads an entry of a table that is smaller than the map; pixels that share
one lie far apart, and what follows tells them apart by grids of other resolutions.

Differs from the source: pixels (row, column) share an entry where
(row stride + column) mod entries is equal, stride being the golden section of the
entries, instead of by XOR of multiples. Two pixels less than 0.6 sqrt(entries) pixels
apart then never share one, any number of entries will do, and no product leaves 32
bits.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

GOLDEN = (5**0.5 - 1) / 2
Grid = Sequence[float]  # degrees a pixel, entries, channels


def check(grids: Sequence[Grid]) -> None:
    """Raises ValueError for pixels that do not divide the Earth, or too many."""
    for degrees, entries, channels in grids:
        rows = 180 / degrees if degrees > 0 else 0.0
        if not rows >= 2 or abs(rows - round(rows)) > 1e-6:
            raise ValueError(
                f"grids: got {degrees} degrees a pixel; allowed: a part of 180 up to 90"
            )
        if min(entries, channels) < 1 or rows * entries >= 2**31:
            raise ValueError(
                f"grids: got {entries} entries of {channels} channels, {rows:.0f} rows;"
                f" allowed: 1 or more, entries below {2**31 / rows:.0f}"
            )


def bilinear(
    table_ec: jax.Array,
    entry: Callable[[jax.Array, jax.Array], jax.Array],
    latlon_b2: jax.Array,
    sides: tuple[int, int],
    edges: tuple[float, float] = (-90.0, 90.0),
) -> jax.Array:
    """Reads a map between the centres of its pixels, as float32 (b, c).

    entry: rows and columns, int32 (b,) each, to the entries of the table that hold
    them. sides: rows, columns. Row 0 is north; beyond the edges (south, north) the edge
    is repeated; columns run from -180 and wrap.
    """
    (rows, columns), (south, north) = sides, edges
    # Degrees from the first pixel's centre, times pixels a degree: nothing is left that
    # a compiler may join in its own way, and so round in another place.
    per_lat, per_lon = rows / (north - south), columns / 360.0
    row_b = ((north - 0.5 / per_lat) - latlon_b2[:, 0]) * per_lat
    row_b = jnp.clip(row_b, 0.0, rows - 1.0)
    column_b = (latlon_b2[:, 1] + (180.0 - 0.5 / per_lon)) * per_lon
    top_b, left_b = jnp.floor(row_b), jnp.floor(column_b)
    total_bc = jnp.zeros((latlon_b2.shape[0], table_ec.shape[1]), jnp.float32)
    for down in (0, 1):
        for right in (0, 1):
            row = jnp.minimum(top_b.astype(jnp.int32) + down, rows - 1)
            column = (left_b.astype(jnp.int32) + right) % columns
            here_bc = jnp.take(table_ec, entry(row, column), axis=0, mode="clip")
            share_b = 1.0 - jnp.abs(row_b - top_b - down)
            share_b *= 1.0 - jnp.abs(column_b - left_b - right)
            total_bc += here_bc.astype(jnp.float32) * share_b[:, None]
    return total_bc


class HashGrids(nn.Module):
    """[lat, lon], float32 (b, 2) in degrees, to the channels of all grids, (b, c).

    grids: of each, degrees a pixel, entries, channels. Channels fade to zero over the
    last degree before a pole, where all longitudes meet.
    dtype: of the tables in memory; int8 ones are read as they are.
    """

    grids: tuple[Grid, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latlon_b2: jax.Array) -> jax.Array:
        found = [jnp.zeros((latlon_b2.shape[0], 0), jnp.float32)]
        for number, (degrees, entries, channels) in enumerate(self.grids):
            count, sides = int(entries), (round(180 / degrees), round(360 / degrees))
            table = Table((count, int(channels)), self.dtype, name=f"grid_{number}")
            entry = functools.partial(_share, entries=count)
            found.append(bilinear(table(), entry, latlon_b2, sides))
        fade_b = jnp.clip(90.0 - jnp.abs(latlon_b2[:, 0]), 0.0, 1.0)
        return jnp.concatenate(found, axis=-1) * fade_b[:, None]


def _share(row: jax.Array, column: jax.Array, entries: int) -> jax.Array:
    return (row * round(entries * GOLDEN) + column) % entries


class Table(nn.Module):
    """Entries of one grid, in a scope of their own: no weight decay (optim.TABLES)."""

    shape: tuple[int, int]
    dtype: Any

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("table", _draw, self.shape, self.dtype)


def _draw(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    if dtype == jnp.int8:  # to be read from a file
        return jnp.zeros(shape, dtype)
    return jax.random.uniform(key, shape, dtype, -0.1, 0.1)
