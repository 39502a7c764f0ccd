# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates encoded as GeoCLIP does: an MLP a scale of random Fourier features."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.modalities.coords import check, read, spec
from unigeo_jax.nn import fourier

__all__ = ["Encoder", "check", "read", "spec"]


class Encoder(nn.Module):
    """Encode [lat, lon], float32 (b, 2) in degrees, as (b, dim).

    GeoCLIP (arXiv 2309.16020): Equal Earth coordinates, 2 x `frequencies` random
    Fourier features a scale (fixed, as in nn/fourier.py), an MLP of `layers` hidden
    layers with ReLU and a linear head a scale, and the sum of the heads.
    """

    dim: int
    dtype: Any = jnp.float32
    sigmas: tuple[float, ...] = (1.0, 16.0, 256.0)
    frequencies: int = 256
    hidden: int = 1024
    layers: int = 3

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        del train  # nothing is drawn
        tokens = fourier.FourierTokens(tuple(self.sigmas), self.frequencies)
        nn.share_scope(self, tokens)
        x_bkw = tokens(latlon_b2).astype(self.dtype)
        heads = []
        for scale in range(len(self.sigmas)):
            x_bw = x_bkw[:, scale]
            for number in range(self.layers):
                name = f"scale_{scale}_hidden_{number}"
                x_bw = nn.Dense(self.hidden, dtype=self.dtype, name=name)(x_bw)
                x_bw = nn.relu(x_bw)
            name = f"scale_{scale}_head"
            heads.append(nn.Dense(self.dim, dtype=self.dtype, name=name)(x_bw))
        return sum(heads[1:], heads[0])
