# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Night lights: what shines upwards from a place, grey levels of a square tile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.modalities import aerial
from unigeo_jax.nn import vit


def spec(size: int = 16, **_) -> np.ndarray:
    """Return one dark tile, uint8 (size, size, 1)."""
    return np.zeros((size, size, 1), np.uint8)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    size: int = 16,
    shift: float = 0,
    symmetry: bool = False,
) -> np.ndarray | None:
    """Cut the tile out of `record["night"]`, as `aerial.read` does, in grey.

    A tile without any light is present: darkness is a finding.
    """
    image = record.get("night")
    if image is None:
        return None
    tile = aerial.square(image, rng, size, shift, symmetry)
    tile = tile[..., :1] if tile.ndim == 3 else tile[..., None]
    if tile.shape[0] != size:
        grey = aerial.resize(tile[..., 0].astype(np.float32), size, size)
        tile = np.clip(np.rint(grey), 0, 255)[..., None]
    return np.ascontiguousarray(tile, np.uint8)


class Encoder(vit.ViT):
    """Encode tiles, uint8 (b, size, size, 1), by a ViT: (b, dim).

    Levels pass through arcsinh(contrast * level), level 0 to 1: villages beside cities.
    """

    pool: vit.Pool = "mean"
    contrast: float = 30.0

    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        level = image.astype(jnp.float32) / 255.0
        return super().__call__(jnp.arcsinh(self.contrast * level), train)
