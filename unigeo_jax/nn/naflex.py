# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Positions and masks of pictures whose grids of patches differ (NaFlex, SigLIP 2)."""

import jax
import jax.numpy as jnp


def mask(grid_b2: jax.Array, slots: int) -> jax.Array:
    """Which of the slots hold a patch: bool (b, p); the first rows * columns do."""
    count_b = grid_b2[:, 0] * grid_b2[:, 1]
    shape = (grid_b2.shape[0], slots)
    slot_bp = jnp.broadcast_to(jnp.arange(slots)[None], shape)
    return slot_bp < jnp.broadcast_to(count_b[:, None], shape)


def positions(table_hww: jax.Array, grid_b2: jax.Array, slots: int) -> jax.Array:
    """Resize a square table of positions to each picture's grid: float32 (b, p, w).

    Bilinear with half-pixel centres, and antialiased where a grid is smaller than the
    table, as SigLIP 2 does. Each output is a weighted mean of the table, so that one
    matmul serves any mixture of aspects. Slots without a patch take the last position.
    """
    side, _, w = table_hww.shape
    b = grid_b2.shape[0]
    grid_b2 = jnp.maximum(grid_b2, 1)  # an absent picture has 0 x 0
    columns_bp = jnp.broadcast_to(grid_b2[:, 1:], (b, slots))
    last_bp = jnp.broadcast_to(jnp.prod(grid_b2, axis=1, keepdims=True) - 1, (b, slots))
    slot_bp = jnp.broadcast_to(jnp.arange(slots)[None], (b, slots))
    slot_bp = jnp.minimum(slot_bp, last_bp)
    rows_bpi = _weights(slot_bp // columns_bp, grid_b2[:, 0], side)
    columns_bpi = _weights(slot_bp % columns_bp, grid_b2[:, 1], side)
    weight_bpij = jnp.einsum("bpi,bpj->bpij", rows_bpi, columns_bpi)
    return jnp.dot(
        weight_bpij.reshape(b * slots, side * side),
        table_hww.reshape(side * side, w),
        precision=jax.lax.Precision.HIGHEST,
    ).reshape(b, slots, w)


def _weights(place_bp: jax.Array, size_b: jax.Array, side: int) -> jax.Array:
    """Weight of each of `side` table entries at place k of `size`: (b, p, side)."""
    shape = (*place_bp.shape, side)
    step_b = side / size_b.astype(jnp.float32)
    step_bp = jnp.broadcast_to(step_b[:, None], shape[:2])
    centre_bp = (place_bp + 0.5) * step_bp - 0.5
    entry = jnp.broadcast_to(jnp.arange(side, dtype=jnp.float32)[None, None], shape)
    far = jnp.abs(entry - jnp.broadcast_to(centre_bp[..., None], shape))
    reach = jnp.broadcast_to(jnp.maximum(step_bp, 1.0)[..., None], shape)
    weight = jnp.maximum(1.0 - far / reach, 0.0)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    return weight / jnp.broadcast_to(total, shape)
