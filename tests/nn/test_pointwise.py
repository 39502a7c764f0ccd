# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GELU and LayerNorm: values and written-out gradients against jax's and flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.nn import pointwise


def close(got, expected, tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = (np.asarray(y, np.float64) for y in (a, b))
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def test_gelu_equals_jax_and_its_gradient_is_as_exact_as_the_derived_one():
    x = jnp.concatenate([jnp.linspace(-12, 12, 4001), jnp.array([0.0, 1e-30, 1e4])])
    g = jnp.cos(x)
    got, pull = jax.vjp(pointwise.gelu_tanh, x)
    expected, derived = jax.vjp(lambda x: jax.nn.gelu(x, approximate=True), x)
    np.testing.assert_array_equal(got, expected)

    wide, slope = np.asarray(x, np.float64), np.sqrt(2 / np.pi)
    t = np.tanh(slope * (wide + 0.044715 * wide**3))
    inner = slope * (1 + 3 * 0.044715 * wide**2)
    exact = np.asarray(g, np.float64) * (
        0.5 * (1 + t) + 0.5 * wide * (1 - t * t) * inner
    )
    ours, theirs = (np.abs(np.asarray(f(g)[0]) - exact).max() for f in (pull, derived))
    assert ours < 1.5 * theirs + 1e-7 and theirs < 1e-5


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 1e-2)]
)
@pytest.mark.parametrize("shape", [(5, 16), (3, 7, 32), (2, 1, 4, 8)])
def test_layer_norm_and_its_gradients_equal_flax(shape, dtype, tolerance):
    keys = iter(jax.random.split(jax.random.key(0), 4))
    x = (3.0 * jax.random.normal(next(keys), shape) + 1.0).astype(dtype)
    g = jax.random.normal(next(keys), shape).astype(dtype)
    params = {
        "scale": jax.random.normal(next(keys), shape[-1:]),
        "bias": jax.random.normal(next(keys), shape[-1:]),
    }
    ours = pointwise.LayerNorm(1e-5, dtype)
    theirs = nn.LayerNorm(1e-5, dtype=dtype)
    names = jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x))
    assert names == jax.tree.map(jnp.shape, theirs.init(jax.random.key(1), x))
    got, pull = jax.vjp(lambda p, x: ours.apply({"params": p}, x), params, x)
    expected, pull_flax = jax.vjp(
        lambda p, x: theirs.apply({"params": p}, x), params, x
    )
    assert got.dtype == expected.dtype == dtype
    close(got, expected, tolerance)
    close(pull(g), pull_flax(g), tolerance)


def test_a_constant_row_normalises_to_the_bias_with_a_finite_gradient():
    x = jnp.full((2, 8), 3.0)
    ours = pointwise.LayerNorm(1e-6)
    params = ours.init(jax.random.key(0), x)
    got, pull = jax.vjp(lambda x: ours.apply(params, x), x)
    np.testing.assert_allclose(got, 0.0, atol=1e-3)
    assert jnp.isfinite(pull(jnp.ones_like(x))[0]).all()
