# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of any aspect in a fixed number of patch slots (NaFlex, SigLIP 2)."""

import functools
import math
from typing import Any

import numpy as np


@functools.lru_cache(maxsize=1024)
def grid(height: int, width: int, patch: int, slots: int) -> tuple[int, int]:
    """Rows and columns of patches of a picture scaled to fill at most `slots`.

    The scale is the largest that fits, found by bisection to 1e-5 as in the reference;
    each side is then rounded up to whole patches, so the aspect changes by less than
    one patch.

    Raises:
      ValueError: not even one row or column of patches would fit.
    """

    def sides(scale: float) -> tuple[int, int]:
        rows, columns = (max(math.ceil(n * scale / patch), 1) for n in (height, width))
        return rows, columns

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        if math.prod(sides(middle)) <= slots:
            low = middle
        else:
            high = middle
    if math.prod(sides(low)) > slots:
        raise ValueError(
            f"naflex: a picture of {height}x{width} pixels does not fit into {slots}"
            f" patches of {patch}; allowed: more patches, or a less extreme aspect"
        )
    return sides(low)


def spec(patch: int, slots: int, views: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """`patches` uint8 (..., slots, patch * patch * 3), `grid` int32 (..., 2), zeros."""
    return {
        "patches": np.zeros((*views, slots, patch * patch * 3), np.uint8),
        "grid": np.zeros((*views, 2), np.int32),
    }


def cut(image: np.ndarray, patch: int, slots: int) -> dict[str, Any]:
    """Cut uint8 (rows * patch, columns * patch, 3) into patches, row by row.

    A patch is flattened as (row, column, channel); slots left over are zero.
    """
    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    tiles = image.reshape(rows, patch, columns, patch, 3).transpose(0, 2, 1, 3, 4)
    out = spec(patch, slots)
    out["patches"][: rows * columns] = tiles.reshape(rows * columns, -1)
    out["grid"][:] = rows, columns
    return out
