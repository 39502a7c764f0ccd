# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The vision transformer: patches, pooling, registers, names."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from unigeo_jax.nn import layers, vit

WB = ("kernel", "bias")
SMALL = {"patch": (4, 2), "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2}


@pytest.fixture
def image(key):
    return jax.random.normal(key, (2, 8, 6, 3))


def test_patch_embedding_equals_a_strided_convolution(image, draw):
    ours = vit.PatchEmbedding((4, 2), 16)
    variables = draw(ours, image)
    conv = nn.Conv(16, (4, 2), (4, 2), padding="VALID")
    shapes = jax.eval_shape(conv.init, jax.random.key(1), image)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(conv.apply)(variables, image).reshape(2, 6, 16)
    np.testing.assert_allclose(ours.apply(variables, image), expected, atol=1e-5)


def test_parameter_names_are_those_of_big_vision(image):
    shapes = jax.eval_shape(vit.ViT(**SMALL).init, jax.random.key(0), image)["params"]
    paths = {"/".join(p) for p in traverse_util.flatten_dict(shapes)}
    attention = [f"{n}/{leaf}" for n in ("query", "key", "value", "out") for leaf in WB]
    mlp = [f"MlpBlock_0/Dense_{i}/{leaf}" for i in (0, 1) for leaf in WB]
    block = [f"MultiHeadDotProductAttention_0/{a}" for a in attention] + mlp
    norms = [f"LayerNorm_{i}/{leaf}" for i in (0, 1) for leaf in ("scale", "bias")]
    expected = {f"Transformer/encoderblock_0/{p}" for p in block + norms}
    expected |= {f"MAPHead_0/{p}" for p in [*block, *norms[:2], "probe"]}
    expected |= {f"Transformer/encoder_norm/{p}" for p in ("scale", "bias")}
    expected |= {"embedding/kernel", "embedding/bias", "pos_embedding"}
    assert paths == expected


@pytest.mark.parametrize("pool", ["map", "cls", "mean"])
def test_pooling_equals_the_tokens_pooled_by_hand(image, pool, draw):
    module = vit.ViT(**SMALL, pool=pool, registers=3)
    variables = draw(module, image)
    params = variables["params"]
    patches: Any = vit.PatchEmbedding((4, 2), 16).apply(
        {"params": params["embedding"]}, image
    )
    x = patches + jnp.broadcast_to(params["pos_embedding"], patches.shape)
    front = [params[name] for name in ("cls", "registers") if name in params]
    front = [jnp.broadcast_to(t, (2, *t.shape[1:])) for t in front]
    x = jnp.concatenate([*front, x], axis=1)
    transformer = layers.Transformer(1, 2, 2)
    x = transformer.apply({"params": params["Transformer"]}, x)
    if pool == "cls":
        assert x.shape[1] == 1 + 3 + 6
        expected = x[:, 0]
    elif pool == "mean":
        expected = x[:, 3:].mean(axis=1)
    else:
        head = layers.MAPHead(2, 2)
        expected = head.apply({"params": params["MAPHead_0"]}, x[:, 3:])
    np.testing.assert_allclose(module.apply(variables, image), expected, atol=1e-6)


def test_registers_take_part_in_attention(image, draw):
    module = vit.ViT(**SMALL, registers=2)
    variables = draw(module, image)
    before = np.asarray(jax.jit(module.apply)(variables, image))
    variables["params"]["registers"] *= -1.0
    assert float(jnp.abs(module.apply(variables, image) - before).max()) > 1e-3


def test_a_head_exists_only_where_the_output_width_differs(image, draw):
    same = jax.eval_shape(vit.ViT(**SMALL, dim=16).init, jax.random.key(0), image)
    other = vit.ViT(**SMALL, dim=5)
    variables = draw(other, image)
    assert "head" not in same["params"]
    assert variables["params"]["head"]["kernel"].shape == (16, 5)
    assert jax.jit(other.apply)(variables, image).shape == (2, 5)


def test_scan_and_remat_give_the_same_vectors(image, draw):
    loop = vit.ViT(**SMALL | {"depth": 2})
    scan = vit.ViT(**SMALL | {"depth": 2}, scan=True, remat="full")
    variables = draw(loop, image)
    got = jax.jit(scan.apply)(layers.stack_blocks(variables), image)
    np.testing.assert_allclose(got, jax.jit(loop.apply)(variables, image), atol=1e-5)


def test_an_image_of_broken_patches_and_an_unknown_pool_are_errors(image):
    with pytest.raises(ValueError, match=r"8x6 pixels.*patches of 3x2"):
        vit.ViT(**SMALL | {"patch": (3, 2)}).init(jax.random.key(0), image)
    with pytest.raises(ValueError, match="'max', allowed: map, cls, mean"):
        vit.ViT(**SMALL, pool="max").init(jax.random.key(0), image)  # type: ignore
