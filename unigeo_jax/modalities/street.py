# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Street views: a set of pictures taken at a place (in the earth set: rendered)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.data import patches
from unigeo_jax.modalities import aerial
from unigeo_jax.nn import layers, vit


def spec(
    views: int = 2,
    height: int = 16,
    width: int = 96,
    naflex: int = 0,
    patch: int = 16,
    **_,
) -> dict[str, np.ndarray]:
    """Return `image` uint8 (views, height, width, 3) and `mask` bool (views,).

    With `naflex` the pictures are `patches` and `grid` (data/patches.py) instead.
    """
    if naflex:
        slots = patches.spec(patch, naflex, (views,))
        return {**slots, "mask": np.zeros((views,), bool)}
    return {
        "image": np.zeros((views, height, width, 3), np.uint8),
        "mask": np.zeros((views,), bool),
    }


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    views: int = 2,
    height: int = 16,
    width: int = 96,
    rows: int = 16,
    jitter: float = 0.1,
    naflex: int = 0,
    patch: int = 16,
) -> dict[str, np.ndarray] | None:
    """Split `record["street"]`, views of `rows` rows stacked vertically, into a set.

    Training keeps k ~ uniform{1..views} of the place's views at random, so that a
    single view stays in distribution; evaluation keeps the first `views`. Slots
    without a view are zero and False in `mask`. Views are resized only where they are
    not height x width already; enlarging adds no detail. `jitter` as in aerial, one
    draw for all views of the place. `naflex` > 0 resizes each view to fill up to that
    many patches of `patch` pixels, whatever its aspect.
    """
    stack = record.get("street")
    if stack is None or not stack.shape[0]:
        return None
    count, rest = divmod(stack.shape[0], rows)
    if rest:
        raise ValueError(
            f"street: {stack.shape[0]} rows are not a whole number of views of {rows} "
            f"rows (place {record.get('place', '?')})"
        )
    picked = list(range(min(views, count)))
    if rng is not None:
        rng.random(16)  # past the draws of aerial and dsm
        kept = int(rng.integers(len(picked))) + 1
        picked = rng.permutation(count)[:kept]
    images = stack.reshape(count, rows, *stack.shape[1:])[picked]
    if rng is not None and jitter:
        images = aerial.jitter_colours(images, rng, jitter)
    if naflex:
        out = spec(views, naflex=naflex, patch=patch)
        for view, image in enumerate(images):
            for key, value in aerial.flexible(image, patch, naflex).items():
                out[key][view] = value
        out["mask"][: len(picked)] = True
        return out
    if images.shape[1:3] != (height, width):
        images = np.stack([aerial.resize(image, height, width) for image in images])
    out = spec(views, height, width)
    out["image"][: len(picked)] = images
    out["mask"][: len(picked)] = True
    return out


class Encoder(vit.ViT):
    """Encode a set of views by one ViT and pool them: (b, dim).

    The pool is the masked mean of the L2-normalised vectors of the views, so neither
    their order nor the number of empty slots matters. All views run through the ViT
    in one call.
    """

    def __call__(self, x: dict[str, jax.Array], train: bool = False) -> jax.Array:
        mask_bv = x["mask"]
        b, v = mask_bv.shape
        flat = {k: y.reshape(b * v, *y.shape[2:]) for k, y in x.items() if k != "mask"}
        if "patches" in flat:
            pixels = aerial.scale_pixels(flat["patches"])
            image = {"patches": pixels, "grid": flat["grid"]}
        else:
            image = aerial.scale_pixels(flat["image"])
        y_bvd = super().__call__(image, train).reshape(b, v, -1)
        return pool_views(y_bvd, mask_bv)


def pool_views(y_bvd: jax.Array, mask_bv: jax.Array) -> jax.Array:
    """Average the unit vectors of the views that are there: (b, d), zero for none."""
    # where, not a product, and first: what an empty slot holds must not matter, in the
    # gradient either, even NaN.
    here_bvd = jnp.broadcast_to(mask_bv[..., None], y_bvd.shape)
    z_bvd = layers.l2_normalise(jnp.where(here_bvd, y_bvd, 0.0))
    count_b1 = jnp.maximum(mask_bv.sum(axis=1, keepdims=True), 1)
    total_bd = z_bvd.sum(axis=1)
    return total_bd / jnp.broadcast_to(count_b1, total_bd.shape)
