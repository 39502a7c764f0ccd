# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of `contrastive` with a backward pass of its own, sharded by places.

Every device holds the places of its rows. A way to bring queries and keys together
(`tiled` gathers, `ring` passes blocks on) is two functions of one device, written with
explicit collectives; this file does what is the same for both: row by row terms,
temperatures, means over the batch, and the rule that ties the two passes together.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from unigeo_jax.losses import backward, blocks, contrastive
from unigeo_jax.losses.backward import Slopes
from unigeo_jax.losses.blocks import Block, Plan, Sums

TILE = 1024
Axes = tuple[str, ...]


class Method(NamedTuple):
    """How blocks meet.

    sums: (plan, home, tau_e, bias_e, axes) -> sums of this device's rows and of its
      columns over the whole batch, and what `gradients` wants kept.
    gradients: (plan, home, kept, tau_e, bias_e, slopes, scale_2e, axes) -> Grads that
      flow through the negatives, its z of this device's places summed over devices,
      the rest of this device. slopes: of its places as rows and as columns.
    kept: the partition of what is kept.
    """

    sums: Callable
    gradients: Callable
    kept: Callable[[Axes], object]


def loss(
    method: Method,
    z_mbd: Array,
    here_mb: Array,
    cell_b: Array,
    weights_mm: np.ndarray,
    tau_mm: ArrayLike,
    *,
    kind: str,
    bias_mm: ArrayLike | None,
    beta: float,
    tau_range: tuple[float, float],
    mesh: Mesh | None,
    tile: int,
) -> tuple[Array, dict[str, Array]]:
    """As `contrastive.loss`; `mesh` splits the batch over all its axes, None is none.

    Raises ValueError as there, or if the batch does not divide among the devices.
    """
    weights_mm = contrastive.check(z_mbd, here_mb, cell_b, weights_mm, tau_mm)
    contrastive.check_kind(kind, bias_mm, beta, weights_mm.shape)
    axes = tuple(mesh.axis_names) if mesh is not None and mesh.size > 1 else ()
    places, devices = cell_b.shape[0], mesh.size if mesh is not None else 1
    if places % devices or tile < 1:
        raise ValueError(
            f"loss: got {places} places, {devices} devices and tiles of {tile};"
            " allowed: places a multiple of devices, tiles of 1 or more"
        )
    plan = blocks.make_plan(weights_mm, kind, beta, tile, places // devices)
    dtype = jnp.promote_types(z_mbd.dtype, jnp.float32)
    at = plan.query_e, plan.key_e
    tau_e = contrastive.clamp(jnp.asarray(tau_mm, dtype)[at], tau_range)
    bias_e = jnp.zeros_like(tau_e) if bias_mm is None else jnp.asarray(bias_mm)[at]
    z_mbd, here_mb = jnp.asarray(z_mbd), jnp.asarray(here_mb, bool)
    rows_e = (here_mb[plan.query_e] & here_mb[plan.key_e]).sum(1)

    run = _differentiable(method, plan, mesh, axes)
    cell_bw = jnp.asarray(cell_b).reshape(places, -1)
    loss_2e = run(z_mbd, tau_e, bias_e.astype(dtype), rows_e, here_mb, cell_bw)
    pairs = {}
    for e, (m, n) in enumerate(zip(*at, strict=True)):
        if weights_mm[m, n]:
            pairs[m, n] = loss_2e[0, e], rows_e[e]
        if weights_mm[n, m] and m != n:
            pairs[n, m] = loss_2e[1, e], rows_e[e]
    return contrastive.weigh(weights_mm, pairs)


def _differentiable(
    method: Method, plan: Plan, mesh: Mesh | None, axes: Axes
) -> Callable[..., Array]:
    """Returns (z, tau, bias, rows, here, cell) -> mean losses (direction, pair)."""
    z_spec: Any = P(None, axes)
    data = z_spec, P(), P(), P(), z_spec, P(axes)
    rows = Slopes(z_spec, z_spec), z_spec
    kept = (rows, rows), z_spec, method.kept(axes)

    on_devices = functools.partial(_on_devices, mesh, axes)

    def first_pass(z_mbd, tau_e, bias_e, rows_e, here_mb, cell_bw):
        home = blocks.pad(Block(z_mbd, here_mb, cell_bw), plan)
        *sums, kept = method.sums(plan, home, tau_e, bias_e, axes)
        counted_eb = home.here_mb[plan.query_e] & home.here_mb[plan.key_e]
        positive_eb = blocks.positives(plan, home) / tau_e[:, None]
        (row_eb, *row), (column_eb, *column) = (
            _rows(plan, x, positive_eb, counted_eb, bias_e[:, None]) for x in sums
        )
        total_2e = jnp.stack([row_eb.sum(1), column_eb.sum(1)])
        total_2e = jax.lax.psum(total_2e, axes) if axes else total_2e
        saved = (tuple(row), tuple(column)), positive_eb, kept
        return total_2e / jnp.maximum(rows_e, 1)[None], saved

    def second_pass(z_mbd, tau_e, bias_e, rows_e, here_mb, cell_bw, saved, slope_2e):
        ((row, row_eb), (column, column_eb)), positive_eb, kept = saved
        scale_2e = slope_2e / jnp.maximum(rows_e, 1)[None]
        home = blocks.pad(Block(z_mbd, here_mb, cell_bw), plan)
        grads = method.gradients(
            plan, home, kept, tau_e, bias_e, (row, column), scale_2e, axes
        )
        # Through the positives; slopes are d loss / d cosine from here on.
        slope_eb = scale_2e[0][:, None] * row_eb + scale_2e[1][:, None] * column_eb
        grad_bias_e = grads.bias_e + slope_eb.sum(1)
        slope_eb /= tau_e[:, None]
        small = grads.tau_e - (slope_eb * positive_eb).sum(1), grad_bias_e
        small = jax.lax.psum(small, axes) if axes else small
        grad_z = backward.join(plan, home, grads.z, slope_eb)
        return grad_z[:, : z_mbd.shape[1]], *small

    @jax.custom_vjp
    def run(*args: Array) -> Array:
        return run_forward(*args)[0]

    def run_forward(*args: Array) -> tuple[Array, tuple]:
        loss_2e, saved = on_devices(first_pass, data, (P(), kept))(*args)
        return loss_2e, (args, saved)

    def run_backward(residuals: tuple, slope_2e: Array) -> tuple:
        args, saved = residuals
        inputs = *data, kept, P()
        grads = on_devices(second_pass, inputs, (z_spec, P(), P()))(
            *args, saved, slope_2e
        )
        return *grads, None, None, None

    run.defvjp(run_forward, run_backward)
    return run


def _on_devices(
    mesh: Mesh | None, axes: Axes, run: Callable, inputs: tuple, outputs: tuple
) -> Callable:
    if not axes:
        return run
    # Replication of what collectives return is ours to know, not to be inferred.
    return jax.shard_map(
        run, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
    )


def _rows(
    plan: Plan, sums: Sums, positive_eb: Array, counted_eb: Array, bias_e1: Array
) -> tuple[Array, Slopes, Array]:
    """l_i of one direction, its slopes, and d l_i / d s_ii; 0 where not counted."""
    if plan.kind == "sigmoid":
        shifted_eb = -positive_eb - jnp.broadcast_to(bias_e1, positive_eb.shape)
        loss_eb = sums.sum_keb[0] + jax.nn.softplus(shifted_eb)
        slope_eb = -jax.nn.sigmoid(shifted_eb)
        weight_eb = jnp.ones_like(slope_eb)
    else:
        top, total = sums
        log_keb = jnp.where(
            total > 0, top + jnp.log(jnp.where(total > 0, total, 1)), contrastive.MASKED
        )
        log_eb = log_keb[0]
        if len(plan.factors) > 1:
            log_eb = log_keb[0] - log_keb[1] + log_keb[2]
        excess_eb = log_eb - positive_eb
        loss_eb, slope_eb = jax.nn.softplus(excess_eb), -jax.nn.sigmoid(excess_eb)
        weight_eb = -slope_eb / jnp.where(total[0] > 0, total[0], 1)
    loss_eb, weight_eb, slope_eb = (
        jnp.where(counted_eb, x, 0) for x in (loss_eb, weight_eb, slope_eb)
    )
    return loss_eb, Slopes(sums.top_keb[0], weight_eb), slope_eb
