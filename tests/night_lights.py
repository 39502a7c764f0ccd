# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A sixth modality, the one file that it takes: night lights, uint8 (16, 16, 1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def spec() -> np.ndarray:
    return np.zeros((16, 16, 1), np.uint8)


def read(record: dict[str, Any], rng: np.random.Generator | None) -> np.ndarray | None:
    return record.get("night")


class Encoder(nn.Module):
    dim: int
    dtype: Any = jnp.float32
    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = x.reshape(x.shape[0], -1).astype(self.dtype) / 255.0
        return nn.Dense(self.dim)(nn.gelu(nn.Dense(self.width)(x)))
