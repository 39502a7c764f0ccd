# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tile by tile, second pass: from the sums of `blocks` to gradients.

The same tiles again, and the two products that carry the weights g_ij = d loss / d s_ij
of the negatives back to queries and keys: with the first pass four products a tile,
where ten pairs of OpenCLIP's loss take six. `join` adds what flows through positives.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from unigeo_jax.losses import blocks
from unigeo_jax.losses.blocks import Block, Plan
from unigeo_jax.losses.contrastive import dot


class Grads(NamedTuple):
    """Gradients so far of embeddings, arrays (m, b, d), temperatures and biases (e,).

    In at least float32, whatever the embeddings are in.
    """

    z: tuple[Array, ...]
    tau_e: Array
    bias_e: Array


class Slopes(NamedTuple):
    """d l_i / d s_ij of queries (pair, place), but for what depends on j.

    infonce: weight exp(f s_ij - top), f the first factor. sigmoid: weight sigmoid(s_ij
    + bias), top unused. Weight 0 where a query does not count.
    """

    top_eb: Array
    weight_eb: Array


def no_grads(plan: Plan, block: Block, dtype: jnp.dtype, *, arrays: int) -> Grads:
    """No gradients yet, of `arrays` blocks like this one."""
    zeros_e = jnp.zeros(len(plan.query_e), dtype)
    return Grads((jnp.zeros(block.z_mbd.shape, dtype),) * arrays, zeros_e, zeros_e)


def gradients(
    plan: Plan,
    rows: Block,
    columns: Block,
    tau_e: Array,
    bias_e: Array,
    row_slopes: Slopes,
    column_slopes: Slopes,
    scale_2e: Array,
    grads: Grads,
    first_row: Array | int = 0,
) -> Grads:
    """Adds the gradients that flow through the negatives between two blocks.

    scale_2e: factor of both directions, cotangent over number of rows.
    grads: its z is one array for both blocks, rows from `first_row` on, if the rows
      stand among the columns; else one of rows and one of columns.
    """

    def strip(grads: Grads, at: dict) -> tuple[Grads, None]:
        e, m, n, i = at["e"], at["m"], at["n"], at["i"]
        x_td = blocks.places(plan, rows, m, i)
        row = _at(plan, row_slopes, e, i)

        def one(carry: tuple, j: Array) -> tuple[tuple, None]:
            grad_x_td, grad_z_mbd, grad_bias = carry
            y_td = blocks.places(plan, columns, n, j)
            negative_tt = blocks.negatives(plan, rows, columns, at | {"j": j})
            both = row, _at(plan, column_slopes, e, j)
            tile = x_td, y_td, both, scale_2e[:, e], negative_tt
            more_x_td, more_y_td, more_bias = _tile(plan, tau_e[e], bias_e[e], *tile)
            # One read and one write of an array: a second pair, and XLA copies it all.
            grad_z_mbd = _add(grad_z_mbd, n, j, more_y_td)
            return (grad_x_td + more_x_td, grad_z_mbd, grad_bias + more_bias), None

        start = jnp.zeros(x_td.shape, tau_e.dtype), grads.z[-1], grads.bias_e[e]
        columns_at = blocks.tiles(plan, columns.cell_bw.shape[0])
        (grad_x_td, *rest), _ = jax.lax.scan(one, start, columns_at)
        # s = x.y / tau, so the sum of g s is the sum of x . dx: no other tile product.
        slope = -(grad_x_td * x_td.astype(grad_x_td.dtype)).sum() / tau_e[e]
        z = *grads.z[:-1], rest[0]
        z = _add(z[0], m, first_row + i, grad_x_td), *z[1:]
        tau_slope_e = grads.tau_e.at[e].add(slope)
        return Grads(z, tau_slope_e, grads.bias_e.at[e].set(rest[1])), None

    rows_at = blocks.strips(plan, rows.cell_bw.shape[0])
    return jax.lax.scan(strip, grads, rows_at)[0]


def _tile(
    plan: Plan,
    tau: Array,
    bias: Array,
    x_td: Array,
    y_td: Array,
    both: tuple[Slopes, Slopes],
    scale_2: Array,
    negative_tt: Array,
) -> tuple[Array, Array, Array]:
    """What a tile adds to the gradients of its rows, of its columns and of the bias."""

    def weights(x_td, y_td, both, scale_2, negative_tt) -> Array:
        logits_tt = dot("td,cd->tc", x_td, y_td) / tau
        weight_tt = _weights(plan, logits_tt, bias, both, scale_2)
        return jnp.where(negative_tt, weight_tt, 0)

    def turned() -> Array:
        return dot("tc,td->cd", low_tt, x_td)

    def again() -> Array:
        there = weights(y_td, x_td, both[::-1], scale_2[::-1], negative_tt.T)
        return dot("ct,td->cd", there.astype(x_td.dtype), x_td)

    weight_tt = weights(x_td, y_td, both, scale_2, negative_tt)
    low_tt = weight_tt.astype(x_td.dtype)
    # XLA on CPU has no bfloat16 product with a factor that lies on its side: it takes
    # float32, which lasts longer than the logits once more, the other way round.
    short = x_td.dtype.itemsize == 2
    grad_y_td = jax.lax.platform_dependent(
        cpu=again if short else turned, default=turned
    )
    grad_bias = weight_tt.sum() if plan.kind == "sigmoid" else jnp.zeros_like(bias)
    return dot("tc,cd->td", low_tt, y_td) / tau, grad_y_td / tau, grad_bias


def join(plan: Plan, block: Block, grads: tuple[Array, ...], slope_eb: Array) -> Array:
    """Gradients (m, b, d) in the block's dtype: negatives' and positives' together.

    grads: through the negatives, arrays (m, b, d) to be added.
    slope_eb: d loss / d cosine of every pair of modalities at one place.
    """

    def one(out_mbd: Array, i: Array) -> tuple[Array, None]:
        cut_mtd, *more = (
            jax.lax.dynamic_slice_in_dim(x_mbd, i, plan.tile, axis=1) for x_mbd in grads
        )
        slope_et = jax.lax.dynamic_slice_in_dim(slope_eb, i, plan.tile, axis=1)
        z = blocks.present(plan, block, i)
        total = list(sum(more, cut_mtd.astype(z.dtype)))
        for e, (m, n) in enumerate(zip(plan.query_e, plan.key_e, strict=True)):
            total[m] += slope_et[e][:, None] * z[n]
            total[n] += slope_et[e][:, None] * z[m]
        cut_mtd = jnp.stack(total).astype(out_mbd.dtype)
        return jax.lax.dynamic_update_slice_in_dim(out_mbd, cut_mtd, i, axis=1), None

    start = jnp.zeros_like(block.z_mbd)
    out_mbd, _ = jax.lax.scan(one, start, blocks.tiles(plan, block.cell_bw.shape[0]))
    return out_mbd


def _weights(
    plan: Plan,
    logits_tt: Array,
    bias: Array,
    both: tuple[Slopes, Slopes],
    scale_2: Array,
) -> Array:
    """d loss / d logit of every negative of one tile, both directions together."""
    row, column = both
    row_t1 = scale_2[0] * row.weight_eb[:, None]
    column_1t = scale_2[1] * column.weight_eb[None, :]
    if plan.kind == "sigmoid":
        return jax.nn.sigmoid(logits_tt + bias) * (row_t1 + column_1t)
    scaled_tt = plan.factors[0] * logits_tt
    # Less the maximum first: near it the difference is exact, the log-sum is not.
    row_tt = jnp.exp(scaled_tt - row.top_eb[:, None]) * row_t1
    return row_tt + jnp.exp(scaled_tt - column.top_eb[None, :]) * column_1t


def _at(plan: Plan, slopes: Slopes, e: Array, first: Array) -> Slopes:
    return Slopes(*(blocks.cut(x, (e, first), plan.tile) for x in slopes))


def _add(x_mbd: Array, m: Array, first: Array, tile_td: Array) -> Array:
    """Adds a tile of places where `blocks.cut` takes one."""
    at = m, first, jnp.zeros_like(m)
    tile_1td = jax.lax.dynamic_slice(x_mbd, at, (1, *tile_td.shape)) + tile_td[None]
    return jax.lax.dynamic_update_slice(x_mbd, tile_1td, at)
