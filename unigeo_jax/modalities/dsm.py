# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Surface height: the relief of a place without its absolute elevation.

The earth set's raster is a terrain model of coarse pixels, so its `scale_m` is 500;
with sub-metre surface models UniGeoCLIP's shape takes 30 m.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.data import heights
from unigeo_jax.modalities import aerial
from unigeo_jax.nn import vit

VOID = -32768  # no data; NaN in float rasters
ENOUGH = 32  # pixels a side for the median; of 224 it would take as long as decoding


def spec(size: int = 24, **_) -> np.ndarray:
    """Return one flat tile, float32 (size, size, 1)."""
    return np.zeros((size, size, 1), np.float32)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    size: int = 24,
    shift: float = 2,
    scale_m: float = 500.0,
    clip: float = 8.0,
    symmetry: bool = False,
) -> np.ndarray | None:
    """Cut the tile out of `record["dsm"]`: (height - median) / scale_m, clipped.

    Absolute elevation is left out on purpose: it would give the place away. The median
    of a tile wider than 32 pixels without voids is taken of every second (third, ...)
    row and column. Void pixels (-32768, or NaN) become 0. Absent where more than half
    of the tile is void or where all heights are equal (open sea). Square, shift and
    resizing as in `aerial.read`, with the same symmetry.
    """
    raster = record.get("dsm")
    if raster is None:
        return None
    tile, element = aerial.square_to_turn(raster, rng, size, shift)
    if tile.ndim == 3:
        tile = tile[..., 0]
    values = tile.astype(np.float32, order="C")
    step = -(-len(values) // ENOUGH)
    void, known = None, values[::step, ::step]
    low, high = values.min(), values.max()
    if not (low > VOID and high == high):  # NaN, if any, is both
        void = (values == VOID) | (values != values)
        known = values[~void]
        if 2 * known.size < values.size:
            return None
        low, high = known.min(), known.max()
    if low == high:
        return None
    median, span = heights.median(known), clip * scale_m
    values -= median
    values *= 1.0 / scale_m
    if not (median - low <= span and high - median <= span):
        np.clip(values, -clip, clip, out=values)
    if void is not None:
        values[void] = 0.0
    if values.shape[0] != size:
        values = aerial.resize(values, size, size)
    if symmetry:
        values = aerial.turn(values, element)
    return np.ascontiguousarray(values)[..., None]


class Encoder(vit.ViT):
    """Encode tiles, float32 (b, size, size, 1), by a ViT with registers: (b, dim).

    `contrast` > 0 passes heights through arcsinh(contrast * height) first, which lifts
    gentle relief without clipping mountains; 0 leaves them linear.
    """

    pool: vit.Pool = "cls"
    registers: int = 4
    contrast: float = 0.0

    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        if self.contrast:
            image = jnp.arcsinh(self.contrast * image)
        return super().__call__(image, train)
