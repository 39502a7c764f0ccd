# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text transformer: token ids to one vector a text."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.nn import layers

Pool = Literal["last", "mean", "map"]


class TextTransformer(nn.Module):
    """Encode token ids (b, l) as vectors (b, dim); no causal mask.

    `mask_padding=False` is SigLIP 2: every position attends and is attended to,
    padding included, and `pool="last"` reads the last position. With
    `mask_padding=True` positions holding id 0 are never keys, and "mean" and "map"
    pool over the others only; a row of nothing but padding gives a finite vector.
    """

    dim: int
    vocab_size: int = 256_000
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = "last"
    mask_padding: bool = False
    dropout: float = 0.0
    scan: bool = False
    remat: layers.Remat = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens_bl: jax.Array, train: bool = False) -> jax.Array:
        if self.pool not in ("last", "mean", "map"):
            raise ValueError(f"pool: got {self.pool!r}, allowed: last, mean, map")
        if self.pool == "last" and self.mask_padding:
            raise ValueError(
                "pool: 'last' reads the padding at the end, which mask_padding=True "
                "hides; use pool 'mean' or 'map', or mask_padding=False"
            )
        w, length = self.width, tokens_bl.shape[1]
        mask_bl = tokens_bl != 0 if self.mask_padding else None
        init = nn.initializers.normal(w**-0.5)
        embed = nn.Embed(
            self.vocab_size, w, embedding_init=init, dtype=self.dtype, name="Embed_0"
        )
        position = self.param("pos_embedding", init, (1, length, w), jnp.float32)
        x = embed(tokens_bl)
        x = x + jnp.broadcast_to(position.astype(self.dtype), x.shape)
        x = layers.Transformer(
            self.depth,
            self.heads,
            self.mlp_ratio,
            dropout=self.dropout,
            scan=self.scan,
            remat=self.remat,
            dtype=self.dtype,
            only=-1 if self.pool == "last" else None,
            name="Encoder_0",
        )(x, mask_bl, train=train)
        x = self._pool(x, mask_bl)
        return layers.Dense(self.dim, self.dtype, name="head")(x)

    def _pool(self, x: jax.Array, mask_bl: jax.Array | None) -> jax.Array:
        if self.pool == "last":
            return x[:, -1]
        if self.pool == "map":
            return layers.MAPHead(
                self.heads, self.mlp_ratio, dtype=self.dtype, name="MAPHead_0"
            )(x, mask_bl)
        return layers.masked_mean(x, mask_bl)
