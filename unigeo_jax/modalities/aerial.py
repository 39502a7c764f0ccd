# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Aerial image: what a place looks like from above (uint8 RGB, north up)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from unigeo_jax.data import patches
from unigeo_jax.nn import vit


def spec(
    size: int = 32, naflex: int = 0, patch: int = 16, **_
) -> np.ndarray | dict[str, np.ndarray]:
    """Return one black image, uint8 (size, size, 3), or `naflex` empty patch slots."""
    if naflex:
        return patches.spec(patch, naflex)
    return np.zeros((size, size, 3), np.uint8)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    size: int = 32,
    shift: float = 2,
    jitter: float = 0.1,
    symmetry: bool = False,
    naflex: int = 0,
    patch: int = 16,
) -> np.ndarray | dict[str, np.ndarray] | None:
    """Cut the square around the place out of `record["aerial"]`, uint8.

    The square has min(size, side - 2 * shift) pixels of the record and is moved by up
    to `shift` of them in training; it is resized only where that differs from `size`,
    and enlarging (the earth set's 32 pixels to 224) adds no detail. `jitter` is the
    half-width of a random gain a channel and, times 128, of an offset. `symmetry`
    draws one of the 8 symmetries of the square, the same one as the dsm's.

    `naflex` > 0 keeps the record's aspect instead: all of it but a margin of `shift`,
    resized to fill up to `naflex` patches of `patch` pixels (data/patches.py).
    """
    image = record.get("aerial")
    if image is None:
        return None
    if naflex:
        margin = 2 * int(np.ceil(shift))
        height, width = (max(n - margin, 1) for n in image.shape[:2])
        image = window(image, rng, height, width, shift, symmetry)
    else:
        image = square(image, rng, size, shift, symmetry)
    if rng is not None and jitter:
        image = jitter_colours(image, rng, jitter)
    if naflex:
        return flexible(image, patch, naflex)
    if image.shape[0] != size:
        image = resize(image, size, size)
    return np.ascontiguousarray(image)


def square(
    raster: np.ndarray,
    rng: np.random.Generator | None,
    size: int,
    shift: float,
    symmetry: bool,
) -> np.ndarray:
    """Cut the square around the middle of a (height, width, ...) raster.

    Always makes the same three draws first, so that two modalities of one place that
    start from the same seed get the same symmetry and proportional shifts.
    """
    margin = int(np.ceil(shift))
    height, width = raster.shape[:2]
    side = min(size, height - 2 * margin, width - 2 * margin)
    if side < 1:
        raise ValueError(
            f"shift: {shift} pixels leave nothing of a raster of {height}x{width}"
        )
    return window(raster, rng, side, side, shift, symmetry)


def window(
    raster: np.ndarray,
    rng: np.random.Generator | None,
    rows: int,
    columns: int,
    shift: float,
    symmetry: bool,
) -> np.ndarray:
    """Cut `rows` x `columns` around the middle; draws as `square` says."""
    height, width = raster.shape[:2]
    top, left = (height - rows) // 2, (width - columns) // 2
    if rng is None:
        return raster[top : top + rows, left : left + columns]
    element, down, right = rng.random(3)
    top += round((2 * down - 1) * shift)
    left += round((2 * right - 1) * shift)
    raster = raster[top : top + rows, left : left + columns]
    if symmetry:
        raster = turn(raster, int(8 * element))
    return raster


def flexible(image: np.ndarray, patch: int, slots: int) -> dict[str, np.ndarray]:
    """Resize uint8 (h, w, 3) to fill up to `slots` patches and cut it into them."""
    rows, columns = patches.grid(*image.shape[:2], patch, slots)
    if image.shape[:2] != (rows * patch, columns * patch):
        image = resize(image, rows * patch, columns * patch)
    return patches.cut(np.ascontiguousarray(image), patch, slots)


def turn(raster: np.ndarray, element: int) -> np.ndarray:
    """Apply symmetry 0..7 of the square to the first two axes of a raster.

    Of pixels of three bytes a copy, moved pixel by pixel: 2.5 times as fast as the copy
    that numpy makes later of a turned view.
    """
    if raster.dtype == np.uint8 and raster.shape[2:] == (3,) and element & 6:
        pixels = np.ascontiguousarray(raster).view("V3")[..., 0]
        turned = np.ascontiguousarray(_turn(pixels, element))
        return turned.view(np.uint8).reshape(*turned.shape, 3)
    return _turn(raster, element)


def _turn(raster: np.ndarray, element: int) -> np.ndarray:
    if element & 1:
        raster = raster[::-1]
    if element & 2:
        raster = raster[:, ::-1]
    return raster.swapaxes(0, 1) if element & 4 else raster


def jitter_colours(
    image: np.ndarray, rng: np.random.Generator, jitter: float
) -> np.ndarray:
    """Change gain and offset of each channel; the middle grey's gain is neutral."""
    u = rng.random((2, image.shape[-1]), np.float32) * (2 * jitter) - jitter
    gain = 1 + u[0]
    offset = 128 * u[1] + 127.5 * (1 - gain) + 0.5
    out = image * gain
    out += offset
    np.clip(out, 0, 255, out=out)
    return out.astype(np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (h, w, 3) or float32 (h, w) bilinearly; adds no detail.

    Pillow averages over the pixels that it drops, as the processor of SigLIP 2's
    checkpoints in transformers does. Differs from big_vision: its evaluation resizes
    without antialiasing.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


class Encoder(vit.ViT):
    """Encode aerial images, uint8 (b, size, size, 3) or patches, by a ViT: (b, dim).

    Pixels become [-1, 1] here, on the device. Parameters are named as in SigLIP 2's
    image tower.
    """

    def __call__(
        self, x: jax.Array | Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        if isinstance(x, Mapping):
            x = {"patches": scale_pixels(x["patches"]), "grid": x["grid"]}
            return super().__call__(x, train)
        return super().__call__(scale_pixels(x), train)


def scale_pixels(image: jax.Array) -> jax.Array:
    """Map uint8 0..255 to float32 -1..1."""
    return image.astype(jnp.float32) * (2.0 / 255.0) - 1.0
