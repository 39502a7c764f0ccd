# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates encoded as SatCLIP does: spherical harmonics, then a SIREN."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.modalities.coords import check, read, spec
from unigeo_jax.nn import harmonics

__all__ = ["Encoder", "check", "read", "spec"]


class Encoder(nn.Module):
    """Encode [lat, lon], float32 (b, 2) in degrees, as (b, dim).

    SatCLIP (arXiv 2311.17179): real harmonics of degrees 0 to levels - 1, those of
    order 0 times pi as its release computes them, then layers sin(w0 (W x + b)), a
    linear one last. Weights and biases start uniform: within 1 / inputs in the first
    layer, whose w0 is 30, within sqrt(6 / inputs) in the others, whose w0 is 1.

    Differs from SatCLIP: no dropout unless asked; its release drops half of what a
    sine is about to take.
    """

    dim: int
    dtype: Any = jnp.float32
    levels: int = 10
    hidden: int = 512
    layers: int = 2
    dropout: float = 0.0
    first_w0: float = 30.0

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        x_bw = harmonics.real_harmonics(latlon_b2, self.levels, m0_pi=True)
        for number in range(self.layers):
            name, width = f"siren_{number}", x_bw.shape[1]
            bound = math.sqrt(6 / width) if number else 1 / width
            x_bw = _dense(self.hidden, bound, self.dtype, name)(x_bw)
            x_bw = nn.Dropout(self.dropout, deterministic=not train)(x_bw)
            x_bw = jnp.sin((1.0 if number else self.first_w0) * x_bw)
        bound = math.sqrt(6 / x_bw.shape[1])
        return _dense(self.dim, bound, self.dtype, "head")(x_bw)


def _dense(width: int, bound: float, dtype: Any, name: str) -> nn.Dense:
    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nn.Dense(
        width, dtype=dtype, kernel_init=uniform, bias_init=uniform, name=name
    )
