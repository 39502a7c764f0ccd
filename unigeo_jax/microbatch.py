# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Towers in microbatches: large batches on few devices, with the full batch's gradient.

Gradient caching (Gao et al. 2021, arXiv 2101.06983): embed every microbatch and keep
nothing but its inputs and embeddings, take the loss of all embeddings, then run each
microbatch once more, with its backward pass. Here that is a scan whose body is
rematerialised, one for each tower, so that the activations of one microbatch of one
tower are alive at a time. It costs one more forward pass of the towers.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax import sharding

Tower = Callable[[Any, jax.Array], jax.Array]


def check(microbatch: int, batch: int, devices: int) -> None:
    """Raises ValueError unless `microbatch` cuts the global batch into equal parts."""
    fits = microbatch > 0 and batch % microbatch == 0 and microbatch % devices == 0
    if microbatch and not fits:
        raise ValueError(
            f"config.microbatch: got {microbatch}; allowed: 0 (off), or a divisor of"
            f" config.batch ({batch}) that is a multiple of {devices} devices"
        )


def embed(tower: Tower, x: Any, *, microbatch: int, mesh: Mesh) -> jax.Array:
    """Return (b, d) of `tower(x, rows_b)`, run on `microbatch` places at a time.

    tower: -> (b, d) of any number of places; `rows_b` are their numbers in the global
      batch. What it closes over (parameters) gets the gradient of the whole batch.
    x: pytree of the global batch's inputs, batch axis first; not differentiated.
    microbatch: places of the global batch at a time; 0 is all at once.

    A microbatch is made of the next rows of every device, so no row moves between
    devices.
    """
    b = len(jax.tree.leaves(x)[0])
    rows_b = jnp.arange(b)
    if not microbatch:
        return tower(x, rows_b)
    parts, n = b // microbatch, mesh.size
    by_device = sharding.batch_sharding(mesh)
    within = NamedSharding(mesh, P(None, sharding.BATCH_AXES))

    def split(x: jax.Array) -> jax.Array:
        x = x.reshape(n, parts, microbatch // n, *x.shape[1:])
        x = jax.lax.with_sharding_constraint(x, by_device).swapaxes(0, 1)
        x = x.reshape(parts, microbatch, *x.shape[3:])
        return jax.lax.with_sharding_constraint(x, within)

    # Inputs are constants of the scan, looked up by number: as its argument they would
    # be copied once more, for the backward pass.
    inputs = jax.tree.map(split, (x, rows_b))

    def part(carry: None, number: jax.Array) -> tuple[None, jax.Array]:
        return carry, tower(*jax.tree.map(lambda x: x[number], inputs))

    remat = jax.checkpoint(part, prevent_cse=False)
    _, z = jax.lax.scan(remat, None, jnp.arange(parts))
    z = z.reshape(parts, n, microbatch // n, -1).swapaxes(0, 1)
    z = jax.lax.with_sharding_constraint(z, by_device)
    return z.reshape(b, -1)


def dropout_by_row(rows_b: jax.Array) -> AbstractContextManager:
    """Within this context each nn.Dropout draws a row's mask from the row's number.

    So a place gets the same masks whatever the microbatch. Arrays may fold more axes
    into the first one (views), rows first.

    Raises ValueError in a Dropout of an array without `rows_b` first.
    """

    def draw(next_call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.Dropout) or context.method_name != "__call__":
            return next_call(*args, **kwargs)
        return _draw(module, next_call, rows_b, *args, **kwargs)

    return nn.intercept_methods(draw)


def _draw(module, next_call, rows_b, x, deterministic=None, rng=None) -> jax.Array:
    still = nn.merge_param("deterministic", module.deterministic, deterministic)
    if still or not module.rate:
        return x
    b = len(rows_b)
    if not x.ndim or len(x) % b:
        raise ValueError(
            f"dropout: got shape {x.shape}; allowed: a multiple of {b} rows first"
        )
    key = module.make_rng(module.rng_collection) if rng is None else rng
    key_b = jax.vmap(jax.random.fold_in, (None, 0))(key, rows_b)
    row = jax.vmap(lambda x, key: next_call(x, deterministic, key))
    return row(x.reshape(b, -1, *x.shape[1:]), key_b).reshape(x.shape)
