# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of `contrastive` with no device ever holding the whole batch.

Blocks of places travel around the devices; at every stop they meet the rows that live
there. Column sums, and in the second pass the gradients of the visitors, travel with
their block and are complete when it comes home. Memory on a device: a few blocks
(m, b, d) and tiles, whatever the batch; what is sent is what `tiled` gathers, in n
pieces, while tiles of the block before are computed.
"""

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from unigeo_jax.losses import backward, blocks, sharded
from unigeo_jax.losses.backward import Grads, Slopes
from unigeo_jax.losses.blocks import Block, Plan, Sums


def loss(
    z_mbd: Array,
    here_mb: Array,
    cell_b: Array,
    weights_mm: np.ndarray,
    tau_mm: ArrayLike,
    *,
    kind: str = "infonce",
    bias_mm: ArrayLike | None = None,
    beta: float = 0.0,
    tau_range: tuple[float, float] = (0.01, 1.0),
    mesh: Mesh | None = None,
    tile: int = sharded.TILE,
) -> tuple[Array, dict[str, Array]]:
    """Return what `contrastive.loss` does, with the same gradients.

    Arguments and errors as in `tiled.loss`, which it equals on one device.
    """
    return sharded.loss(
        sharded.Method(_sums, _gradients, lambda axes: ()),
        *(z_mbd, here_mb, cell_b, weights_mm, tau_mm),
        kind=kind,
        bias_mm=bias_mm,
        beta=beta,
        tau_range=tau_range,
        mesh=mesh,
        tile=tile,
    )


def _sums(
    plan: Plan, home: Block, tau_e: Array, bias_e: Array, axes: sharded.Axes
) -> tuple[Sums, Sums, object]:
    def meet(carry: tuple, _: None) -> tuple[tuple, None]:
        rows, columns, visitor = carry
        # Sent before the tiles are computed, so that both can go on together.
        following = _pass_on(visitor, axes)
        rows, columns = blocks.sums(plan, home, visitor, tau_e, bias_e, rows, columns)
        return (rows, _pass_on(columns, axes), following), None

    none = blocks.no_sums(plan, home.cell_bw.shape[0], tau_e.dtype)
    (rows, columns, _), _ = jax.lax.scan(
        meet, (none, none, home), None, length=_stops(axes)
    )
    return rows, columns, ()


def _gradients(
    plan: Plan,
    home: Block,
    kept: object,
    tau_e: Array,
    bias_e: Array,
    slopes: tuple[Slopes, Slopes],
    scale_2e: Array,
    axes: sharded.Axes,
) -> Grads:
    del kept

    def meet(carry: tuple, _: None) -> tuple[tuple, None]:
        grads, (visitor, theirs) = carry
        following = _pass_on((visitor, theirs), axes)
        grads = backward.gradients(
            plan, home, visitor, tau_e, bias_e, slopes[0], theirs, scale_2e, grads
        )
        rows, columns = grads.z
        return (grads._replace(z=(rows, _pass_on(columns, axes))), following), None

    start = backward.no_grads(plan, home, tau_e.dtype, arrays=2), (home, slopes[1])
    (grads, _), _ = jax.lax.scan(meet, start, None, length=_stops(axes))
    return grads


def _stops(axes: sharded.Axes) -> int:
    return jax.lax.axis_size(axes) if axes else 1


def _pass_on(x, axes: sharded.Axes):
    """Every array of `x` from the device before this one, around the ring."""
    count = _stops(axes)
    if count == 1:
        return x
    ring = [(i, (i + 1) % count) for i in range(count)]
    return jax.tree.map(lambda y: jax.lax.ppermute(y, axes, ring), x)
