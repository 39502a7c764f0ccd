# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points of interest: the set of what lies around a place, nearest first.

`record["poi"]` is text, a line each: kind, name and distance in km, parted by tabs.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.modalities import text
from unigeo_jax.nn import layers

FIELD = "poi"


def spec(
    items: int = 32,
    kind: int = 4,
    name: int = 6,
    vectors: str = "",
    width: int = 0,
    **_,
) -> dict[str, np.ndarray]:
    """Return an empty set: {"here", "log_km"} (i,), and what stands for each item.

    That is token ids {"kind", "name"}, int32 (i, kind) and (i, name), or with `vectors`
    {"vector"}, float32 (i, width).
    """
    out: dict[str, np.ndarray] = {
        "here": np.zeros((items,), bool),
        "log_km": np.zeros((items,), np.float32),
    }
    if vectors:
        return out | {"vector": np.zeros((items, width), np.float32)}
    out["kind"] = np.zeros((items, kind), np.int32)
    if name:
        out["name"] = np.zeros((items, name), np.int32)
    return out


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    items: int = 32,
    kind: int = 4,
    name: int = 6,
    vocab: str = "",
    drop: float = 0.0,
    vectors: str = "",
    width: int = 0,
) -> dict[str, np.ndarray] | None:
    """Return the first `items` points as `spec` says; absent where there is none.

    The first `kind` and `name` tokens of each count, padded with 0; name=0 leaves names
    out, which tie a place to its coordinates. Distance is log1p of km. `vectors` is the
    field with a frozen vector a line (text embeddings), float (lines, width). Training
    drops each point with probability `drop`, never all.

    Raises ValueError naming the place for a line of another form, or vectors that are
    not one a line.
    """
    lines = (record.get(FIELD) or "").splitlines()
    if not lines:
        return None
    kept = np.arange(len(lines))
    if rng is not None and drop:
        rng.random(224)  # past the draws of the pictures and the text
        keep = rng.random(len(lines)) >= drop
        keep[0] |= not keep.any()
        kept = kept[keep]
    kept = kept[:items]
    out = spec(items, kind, name, vectors, width)
    out["here"][: len(kept)] = True
    if vectors:
        out["vector"][: len(kept)] = _vectors(record, vectors, len(lines), width)[kept]
    for row, number in enumerate(kept):
        what, called, out["log_km"][row] = _parts(record, lines[number])
        if not vectors:
            _tokens(out["kind"][row], vocab, what)
        if name and not vectors:
            _tokens(out["name"][row], vocab, called)
    return out


def _parts(record: dict[str, Any], line: str) -> tuple[str, str, float]:
    """Kind, name and log1p of the distance."""
    try:
        what, called, km = line.split("\t")
        distance = float(km)
        if not 0.0 <= distance < math.inf:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"poi: place {record.get('place', '?')}: got {line!r};"
            " allowed: kind, name, km from 0, parted by tabs"
        ) from None
    return what, called, math.log1p(distance)


def _tokens(into: np.ndarray, vocab: str, words: str) -> None:
    ids = text.pieces(vocab or None, words)[: len(into)]
    into[: len(ids)] = ids


def _vectors(record: dict, field: str, lines: int, width: int) -> np.ndarray:
    vectors = np.asarray(record.get(field), np.float32)
    if vectors.shape != (lines, width) or not np.isfinite(vectors).all():
        raise ValueError(
            f"poi: place {record.get('place', '?')}: field {field!r} has shape"
            f" {vectors.shape}, allowed: finite numbers of shape {(lines, width)}"
        )
    return vectors


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse a vocabulary that does not fit the tower, and vectors without a width."""
    if data.get("vectors"):
        if not data.get("width"):
            raise ValueError("poi: vectors need width, the numbers of each; got 0")
        return
    text.check({"vocab": data.get("vocab", "")}, net)


class Encoder(nn.Module):
    """Encode a set of points by attention over them: (b, dim), whatever their order.

    Each point is the sum of its kind, its name (means of token vectors, through a map
    of its own) and its distance; `depth` transformer blocks without positions let
    points see each other, a learned probe pools them. Empty slots are seen by nobody.
    """

    dim: int
    dtype: Any = jnp.float32
    vocab_size: int = 8192
    width: int = 64
    depth: int = 1
    heads: int = 4
    mlp_ratio: float = 2.0

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        w, here_bi = self.width, x["here"]
        # Log-distance and four waves of it, periods of 8 down to 2 e-folds.
        scale_f = jnp.pi * jnp.arange(1, 5, dtype=jnp.float32) / 4.0
        angle_bif = jnp.einsum("bi,f->bif", x["log_km"], scale_f)
        waves = jnp.concatenate(
            [x["log_km"][..., None], jnp.sin(angle_bif), jnp.cos(angle_bif)], axis=-1
        )
        y_biw = layers.Dense(w, self.dtype, name="distance")(waves)
        if "vector" in x:
            y_biw = y_biw + layers.Dense(w, self.dtype, name="vector")(x["vector"])
        else:
            init = nn.initializers.normal(w**-0.5)
            embed = nn.Embed(
                *(self.vocab_size, w),
                embedding_init=init,
                dtype=self.dtype,
                name="Embed_0",
            )
            for part in ("kind", "name"):
                if part in x:
                    mean_biw = _mean(embed, x[part])
                    y_biw = y_biw + layers.Dense(w, self.dtype, name=part)(mean_biw)
        y_biw = layers.Transformer(
            *(self.depth, self.heads, self.mlp_ratio),
            dtype=self.dtype,
            name="Transformer",
        )(nn.gelu(y_biw), here_bi, train=train)
        y_bw = layers.MAPHead(
            self.heads, self.mlp_ratio, dtype=self.dtype, name="MAPHead_0"
        )(y_biw, here_bi)
        return layers.Dense(self.dim, self.dtype, name="head")(y_bw)


def _mean(embed: nn.Embed, ids_bil: jax.Array) -> jax.Array:
    """Average the vectors of the tokens that are not padding, zero without any."""
    b, i, length = ids_bil.shape
    ids = ids_bil.reshape(b * i, length)
    return layers.masked_mean(embed(ids), ids != 0).reshape(b, i, -1)
