# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of `contrastive` in O(tile) memory, the whole batch gathered once.

One all-gather brings the stacked embeddings, in their own dtype, to every device, and
one reduce-scatter brings their gradients back; presence, cells and one number a pair
and place travel beside them. Memory on a device: the gathered embeddings, (m, g, d),
their gradient in float32, and tiles. Where the former weigh too much, `ring`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
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

    z_mbd: in the dtype of products and gather; sums are float32, gradients come back
      in that dtype.
    mesh: all its axes together split the places; None or one device: no collectives.
    tile: places a side of the largest matrix that is ever alive.

    Raises ValueError as `contrastive.loss`, or if the places do not divide.
    """
    return sharded.loss(
        sharded.Method(_sums, _gradients, _kept),
        *(z_mbd, here_mb, cell_b, weights_mm, tau_mm),
        kind=kind,
        bias_mm=bias_mm,
        beta=beta,
        tau_range=tau_range,
        mesh=mesh,
        tile=tile,
    )


def _kept(axes: sharded.Axes) -> object:
    """The gathered block, if there is one: whole on every device."""
    whole: Any = P()
    return Block(whole, whole, whole) if axes else ()


def _sums(
    plan: Plan, home: Block, tau_e: Array, bias_e: Array, axes: sharded.Axes
) -> tuple[Sums, Sums, object]:
    places, dtype = home.cell_bw.shape[0], tau_e.dtype
    every = home
    if axes:
        every = Block(
            jax.lax.all_gather(home.z_mbd, axes, axis=1, tiled=True),
            jax.lax.all_gather(home.here_mb, axes, axis=1, tiled=True),
            jax.lax.all_gather(home.cell_bw, axes, axis=0, tiled=True),
        )
    rows, columns = blocks.sums(
        plan,
        home,
        every,
        tau_e,
        bias_e,
        blocks.no_sums(plan, places, dtype),
        blocks.no_sums(plan, every.cell_bw.shape[0], dtype),
    )
    if not axes:
        return rows, columns, ()
    # A column was summed over this device's rows only.
    top_keg = jax.lax.pmax(columns.top_keb, axes)
    sum_keg = columns.sum_keb * jnp.exp(columns.top_keb - top_keg)
    whole = Sums(top_keg, jax.lax.psum(sum_keg, axes))
    first = jax.lax.axis_index(axes) * places
    own = [jax.lax.dynamic_slice_in_dim(x, first, places, axis=2) for x in whole]
    return rows, Sums(*own), every


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
    rows, columns = slopes
    every, first = home, 0
    if axes:
        assert isinstance(kept, Block)
        every = kept
        first = jax.lax.axis_index(axes) * home.cell_bw.shape[0]
        both_2eb = jnp.stack(columns)
        columns = Slopes(*jax.lax.all_gather(both_2eb, axes, axis=2, tiled=True))
    # Rows are among the columns, so one array takes the gradients of both.
    none = backward.no_grads(plan, every, tau_e.dtype, arrays=1)
    grads = backward.gradients(
        plan, home, every, tau_e, bias_e, rows, columns, scale_2e, none, first
    )
    if not axes:
        return grads
    # In the dtype of the embeddings, which is the gradient's own in the end.
    low_gmd = jnp.swapaxes(grads.z[0].astype(home.z_mbd.dtype), 0, 1)
    return grads._replace(z=(jnp.swapaxes(_scatter(low_gmd, axes), 0, 1),))


def _scatter(x_gmd: Array, axes: sharded.Axes) -> Array:
    """This device's places of the sum over devices.

    As a matrix of one row a place: of three axes, from about 250 MB on, the TPU
    compiler makes an all-reduce and a slice, which sends twice as much.
    """
    places, *rest = x_gmd.shape
    low = x_gmd.reshape(places, -1)
    low = jax.lax.psum_scatter(low, axes, scatter_dimension=0, tiled=True)
    return low.reshape(-1, *rest)
