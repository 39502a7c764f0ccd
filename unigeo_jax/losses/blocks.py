# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tile by tile: what `tiled` and `ring` compute between two blocks of places.

A block is some places with all their modalities; queries are its rows, keys the rows of
another block or of the same one. For every unordered pair e = (m, n) of modalities and
every tile of places, one product gives logits that serve both directions: rows are
queries m, columns are queries n. Nothing larger than a tile is alive.

First pass (`sums`), for the negatives of every row and every column:

  infonce   log sum exp(f s), by running maximum and sum, f in (1,) or, with hardness,
            in (1 + beta, beta, 0): the last counts negatives
  sigmoid   sum softplus(s + bias)

Second pass (`gradients`): the same tiles again, and the two products that carry the
weights g_ij = d loss / d s_ij back to queries and keys. Four products a tile in all,
where ten pairs of OpenCLIP's loss take six. Rows and columns are exponentiated apart,
each under its own maximum: exact at any temperature, and no slower, because the
products are all of the time (on a CPU; on accelerators exponentials are cheaper still).

Source: the online softmax of Milakov and Gimelshein (arXiv 1805.02867).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from unigeo_jax.losses.contrastive import MASKED, dot


class Plan(NamedTuple):
    """What is known when the program is traced.

    query_e, key_e: the modalities m <= n of every unordered pair that has a weight.
    factors: of the logits in the sums, see above.
    tile: places along both sides of a tile.
    """

    query_e: np.ndarray
    key_e: np.ndarray
    kind: str
    factors: tuple[float, ...]
    tile: int


class Block(NamedTuple):
    """Places: z_mbd in the compute dtype, here_mb bool, cell_bw int32 words."""

    z_mbd: Array
    here_mb: Array
    cell_bw: Array


class Sums(NamedTuple):
    """Running maxima and sums under them, by (factor, pair, place)."""

    top_keb: Array
    sum_keb: Array


class Slopes(NamedTuple):
    """d l_i / d s_ij of queries (pair, place), but for what depends on j.

    infonce: weight exp(f s_ij - top), f the first factor. sigmoid: weight sigmoid(s_ij
    + bias), top unused. Weight 0 where a query does not count.
    """

    top_eb: Array
    weight_eb: Array


def make_plan(
    weights_mm: np.ndarray, kind: str, beta: float, tile: int, places: int
) -> Plan:
    """Lists the pairs that have a weight and fits the tile to `places` of a block."""
    query_e, key_e = np.nonzero(np.triu(weights_mm + weights_mm.T))
    factors = (1.0 + beta, beta, 0.0) if beta else (1.0,)
    # As few tiles as the limit allows, all of one size, large ones whole vector lanes.
    size = -(-places // -(-places // tile))
    size = -(-size // 128) * 128 if size >= 128 else size
    return Plan(query_e, key_e, kind, factors, size)


def pad(block: Block, plan: Plan) -> Block:
    """Fills a block up to whole tiles with places that lack everything."""
    more = -block.cell_bw.shape[0] % plan.tile
    if not more:
        return block
    return Block(
        jnp.pad(block.z_mbd, ((0, 0), (0, more), (0, 0))),
        jnp.pad(block.here_mb, ((0, 0), (0, more))),
        jnp.pad(block.cell_bw, ((0, more), (0, 0))),
    )


def no_sums(plan: Plan, places: int, dtype: jnp.dtype) -> Sums:
    """The sums over no negatives at all."""
    shape = len(plan.factors), len(plan.query_e), places
    return Sums(jnp.full(shape, MASKED, dtype), jnp.zeros(shape, dtype))


def merge(a: Sums, b: Sums) -> Sums:
    """The sums over the negatives of both."""
    top = jnp.maximum(a.top_keb, b.top_keb)
    left, right = (x.sum_keb * jnp.exp(x.top_keb - top) for x in (a, b))
    return Sums(top, left + right)


def steps(plan: Plan, rows: int, columns: int) -> dict[str, np.ndarray]:
    """The tiles in order: pair, its modalities, first place of rows and of columns."""
    e, j, i = np.meshgrid(
        np.arange(len(plan.query_e)),
        np.arange(0, columns, plan.tile),
        np.arange(0, rows, plan.tile),
        indexing="ij",
    )
    e, i, j = e.ravel(), i.ravel(), j.ravel()
    table = {"e": e, "m": plan.query_e[e], "n": plan.key_e[e], "i": i, "j": j}
    return {name: values.astype(np.int32) for name, values in table.items()}


def sums(
    plan: Plan,
    rows: Block,
    columns: Block,
    tau_e: Array,
    bias_e: Array,
    row_sums: Sums,
    column_sums: Sums,
) -> tuple[Sums, Sums]:
    """Adds what two blocks are to each other to the sums of either."""

    def one(carry: tuple[Sums, Sums], at: dict) -> tuple[tuple[Sums, Sums], None]:
        row_sums, column_sums = carry
        logits_tt, negative_tt, _, _ = _logits(plan, rows, columns, tau_e, at)
        row_sums, column_sums = (
            _add_sums(plan, logits_tt, negative_tt, bias_e[at["e"]], axis, x, at)
            for axis, x in ((1, row_sums), (0, column_sums))
        )
        return (row_sums, column_sums), None

    tiles = steps(plan, rows.here_mb.shape[1], columns.here_mb.shape[1])
    carry, _ = jax.lax.scan(one, (row_sums, column_sums), tiles)
    return carry


def gradients(
    plan: Plan,
    rows: Block,
    columns: Block,
    tau_e: Array,
    bias_e: Array,
    row_slopes: Slopes,
    column_slopes: Slopes,
    scale_2e: Array,
    grads: tuple[tuple[Array, ...], Array, Array],
    first_row: Array | int = 0,
) -> tuple[tuple[Array, ...], Array, Array]:
    """Adds the gradients that flow through the negatives between two blocks.

    scale_2e: factor of both directions, cotangent over number of rows.
    grads: (d z, d tau_e, d bias_e) so far. d z is one array for both blocks, rows from
      `first_row` on, if the rows stand among the columns; else (of rows, of columns).
    """

    def one(carry: tuple, at: dict) -> tuple[tuple, None]:
        grad_z, grad_tau_e, grad_bias_e = carry
        e = at["e"]
        logits_tt, negative_tt, x_td, y_td = _logits(plan, rows, columns, tau_e, at)
        weight_tt = _weights(
            plan,
            logits_tt,
            bias_e[e],
            Slopes(*(_cut(x, (e, at["i"]), plan.tile) for x in row_slopes)),
            Slopes(*(_cut(x, (e, at["j"]), plan.tile) for x in column_slopes)),
            scale_2e[:, e],
        )
        weight_tt = jnp.where(negative_tt, weight_tt, 0)
        low_tt = weight_tt.astype(x_td.dtype)
        grad_x_td = dot("tc,cd->td", low_tt, y_td) / tau_e[e]
        grad_y_td = dot("tc,td->cd", low_tt, x_td) / tau_e[e]
        # s = x.y / tau, so the sum of g s is the sum of x . dx: no other tile product.
        slope = -(grad_x_td * x_td.astype(grad_x_td.dtype)).sum() / tau_e[e]
        grad_tau_e = grad_tau_e.at[e].add(slope)
        if plan.kind == "sigmoid":
            grad_bias_e = grad_bias_e.at[e].add(weight_tt.sum())
        at_rows = at["m"], first_row + at["i"]
        grad_z = (_add(grad_z[0], at_rows, grad_x_td), *grad_z[1:])
        grad_z = (*grad_z[:-1], _add(grad_z[-1], (at["n"], at["j"]), grad_y_td))
        return (grad_z, grad_tau_e, grad_bias_e), None

    tiles = steps(plan, rows.here_mb.shape[1], columns.here_mb.shape[1])
    carry, _ = jax.lax.scan(one, grads, tiles)
    return carry


def _logits(
    plan: Plan, rows: Block, columns: Block, tau_e: Array, at: dict
) -> tuple[Array, Array, Array, Array]:
    """Logits of one tile, which of them are negatives, and the two factors."""
    here_r = _cut(rows.here_mb, (at["m"], at["i"]), plan.tile)
    here_c = _cut(columns.here_mb, (at["n"], at["j"]), plan.tile)
    # Before any product: 0 * NaN is NaN.
    x_td = jnp.where(
        here_r[:, None], _cut(rows.z_mbd, (at["m"], at["i"]), plan.tile), 0
    )
    y_td = jnp.where(
        here_c[:, None], _cut(columns.z_mbd, (at["n"], at["j"]), plan.tile), 0
    )
    negative_tt = here_r[:, None] & here_c[None, :]
    cell_r, cell_c = (
        jax.lax.dynamic_slice_in_dim(x.cell_bw, at[k], plan.tile).T
        for x, k in ((rows, "i"), (columns, "j"))
    )
    differ_tt = cell_r[0][:, None] != cell_c[0][None, :]
    for word_r, word_c in zip(cell_r[1:], cell_c[1:], strict=True):
        differ_tt |= word_r[:, None] != word_c[None, :]
    logits_tt = dot("td,cd->tc", x_td, y_td) / tau_e[at["e"]]
    return logits_tt, negative_tt & differ_tt, x_td, y_td


def _add_sums(
    plan: Plan,
    logits_tt: Array,
    negative_tt: Array,
    bias: Array,
    axis: int,
    so_far: Sums,
    at: dict,
) -> Sums:
    """Adds one tile to the sums of its rows (axis 1) or of its columns (axis 0)."""
    start = at["i"] if axis else at["j"]
    if plan.kind == "sigmoid":
        more_t = jnp.where(negative_tt, jax.nn.softplus(logits_tt + bias), 0).sum(axis)
        sum_eb = _add(so_far.sum_keb[0], (at["e"], start), more_t)
        return Sums(so_far.top_keb, sum_eb[None])
    tops, totals = [], []
    for k, factor in enumerate(plan.factors):
        scaled_tt = jnp.where(negative_tt, factor * logits_tt, MASKED)
        old_top_t, old_sum_t = (
            _cut(x[k], (at["e"], start), plan.tile)
            for x in (so_far.top_keb, so_far.sum_keb)
        )
        top_t = jnp.maximum(old_top_t, scaled_tt.max(axis))
        power_tt = jnp.exp(scaled_tt - jnp.expand_dims(top_t, axis))
        # A row whose keys are all masked would sum exp(MASKED - MASKED).
        more_t = jnp.where(negative_tt, power_tt, 0).sum(axis)
        tops.append(top_t)
        totals.append(old_sum_t * jnp.exp(old_top_t - top_t) + more_t)
    where = jnp.zeros_like(start), at["e"], start
    return Sums(
        *(
            jax.lax.dynamic_update_slice(x, jnp.stack(new)[:, None], where)
            for x, new in ((so_far.top_keb, tops), (so_far.sum_keb, totals))
        )
    )


def _weights(
    plan: Plan,
    logits_tt: Array,
    bias: Array,
    row: Slopes,
    column: Slopes,
    scale_2: Array,
) -> Array:
    """d loss / d logit of every negative of one tile, both directions together."""
    row_t1 = scale_2[0] * row.weight_eb[:, None]
    column_1t = scale_2[1] * column.weight_eb[None, :]
    if plan.kind == "sigmoid":
        return jax.nn.sigmoid(logits_tt + bias) * (row_t1 + column_1t)
    scaled_tt = plan.factors[0] * logits_tt
    # Less the maximum first: near it the difference is exact, the log-sum is not.
    row_tt = jnp.exp(scaled_tt - row.top_eb[:, None]) * row_t1
    return row_tt + jnp.exp(scaled_tt - column.top_eb[None, :]) * column_1t


def _cut(x: Array, start: tuple, size: int) -> Array:
    """One tile: x[start[0], start[1] : start[1] + size], whatever axes follow."""
    first = *start, *[jnp.zeros_like(start[0])] * (x.ndim - 2)
    return jax.lax.dynamic_slice(x, first, (1, size, *x.shape[2:]))[0]


def _add(x: Array, start: tuple, tile: Array) -> Array:
    """Adds a tile where `_cut` takes one."""
    tile = _cut(x, start, tile.shape[0]) + tile
    first = *start, *[jnp.zeros_like(start[0])] * (x.ndim - 2)
    return jax.lax.dynamic_update_slice(x, tile[None], first)
