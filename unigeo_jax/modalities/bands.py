# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Bands of any sensor: a square of numbers a band, standardised by the dataset's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax.modalities import aerial
from unigeo_jax.nn import vit

CLIP = 6.0  # standard deviations


def spec(size: int, mean: Sequence[float], **_) -> np.ndarray:
    """Return a square of means, float32 (size, size, bands)."""
    return np.zeros((size, size, len(mean)), np.float32)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    field: str,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    void: float | None = None,
    shift: float = 0,
    symmetry: bool = False,
) -> np.ndarray | None:
    """Cut the square out of `record[field]`: (value - mean) / std a band, clipped.

    Pixels that are `void`, or NaN, in a band are 0, its mean. Absent where more than
    half of the square is void in some band. Square and shift as in `aerial.read`, with
    the same symmetry; a smaller square is an error: nothing is resized.
    """
    values = record.get(field)
    if values is None:
        return None
    tile = aerial.square(np.asarray(values), rng, size, shift, symmetry)
    if tile.shape != (size, size, len(mean)):
        raise ValueError(
            f"bands: place {record.get('place', '?')}: field {field!r} gives"
            f" {tile.shape}, allowed: {(size, size, len(mean))}"
        )
    out = tile.astype(np.float32)
    unknown = np.isnan(out)
    if void is not None:
        unknown |= tile == void
    if unknown.any(-1).mean() > 0.5:
        return None
    out -= np.asarray(mean, np.float32)
    out /= np.asarray(std, np.float32)
    np.clip(out, -CLIP, CLIP, out=out)
    out[unknown] = 0.0
    return np.ascontiguousarray(out)


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse statistics that do not fit each other, or a spread of nothing."""
    mean, std = data["mean"], data["std"]
    if len(mean) != len(std) or not mean or not all(s > 0 for s in std):
        raise ValueError(
            f"bands: {len(mean)} means, spreads {list(std)}; allowed: one of each a"
            " band, spreads above 0"
        )


class Encoder(vit.ViT):
    """Encode standardised bands, float32 (b, size, size, bands), by a ViT: (b, dim)."""
