# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision transformer: images of any size and channel count to one vector each."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.nn import layers

Pool = Literal["map", "cls", "mean"]


class PatchEmbedding(nn.Module):
    """Cut (b, height, width, c) into patches and embed them: (b, p, w), row by row.

    The kernel has the convolution layout (ph, pw, c, w). Patches do not overlap, so
    the convolution is one matmul after a reshape, which is also faster on CPU.
    """

    patch: tuple[int, int]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        b, height, width, c = image.shape
        ph, pw = self.patch
        if height % ph or width % pw:
            raise ValueError(
                f"patch: image of {height}x{width} pixels is not a whole number of "
                f"patches of {ph}x{pw}"
            )
        shape = (ph, pw, c, self.width)
        init = nn.initializers.lecun_normal(in_axis=(0, 1, 2))
        kernel = self.param("kernel", init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        x = image.reshape(b, height // ph, ph, width // pw, pw, c)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, ph, pw, c)
        return layers.affine(x, kernel, bias, self.dtype, axes=3)


class ViT(nn.Module):
    """Encode images (b, height, width, c) as vectors (b, w), or (b, dim).

    Pre-norm, learned positions on the patches only, tanh GELU, LayerNorm eps 1e-6.
    `pool`: "map" = SigLIP 2's attention pooling, "cls" = a learned token, "mean" =
    mean over patches (never over registers). `registers` are learned tokens that
    only take part in attention. A linear `head` exists only where `dim` differs
    from `width`, so that size B has SigLIP 2's parameters exactly.
    """

    patch: int | tuple[int, int] = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = "map"
    registers: int = 0
    dropout: float = 0.0
    scan: bool = False
    remat: layers.Remat = "none"
    dim: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        if self.pool not in ("map", "cls", "mean"):
            raise ValueError(f"pool: got {self.pool!r}, allowed: map, cls, mean")
        w = self.width
        patch = (self.patch, self.patch) if isinstance(self.patch, int) else self.patch
        ph, pw = patch
        x = PatchEmbedding((ph, pw), w, self.dtype, name="embedding")(image)
        b, patches, _ = x.shape
        init = nn.initializers.normal(w**-0.5)
        position = self.param("pos_embedding", init, (1, patches, w), jnp.float32)
        x = x + jnp.broadcast_to(position.astype(self.dtype), x.shape)

        extra = []
        if self.pool == "cls":
            cls = self.param(
                "cls", nn.initializers.normal(0.02), (1, 1, w), jnp.float32
            )
            extra.append(cls)
        if self.registers:
            shape = (1, self.registers, w)
            init = nn.initializers.normal(0.02)
            extra.append(self.param("registers", init, shape, jnp.float32))
        first = sum(token.shape[1] for token in extra)
        tokens = [
            jnp.broadcast_to(t.astype(self.dtype), (b, *t.shape[1:])) for t in extra
        ]
        x = jnp.concatenate([*tokens, x], axis=1) if tokens else x

        x = layers.Transformer(
            self.depth,
            self.heads,
            self.mlp_ratio,
            dropout=self.dropout,
            scan=self.scan,
            remat=self.remat,
            dtype=self.dtype,
            name="Transformer",
        )(x, train=train)
        if self.pool == "cls":
            x = x[:, 0]
        elif self.pool == "mean":
            x = x[:, first:].mean(axis=1)
        else:
            x = layers.MAPHead(
                self.heads, self.mlp_ratio, dtype=self.dtype, name="MAPHead_0"
            )(x[:, first:])
        if self.dim is not None and self.dim != w:
            x = layers.Dense(self.dim, self.dtype, name="head")(x)
        return x
