# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision transformer: images of any size and channel count to one vector each."""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.nn import layers, naflex

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

    NaFlex: images may also come as `patches` (b, slots, patch values) and `grid`
    (b, 2), the rows and columns of patches of each, which fill the first slots. A
    table of `positions` x `positions` is then resized to each grid, and empty slots
    are seen by nobody. The embedding is linear either way.

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
    positions: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: jax.Array | Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        if self.pool not in ("map", "cls", "mean"):
            raise ValueError(f"pool: got {self.pool!r}, allowed: map, cls, mean")
        w = self.width
        x, mask_bp = self._tokens(image)
        b = x.shape[0]

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
        seen = mask_bp
        if mask_bp is not None and first:
            seen = jnp.pad(mask_bp, ((0, 0), (first, 0)), constant_values=True)

        x = layers.Transformer(
            self.depth,
            self.heads,
            self.mlp_ratio,
            dropout=self.dropout,
            scan=self.scan,
            remat=self.remat,
            dtype=self.dtype,
            only=0 if self.pool == "cls" else None,
            name="Transformer",
        )(x, seen, train=train)
        if self.pool == "cls":
            x = x[:, 0]
        elif self.pool == "mean":
            x = layers.masked_mean(x[:, first:], mask_bp)
        else:
            x = layers.MAPHead(
                self.heads, self.mlp_ratio, dtype=self.dtype, name="MAPHead_0"
            )(x[:, first:], mask_bp)
        if self.dim is not None and self.dim != w:
            x = layers.Dense(self.dim, self.dtype, name="head")(x)
        return x

    def _tokens(
        self, image: jax.Array | Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array | None]:
        """Embed patches and add positions: (b, p, w) and which p are patches."""
        w, mask_bp = self.width, None
        init = nn.initializers.normal(w**-0.5)
        if isinstance(image, Mapping):
            patches_bpi, grid_b2 = image["patches"], image["grid"]
            x = layers.Dense(w, self.dtype, name="embedding")(patches_bpi)
            shape = (self.positions, self.positions, w)
            table_hww = self.param("pos_embedding", init, shape, jnp.float32)
            position = naflex.positions(table_hww, grid_b2, x.shape[1])
            mask_bp = naflex.mask(grid_b2, x.shape[1])
        else:
            patch = self.patch
            ph, pw = (patch, patch) if isinstance(patch, int) else patch
            x = PatchEmbedding((ph, pw), w, self.dtype, name="embedding")(image)
            shape = (1, x.shape[1], w)
            position = self.param("pos_embedding", init, shape, jnp.float32)
        return x + jnp.broadcast_to(position.astype(self.dtype), x.shape), mask_bp
