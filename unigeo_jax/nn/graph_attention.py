# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention over sampled neighbours: GATv2 and a graph transformer.

Neighbours of a place are an axis of fixed length, so attention is dense: no scatter,
no edge softmax. Where they are drawn in proportion to flow, how often one is drawn
stands for the weight; a factor of 0 marks a slot without neighbour.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.nn import graph, pointwise

MASKED = -1e30


class GraphAttention(nn.Module):
    """Encodes places from sampled hops: as many layers of attention as hops.

    Layer l turns the vectors of each hop into new ones from its own and those of the
    hop beyond. Parameters: table (n, d) and each layer's.

    Attributes:
      nodes, dim: n and d of the node table.
      heads: of attention; divides dim.
      kind: "gat" (Brody et al., "How attentive are graph attention networks?", 2022,
        GATv2) or "transformer" (Shi et al., "Masked label prediction", 2021).
      start: as for LightGCN.
      dtype: of the products; softmax and sums are float32.
    """

    nodes: int
    dim: int
    heads: int = 4
    kind: str = "transformer"
    start: Any = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hops: Any) -> jax.Array:
        """Returns (b, d); hops are (node, weight) as for LightGCN.

        Raises:
          ValueError: an unknown kind, or heads that do not divide dim.
        """
        if self.kind not in ("gat", "transformer"):
            raise ValueError(
                f"graph attention: got kind {self.kind!r}, allowed: gat, transformer"
            )
        if self.dim % self.heads:
            raise ValueError(
                f"graph attention: got {self.heads} heads, allowed: divisors of"
                f" {self.dim}"
            )
        draw = self.start or nn.initializers.normal(self.dim**-0.5)
        table_nd = self.param("table", draw, (self.nodes, self.dim), jnp.float32)
        node, weight = hops
        rows = graph.spread(table_nd, node)
        for layer in range(len(weight)):
            block = Layer(self.heads, self.kind, self.dtype, name=f"layer_{layer}")
            rows = [
                block(own, far, factor)
                for own, far, factor in zip(rows[:-1], rows[1:], weight, strict=False)
            ]
        return rows[0]


class Layer(nn.Module):
    """One layer: attention over the neighbours, added to the place's own vector."""

    heads: int
    kind: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, own: jax.Array, far: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns (..., d) from own (..., d), far (..., k, d) and weight (..., k)."""
        dim = own.shape[-1]

        def project(name, x):
            dense = nn.DenseGeneral(
                (self.heads, dim // self.heads), dtype=self.dtype, name=name
            )
            return dense(x)

        own_n = pointwise.LayerNorm(dtype=self.dtype, name="norm")(own)
        far_n = pointwise.LayerNorm(dtype=self.dtype, name="norm_far")(far)
        query, key = project("query", own_n)[..., None, :, :], project("key", far_n)
        if self.kind == "gat":
            vector = self.param(
                "attention",
                nn.initializers.lecun_normal(),
                (self.heads, dim // self.heads),
                jnp.float32,
            )
            mixed = nn.leaky_relu(query + key, 0.2).astype(jnp.float32)
            score = jnp.einsum("...khc,hc->...kh", mixed, vector)
            value = key
        else:
            product = (query * key).astype(jnp.float32).sum(-1)
            score = product * (dim // self.heads) ** -0.5
            value = project("value", far_n)
        here = (weight > 0)[..., None]
        share = jax.nn.softmax(jnp.where(here, score, MASKED), axis=-2)
        share = jnp.where(here, share, 0.0)  # no neighbour at all: nothing comes in
        heard = (share[..., None] * value.astype(jnp.float32)).sum(-3)
        heard = heard.reshape(*own.shape[:-1], dim).astype(self.dtype)
        out = own + nn.Dense(dim, use_bias=False, dtype=self.dtype, name="out")(heard)
        return out.astype(jnp.float32)
