# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The text transformer: padding, pooling, names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from unigeo_jax.nn import layers, text

SMALL = {"dim": 6, "vocab_size": 11, "width": 16, "depth": 2, "heads": 2}
TOKENS = jnp.asarray([[3, 4, 5, 0, 0], [7, 8, 0, 0, 0]])


def with_other_padding(variables):
    table = variables["params"]["Embed_0"]["embedding"]
    changed = {"embedding": jnp.asarray(table).at[0].set(3.0 * table[1])}
    return {"params": {**variables["params"], "Embed_0": changed}}


@pytest.mark.parametrize("pool", ["mean", "map"])
def test_masked_padding_has_no_influence(pool, draw):
    module = text.TextTransformer(**SMALL, pool=pool, mask_padding=True)
    variables = draw(module, TOKENS)
    expected = jax.jit(module.apply)(variables, TOKENS)
    got = jax.jit(module.apply)(with_other_padding(variables), TOKENS)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_unmasked_padding_is_attended_to_as_in_siglip(pool, draw):
    module = text.TextTransformer(**SMALL, pool=pool)
    variables = draw(module, TOKENS)
    expected = jax.jit(module.apply)(variables, TOKENS)
    got = jax.jit(module.apply)(with_other_padding(variables), TOKENS)
    assert float(jnp.abs(got - expected).max()) > 1e-3


def test_mean_is_over_the_tokens_that_are_not_padding(draw):
    module = text.TextTransformer(**SMALL, pool="mean", mask_padding=True)
    variables = draw(module, TOKENS)
    params = variables["params"]
    x = params["Embed_0"]["embedding"][TOKENS]
    x = x + jnp.broadcast_to(params["pos_embedding"], x.shape)
    encoder = layers.Transformer(2, 2)
    x = jax.jit(encoder.apply)({"params": params["Encoder_0"]}, x, TOKENS != 0)
    pooled = jnp.stack([x[0, :3].mean(axis=0), x[1, :2].mean(axis=0)])
    head = params["head"]
    bias = jnp.broadcast_to(head["bias"], (2, 6))
    expected = pooled @ head["kernel"] + bias
    np.testing.assert_allclose(module.apply(variables, TOKENS), expected, atol=1e-5)


def test_last_reads_the_last_position_and_every_token_reaches_it(draw):
    module = text.TextTransformer(**SMALL, pool="last")
    variables = draw(module, TOKENS)
    before = jax.jit(module.apply)(variables, TOKENS)
    after = jax.jit(module.apply)(variables, TOKENS.at[:, 0].set(9))
    assert (jnp.abs(after - before).max(axis=1) > 1e-3).all()


def test_a_text_of_padding_only_gives_finite_values_and_gradients(draw):
    module = text.TextTransformer(**SMALL, pool="mean", mask_padding=True)
    empty = jnp.zeros_like(TOKENS)
    variables = draw(module, empty)
    grads = jax.jit(jax.grad(lambda v: module.apply(v, empty).sum()))(variables)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(grads))


def test_parameter_names_are_those_of_big_vision():
    module = text.TextTransformer(**SMALL)
    shapes = jax.eval_shape(module.init, jax.random.key(0), TOKENS)["params"]
    paths = {"/".join(p[:2]) for p in traverse_util.flatten_dict(shapes)}
    assert paths == {
        *("Embed_0/embedding", "pos_embedding", "head/kernel", "head/bias"),
        *("Encoder_0/encoderblock_0", "Encoder_0/encoderblock_1"),
        "Encoder_0/encoder_norm",
    }


def test_illegal_pools_are_errors():
    with pytest.raises(ValueError, match="'max', allowed: last, mean, map"):
        module = text.TextTransformer(**SMALL, pool="max")  # type: ignore
        module.init(jax.random.key(0), TOKENS)
    with pytest.raises(ValueError, match="mask_padding"):
        module = text.TextTransformer(**SMALL, pool="last", mask_padding=True)
        module.init(jax.random.key(0), TOKENS)
