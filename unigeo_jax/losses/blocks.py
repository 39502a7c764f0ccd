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

The second pass, from those sums to gradients, is in `backward`. Rows and columns are
exponentiated apart, each under its own maximum: exact at any temperature.

Source: the online softmax of Milakov and Gimelshein (arXiv 1805.02867).
"""

from collections.abc import Callable
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


def strips(plan: Plan, rows: int) -> dict[str, np.ndarray]:
    """Every pair, its modalities and the first place of every tile of rows."""
    e, i = np.meshgrid(
        np.arange(len(plan.query_e)), np.arange(0, rows, plan.tile), indexing="ij"
    )
    e, i = e.ravel(), i.ravel()
    table = {"e": e, "m": plan.query_e[e], "n": plan.key_e[e], "i": i}
    return {name: values.astype(np.int32) for name, values in table.items()}


def tiles(plan: Plan, columns: int) -> Array:
    """The first place of every tile of columns."""
    return jnp.arange(0, columns, plan.tile, dtype=jnp.int32)


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

    def strip(carry: tuple[Sums, Sums], at: dict) -> tuple[tuple[Sums, Sums], None]:
        x_td = places(plan, rows, at["m"], at["i"])

        def one(carry: tuple[Sums, Sums], j: Array) -> tuple[tuple[Sums, Sums], None]:
            row_sums, column_sums = carry
            here = at | {"j": j}
            y_td = places(plan, columns, at["n"], j)
            negative_tt = negatives(plan, rows, columns, here)
            logits_tt = dot("td,cd->tc", x_td, y_td) / tau_e[at["e"]]
            row_sums, column_sums = (
                _add_sums(plan, logits_tt, negative_tt, bias_e[at["e"]], axis, x, here)
                for axis, x in ((1, row_sums), (0, column_sums))
            )
            return (row_sums, column_sums), None

        return jax.lax.scan(one, carry, tiles(plan, columns.cell_bw.shape[0]))

    carry, _ = jax.lax.scan(
        strip, (row_sums, column_sums), strips(plan, rows.cell_bw.shape[0])
    )
    return carry


def positives(plan: Plan, block: Block) -> Array:
    """Cosine (e, b) of every pair of modalities at one place, 0 where one is absent."""

    def one(_: None, i: Array) -> tuple[None, Array]:
        z = present(plan, block, i)
        pairs = zip(plan.query_e, plan.key_e, strict=True)
        return None, jnp.stack([(z[m] * z[n]).sum(1) for m, n in pairs])

    places = block.cell_bw.shape[0]
    _, cosine_iet = jax.lax.scan(one, None, tiles(plan, places))
    return cosine_iet.swapaxes(0, 1).reshape(-1, places)


def present(plan: Plan, block: Block, first: Array) -> Array:
    """Embeddings (m, t, d) of some places in at least float32, zero where absent."""
    here_mt = jax.lax.dynamic_slice_in_dim(block.here_mb, first, plan.tile, axis=1)

    def take(z_mbd: Array) -> Array:
        z_mtd = jax.lax.dynamic_slice_in_dim(z_mbd, first, plan.tile, axis=1)
        return jnp.where(here_mt[:, :, None], z_mtd, 0)

    dtype = jnp.promote_types(block.z_mbd.dtype, jnp.float32)
    return _moved(take, block.z_mbd).astype(dtype)


def places(plan: Plan, block: Block, m: Array, first: Array) -> Array:
    """Embeddings (t, d) of one modality, zero where it is absent."""
    here_t1 = cut(block.here_mb, (m, first), plan.tile)[:, None]

    def take(z_mbd: Array) -> Array:
        # Before any product: 0 * NaN is NaN.
        return jnp.where(here_t1, cut(z_mbd, (m, first), plan.tile), 0)

    return _moved(take, block.z_mbd)


def _moved(take: Callable[[Array], Array], z_mbd: Array) -> Array:
    """`take(z_mbd)`, which only moves numbers and puts zeros between them.

    On a CPU, where XLA moves bfloat16 by way of float32 and would widen the whole block
    ahead of the loop over its tiles, it is done to integers of 16 bits.
    """
    if z_mbd.dtype.itemsize != 2:
        return take(z_mbd)

    def as_integers(z_mbd: Array) -> Array:
        bits = jax.lax.bitcast_convert_type(z_mbd, jnp.uint16)
        return jax.lax.bitcast_convert_type(take(bits), z_mbd.dtype)

    return jax.lax.platform_dependent(z_mbd, cpu=as_integers, default=take)


def negatives(plan: Plan, rows: Block, columns: Block, at: dict) -> Array:
    """Which entries of a tile are negatives: both there, of different cells."""
    here_r = cut(rows.here_mb, (at["m"], at["i"]), plan.tile)
    here_c = cut(columns.here_mb, (at["n"], at["j"]), plan.tile)
    negative_tt = here_r[:, None] & here_c[None, :]
    cell_r, cell_c = (
        jax.lax.dynamic_slice_in_dim(x.cell_bw, at[k], plan.tile).T
        for x, k in ((rows, "i"), (columns, "j"))
    )
    differ_tt = cell_r[0][:, None] != cell_c[0][None, :]
    for word_r, word_c in zip(cell_r[1:], cell_c[1:], strict=True):
        differ_tt |= word_r[:, None] != word_c[None, :]
    return negative_tt & differ_tt


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
    tops, totals = [], []
    for k, factor in enumerate(plan.factors):
        top_t, sum_t = (
            cut(x[k], (at["e"], start), plan.tile)
            for x in (so_far.top_keb, so_far.sum_keb)
        )
        if plan.kind == "sigmoid":
            more_tt = jax.nn.softplus(logits_tt + bias)
        else:
            scaled_tt = jnp.where(negative_tt, factor * logits_tt, MASKED)
            old_top_t, top_t = top_t, jnp.maximum(top_t, scaled_tt.max(axis))
            sum_t *= jnp.exp(old_top_t - top_t)
            # A row whose keys are all masked would sum exp(MASKED - MASKED).
            more_tt = jnp.exp(scaled_tt - jnp.expand_dims(top_t, axis))
        tops.append(top_t)
        totals.append(sum_t + jnp.where(negative_tt, more_tt, 0).sum(axis))
    where = jnp.zeros_like(start), at["e"], start
    return Sums(
        *(
            jax.lax.dynamic_update_slice(x, jnp.stack(new)[:, None], where)
            for x, new in ((so_far.top_keb, tops), (so_far.sum_keb, totals))
        )
    )


def cut(x: Array, start: tuple, size: int) -> Array:
    """One tile: x[start[0], start[1] : start[1] + size], whatever axes follow."""
    first = *start, *[jnp.zeros_like(start[0])] * (x.ndim - 2)
    return jax.lax.dynamic_slice(x, first, (1, size, *x.shape[2:]))[0]
