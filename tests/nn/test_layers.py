# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Transformer parts against numpy loops and against flax's own modules."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.nn import layers

HEADS, WIDTH, HIDDEN = 4, 16, 32


class FlaxBlock(nn.Module):
    """The published block out of flax's modules, with big_vision's names."""

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(epsilon=1e-6)(x)
        y = nn.MultiHeadDotProductAttention(HEADS)(y, y)
        x = x + y
        y = nn.LayerNorm(epsilon=1e-6)(x)
        return x + FlaxMlp(name="MlpBlock_0")(y)


class FlaxMlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(HIDDEN)(x), approximate=True)
        return nn.Dense(WIDTH)(x)


class FlaxMap(nn.Module):
    @nn.compact
    def __call__(self, x):
        probe = self.param("probe", nn.initializers.normal(), (1, 1, WIDTH))
        probe = jnp.tile(probe, (x.shape[0], 1, 1))
        x = nn.MultiHeadDotProductAttention(HEADS)(probe, x)
        y = nn.LayerNorm(epsilon=1e-6)(x)
        return (x + FlaxMlp(name="MlpBlock_0")(y))[:, 0]


@pytest.fixture
def x(key):
    return jax.random.normal(key, (3, 5, WIDTH))


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (layers.Encoder1DBlock(HEADS, mlp_ratio=2), FlaxBlock()),
        (layers.MAPHead(HEADS, mlp_ratio=2), FlaxMap()),
    ],
)
def test_block_and_pooling_take_flax_parameters_by_name_and_agree(
    ours, reference, x, draw
):
    # flax promotes the rank of attention biases.
    with jax.numpy_rank_promotion("allow"):
        variables = draw(reference, x)
        expected = jax.jit(reference.apply)(variables, x)
    mine = draw(ours, x)
    assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(jax.jit(ours.apply)(variables, x), expected, atol=1e-5)


def test_attention_equals_a_loop_and_masked_keys_do_not_matter():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (4, 6, 6))
    mask = np.array([[1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0]], bool)
    expected = np.zeros_like(q)
    for b, row, head in np.ndindex(2, 4, 3):
        s = k[b, mask[b], head] @ q[b, row, head] / 2.0
        weight = np.exp(s - s.max())
        expected[b, row, head] = weight / weight.sum() @ v[b, mask[b], head]
    got = layers.attend(q, k, v, jnp.asarray(mask))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    k[~mask], v[~mask] = 1e4, -1e4
    np.testing.assert_array_equal(layers.attend(q, k, v, jnp.asarray(mask)), got)


def test_a_row_without_any_key_gives_finite_values_and_gradients():
    q = jnp.ones((1, 2, 1, 4))
    mask = jnp.zeros((1, 2), bool)
    grad = jax.grad(lambda q: layers.attend(q, q, q, mask).sum())(q)
    assert jnp.isfinite(grad).all()


def value_and_grads(module, variables, x):
    def total(variables, x):
        y = module.apply(variables, x)
        return jnp.sum(y * jnp.cos(y)), y

    both = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    return jax.jit(both)(variables, x)


def assert_close(a, b, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), a, b)


def test_scan_equals_loop_in_value_and_gradient(x, draw):
    loop = layers.Transformer(3, HEADS, 2)
    scan = layers.Transformer(3, HEADS, 2, scan=True)
    variables = draw(loop, x)
    stacked = layers.stack_blocks(variables)
    shapes = jax.eval_shape(scan.init, jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, shapes)
    assert_close(layers.unstack_blocks(stacked), variables, atol=0)
    value, (grads, grad_x) = value_and_grads(loop, variables, x)
    value_scan, (grads_scan, grad_x_scan) = value_and_grads(scan, stacked, x)
    assert_close(value, value_scan)
    assert_close(layers.stack_blocks(grads), grads_scan)
    assert_close(grad_x, grad_x_scan)


def test_layers_of_a_scan_start_different(x):
    scan = layers.Transformer(2, HEADS, 2, scan=True)
    block = jax.jit(scan.init)(jax.random.key(0), x)["params"]["encoderblock"]
    kernel = block["MlpBlock_0"]["Dense_0"]["kernel"]
    assert float(jnp.abs(kernel[0] - kernel[1]).max()) > 0.1


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_neither_value_nor_gradient(x, scan, remat, draw):
    plain = layers.Transformer(2, HEADS, 2, scan=scan)
    saved = layers.Transformer(2, HEADS, 2, scan=scan, remat=remat)
    variables = draw(plain, x)
    assert_close(
        value_and_grads(plain, variables, x), value_and_grads(saved, variables, x)
    )


def test_an_unknown_remat_is_an_error_that_lists_the_allowed_ones(x):
    with pytest.raises(ValueError, match=r"remat.*'some'.*none, full, dots"):
        layers.Transformer(1, HEADS, remat="some").init(jax.random.key(0), x)  # type: ignore


@pytest.mark.parametrize("scan", [False, True])
def test_dropout_acts_in_training_only(x, scan, draw):
    module = layers.Transformer(2, HEADS, 2, dropout=0.5, scan=scan)
    variables = draw(module, x)
    still = jax.jit(module.apply)(variables, x)
    rngs = {"dropout": jax.random.key(2)}
    moved = jax.jit(partial(module.apply, train=True))(variables, x, rngs=rngs)
    plain = jax.jit(layers.Transformer(2, HEADS, 2, scan=scan).apply)(variables, x)
    np.testing.assert_array_equal(still, plain)
    assert float(jnp.abs(moved - still).max()) > 0.1


def test_bfloat16_compute_keeps_float32_parameters_and_stays_close(x, draw):
    half = layers.Transformer(2, HEADS, 2, dtype=jnp.bfloat16)
    variables = draw(half, x)
    assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y = jax.jit(half.apply)(variables, x)
    assert y.dtype == jnp.bfloat16
    full = jax.jit(layers.Transformer(2, HEADS, 2).apply)(variables, x)
    np.testing.assert_allclose(y.astype(jnp.float32), full, atol=0.1)


def test_width_that_heads_do_not_divide_is_an_error(x):
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3"):
        layers.Encoder1DBlock(3).init(jax.random.key(0), x)


def test_normalising_a_zero_vector_is_finite_and_others_have_norm_one():
    x = jnp.asarray([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(layers.l2_normalise(x), [[0, 0], [0.6, 0.8]], atol=1e-7)
    grad = jax.grad(lambda x: layers.l2_normalise(x).sum())(x)
    assert jnp.isfinite(grad).all()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_only_one_token_is_the_row_of_them_all(draw, scan, depth):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 16)).astype(np.float32)
    mask_bp = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]], bool)
    whole = layers.Transformer(depth, 2, scan=scan)
    variables = draw(whole, x, mask_bp)
    expected = whole.apply(variables, x, mask_bp)
    for only in (0, -1):
        one = layers.Transformer(depth, 2, scan=scan, only=only)
        got = one.apply(variables, x, mask_bp)
        np.testing.assert_allclose(got[:, 0], expected[:, only], atol=2e-6)
