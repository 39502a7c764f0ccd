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
    size: int = 32,
    naflex: int = 0,
    patch: int = 16,
    on_device: bool = False,
    stored: int = 0,
    **_,
) -> np.ndarray | dict[str, np.ndarray]:
    """Return one black image, uint8 (size, size, 3), or `naflex` empty patch slots.

    With `on_device` the image, `turn` int8 () and `colours` float32 (2, 3): a gain and
    an offset a channel. With `stored` the image has that many pixels a side, and `at`,
    int16 (2,), is the first row and column of the square.
    """
    if naflex:
        return patches.spec(patch, naflex)
    side = stored if on_device and stored else size
    image = np.zeros((side, side, 3), np.uint8)
    if not on_device:
        return image
    colours = np.zeros((2, 3), np.float32)
    x = {"image": image, "turn": np.array(0, np.int8), "colours": colours}
    return x | ({"at": np.zeros(2, np.int16)} if stored else {})


def straight(on_device: bool = False, stored: int = 0, **_) -> dict[str, str]:
    """Say which pictures of a record come as they are."""
    return {"aerial": "image"} if on_device and stored else {}


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse pictures that the host leaves whole and the Encoder does not cut."""
    stored, cut = data.get("stored", 0), net.get("cut", Encoder.cut)
    if not stored and not cut:
        return
    size, margin = data.get("size", 32), 2 * int(np.ceil(data.get("shift", 2)))
    on_device, naflex = data.get("on_device", False), data.get("naflex", 0)
    whole = on_device and not naflex and stored >= size + margin
    if not (whole and cut == size):
        raise ValueError(
            f"aerial: got data.stored={stored}, on_device={on_device}, naflex={naflex},"
            f" size {size} with a margin of {margin}, net.cut={cut}; allowed: neither"
            f" stored nor cut; or on_device, no naflex, stored of {size + margin} or"
            f" more, cut={size}"
        )


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    size: int = 32,
    shift: float = 2,
    jitter: float = 0.1,
    symmetry: bool = False,
    naflex: int = 0,
    patch: int = 16,
    on_device: bool = False,
    stored: int = 0,
) -> np.ndarray | dict[str, np.ndarray] | None:
    """Cut the square around the place out of `record["aerial"]`, uint8.

    The square has min(size, side - 2 * shift) pixels of the record and is moved by up
    to `shift` of them in training; it is resized only where that differs from `size`,
    and enlarging (the earth set's 32 pixels to 224) adds no detail. `jitter` is the
    half-width of a random gain a channel and, times 128, of an offset. `symmetry`
    draws one of the 8 symmetries of the square, the same one as the dsm's.

    `on_device` draws the same, cuts, and leaves turning and colours to the Encoder: on
    a CPU they take as long as decoding does. Not with `naflex`, whose pictures have
    other shapes when turned. With `stored`, the pixels a side of the records, cutting
    is left to it too, and a JPEG is decoded where the batch lies. A picture of another
    shape is resized to `stored` first.

    `naflex` > 0 keeps the record's aspect instead: all of it but a margin of `shift`,
    resized to fill up to `naflex` patches of `patch` pixels (data/patches.py).
    """
    image = record.get("aerial")
    if image is None:
        return None
    if naflex:
        margin = 2 * int(np.ceil(shift))
        height, width = (max(n - margin, 1) for n in image.shape[:2])
        image, element = window(image, rng, height, width, shift)
        image = turn(image, element) if symmetry else image
        if rng is not None and jitter:
            image = jitter_colours(image, rng, jitter)
        return flexible(image, patch, naflex)
    if on_device:
        return for_device(image, rng, size, shift, jitter, symmetry, stored)
    image = square(image, rng, size, shift, symmetry)
    if rng is not None and jitter:
        image = jitter_colours(image, rng, jitter)
    if image.shape[0] != size:
        image = resize(image, size, size)
    return np.ascontiguousarray(image)


def for_device(
    image: np.ndarray,
    rng: np.random.Generator | None,
    size: int,
    shift: float,
    jitter: float,
    symmetry: bool,
    stored: int,
) -> dict[str, np.ndarray]:
    """What `read` gives of uint8 (h, w, 3) where the Encoder does the rest."""
    if stored:
        if image.shape[:2] != (stored, stored):
            image = resize(image, stored, stored)
        top, left, element = corner(stored, stored, rng, size, size, shift)
        x = {"image": image, "at": np.array((top, left), np.int16)}
    else:
        image, element = square_to_turn(image, rng, size, shift)
        x = {"image": image if len(image) == size else resize(image, size, size)}
    x["turn"] = np.array(element if symmetry else 0, np.int8)
    return x | {"colours": draw_colours(rng, 3, jitter)}


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
    cut, element = square_to_turn(raster, rng, size, shift)
    return turn(cut, element) if symmetry else cut


def square_to_turn(
    raster: np.ndarray, rng: np.random.Generator | None, size: int, shift: float
) -> tuple[np.ndarray, int]:
    """Cut the same square, not turned, and the symmetry drawn for it, 0 to 7."""
    margin = int(np.ceil(shift))
    height, width = raster.shape[:2]
    side = min(size, height - 2 * margin, width - 2 * margin)
    if side < 1:
        raise ValueError(
            f"shift: {shift} pixels leave nothing of a raster of {height}x{width}"
        )
    return window(raster, rng, side, side, shift)


def window(
    raster: np.ndarray,
    rng: np.random.Generator | None,
    rows: int,
    columns: int,
    shift: float,
) -> tuple[np.ndarray, int]:
    """Cut `rows` x `columns` around the middle; and the symmetry drawn, 0 to 7."""
    height, width = raster.shape[:2]
    top, left, element = corner(height, width, rng, rows, columns, shift)
    return raster[top : top + rows, left : left + columns], element


def corner(
    height: int,
    width: int,
    rng: np.random.Generator | None,
    rows: int,
    columns: int,
    shift: float,
) -> tuple[int, int, int]:
    """Draw the first row and column of a window of a raster, and its symmetry."""
    top, left, element = (height - rows) // 2, (width - columns) // 2, 0.0
    if rng is not None:
        element, down, right = rng.random(3).tolist()
        top += round((2 * down - 1) * shift)
        left += round((2 * right - 1) * shift)
    return top, left, int(8 * element)


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


def draw_colours(
    rng: np.random.Generator | None, channels: int, jitter: float
) -> np.ndarray:
    """Draw a gain and an offset a channel, float32 (2, channels).

    A colour becomes floor(colour * gain + offset), cut to 0..255; the middle grey's
    gain is neutral. Without `rng` or jitter nothing is drawn and colours stay.
    """
    colours = np.ones((2, channels), np.float32)
    colours[1] = 0.5
    if rng is not None and jitter:
        u = rng.random((2, channels), np.float32) * (2 * jitter) - jitter
        colours[0] += u[0]
        colours[1] += 128 * u[1] + 127.5 * (1 - colours[0])
    return colours


def jitter_colours(
    image: np.ndarray, rng: np.random.Generator, jitter: float
) -> np.ndarray:
    """Change gain and offset of each channel as `draw_colours` draws them."""
    gain, offset = draw_colours(rng, image.shape[-1], jitter)
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

    What `read` left to the device is done here, and pixels become [-1, 1]. `cut` is the
    side of the square to be cut out of pictures that come with `at`. Parameters are
    named as in SigLIP 2's image tower.
    """

    cut: int = 0

    def __call__(
        self, x: jax.Array | Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        if not isinstance(x, Mapping):
            return super().__call__(scale_pixels(x), train)
        if "patches" in x:
            pixels = scale_pixels(x["patches"])
            return super().__call__({"patches": pixels, "grid": x["grid"]}, train)
        image = cut_each(x["image"], x["at"], self.cut) if "at" in x else x["image"]
        image = recolour(turn_each(image, x["turn"]), x["colours"])
        return super().__call__(scale_pixels(image), train)


def cut_each(image_bssc: jax.Array, at_b2: jax.Array, side: int) -> jax.Array:
    """Cut a square of `side` pixels out of every image, its corner at row, column."""

    def one(image_ssc: jax.Array, at_2: jax.Array) -> jax.Array:
        start = (at_2[0], at_2[1], jnp.zeros_like(at_2[0]))
        return jax.lax.dynamic_slice(image_ssc, start, (side, side, 3))

    return jax.vmap(one)(image_bssc, at_b2)


def turn_each(image_bssc: jax.Array, turn_b: jax.Array) -> jax.Array:
    """`turn` on the device, of every square image by its own symmetry."""

    def chosen(bit: int, turned_bssc: jax.Array, image_bssc: jax.Array) -> jax.Array:
        yes_b111 = jnp.reshape(turn_b & bit, (-1, 1, 1, 1)) != 0
        return jnp.where(yes_b111, turned_bssc, image_bssc)

    image_bssc = chosen(1, image_bssc[:, ::-1], image_bssc)
    image_bssc = chosen(2, image_bssc[:, :, ::-1], image_bssc)
    return chosen(4, image_bssc.swapaxes(1, 2), image_bssc)


def recolour(image_bhwc: jax.Array, colours_b2c: jax.Array) -> jax.Array:
    """`jitter_colours` on the device: float32 levels, whole numbers 0 to 255."""
    gain_b11c, offset_b11c = jnp.moveaxis(colours_b2c, 1, 0)[:, :, None, None]
    level = image_bhwc.astype(jnp.float32) * gain_b11c + offset_b11c
    return jnp.floor(jnp.clip(level, 0.0, 255.0))


def scale_pixels(image: jax.Array) -> jax.Array:
    """Map levels 0..255 to float32 -1..1."""
    return image.astype(jnp.float32) * (2.0 / 255.0) - 1.0
