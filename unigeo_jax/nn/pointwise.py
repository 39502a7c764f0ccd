# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GELU and LayerNorm with gradients written out, which keep their input and no more.

Left to itself, differentiation keeps every intermediate of them: over a step of
ViT-B/16 a third of its memory (measured), which a CPU pays for in page faults.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_SLOPE, _CUBIC = math.sqrt(2.0 / math.pi), 0.044715


@jax.custom_vjp
def gelu_tanh(x: jax.Array) -> jax.Array:
    """Return GELU by its tanh approximation (big_vision, SigLIP 2).

    0.5 x (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3).
    """
    return jax.nn.gelu(x, approximate=True)


def _gelu_gradient(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    square = x * x
    t = jnp.tanh(_SLOPE * (x + _CUBIC * (x * square)))
    inner = _SLOPE * (1.0 + 3.0 * _CUBIC * square)
    return (g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner),)


gelu_tanh.defvjp(lambda x: (gelu_tanh(x), x), _gelu_gradient)


def gelu_erf(x: jax.Array) -> jax.Array:
    """Return exact GELU (the released coordinate encoder of UniGeoCLIP)."""
    return jax.nn.gelu(x, approximate=False)


class LayerNorm(nn.Module):
    """Normalise the last axis; parameters scale and bias (w,), statistics float32."""

    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        return jnp.asarray(_normalise(x, scale, bias, self.epsilon), self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalise(x, scale, bias, epsilon: float) -> jax.Array:
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon: float) -> tuple[jax.Array, Any]:
    """Scaled (x - mean) / sqrt(variance + epsilon) + bias, float32."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(axis=-1, keepdims=True)
    square = (wide * wide).mean(axis=-1, keepdims=True)
    variance = jnp.maximum(square - mean * mean, 0.0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = (wide - mean) * (inverse * _row(scale, x)) + _row(bias, x)
    return y, (x, scale, mean, inverse)


def _backward(epsilon: float, kept: Any, g: jax.Array) -> tuple[jax.Array, ...]:
    """Gradients of x, scale and bias: with n = (x - mean) inverse and h = g scale,

    dx = inverse (h - mean(h) - n mean(h n)), dscale = sum(g n), dbias = sum(g).
    """
    del epsilon
    x, scale, mean, inverse = kept
    unit = (x.astype(mean.dtype) - mean) * inverse
    h = g * _row(scale, x)
    along = h.mean(axis=-1, keepdims=True)
    across = (h * unit).mean(axis=-1, keepdims=True)
    dx = inverse * (h - along - unit * across)
    rows = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (g * unit).sum(rows), g.sum(rows)


_normalise.defvjp(_forward, _backward)


def _row(vector: jax.Array, x: jax.Array) -> jax.Array:
    """`vector` with the rank of `x`, to multiply its last axis."""
    return vector.reshape(*[1] * (x.ndim - 1), -1)
