# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Position embeddings at another resolution or text length than the file's.

Each as the code does that the file belongs to:
  big_vision, fixed grid      linear between the corners' centres (scipy.ndimage.zoom
                              of order 1), no antialiasing
  Hugging Face, fixed grid    bicubic (a = -0.75), half-pixel centres, edges repeated,
                              no antialiasing: torch's `interpolate` as `SiglipModel`
                              calls it
  NaFlex table, both          bilinear, half-pixel centres, antialiased when shrinking
Texts: longer ones linearly with half-pixel centres, edges repeated; shorter ones take
the first positions, which is what the file's model does with fewer tokens.
"""

import math
from typing import Literal

import numpy as np
import scipy.ndimage

Grid = tuple[int, int]
Method = Literal["corners", "cubic", "antialiased"]


def source_grid(shape: tuple[int, ...]) -> Grid | None:
    """The grid of image positions (..., n, w) or (h, w, width); None if not square."""
    *lead, count, _ = shape
    if len(lead) == 1 and lead[0] > 1:
        return lead[0], count
    side = math.isqrt(count)
    return (side, side) if side and side * side == count else None


def resize_image(table_nw: np.ndarray, old: Grid, new: Grid, method: Method):
    """Resize float32 (old rows * columns, w) to (new rows * columns, w)."""
    w = table_nw.shape[-1]
    grid_hww = table_nw.reshape(*old, w)
    if old == new:
        return table_nw.reshape(-1, w)
    if method == "corners":
        zoom = (new[0] / old[0], new[1] / old[1], 1)
        out = scipy.ndimage.zoom(grid_hww, zoom, order=1)
    else:
        weigh = _cubic if method == "cubic" else _antialiased
        rows, columns = (weigh(n, m) for n, m in zip(old, new, strict=True))
        out = np.einsum("ih,jw,hwd->ijd", rows, columns, grid_hww.astype(np.float64))
    return np.asarray(out, np.float32).reshape(-1, w)


def resize_text(table_lw: np.ndarray, length: int) -> np.ndarray:
    """Lengthen or cut float32 (l, w) to (length, w)."""
    old = table_lw.shape[0]
    if length <= old:
        return table_lw[:length]
    centre = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, old - 1)
    part = (centre - low)[:, None]
    return np.asarray((1 - part) * table_lw[low] + part * table_lw[high], np.float32)


def _cubic(old: int, new: int) -> np.ndarray:
    """(new, old) weights of the cubic convolution kernel with a = -0.75 (Keys 1981)."""
    a = -0.75
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centre).astype(int) - 1
    weights = np.zeros((new, old))
    for tap in range(4):
        x = np.abs(centre - (first + tap))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        place = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), place), np.where(x <= 1, near, far))
    return weights


def _antialiased(old: int, new: int) -> np.ndarray:
    """(new, old) weights of a triangle as wide as the larger of the two pixels."""
    step = old / new
    centre = (np.arange(new) + 0.5) * step - 0.5
    far = np.abs(np.arange(old)[None] - centre[:, None]) / max(step, 1.0)
    weights = np.maximum(1 - far, 0)
    return weights / weights.sum(axis=1, keepdims=True)
