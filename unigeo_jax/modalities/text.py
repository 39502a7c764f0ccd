# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text: what is written about a place, as token ids."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from unigeo_jax.data import tokenizer
from unigeo_jax.nn import text


def spec(length: int = 24, **_) -> np.ndarray:
    """Return padding only, int32 (length,)."""
    return np.zeros((length,), np.int32)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    length: int = 24,
    vocab: str | None = None,
    drop: float = 0.0,
    token_drop: float = 0.0,
    mask_names: bool = False,
    siglip2: bool = False,
) -> np.ndarray | None:
    """Tokenise `record["text"]`, segments separated by newlines, int32 (length,).

    Training drops each segment with probability `drop` (never all of them) and each
    token with probability `token_drop`. Longer texts are truncated, shorter ones padded
    with 0. `mask_names` reads `record["text_masked"]`, where proper names are gone
    (names tie a text to its coordinates). `vocab` is a vocabulary file
    (data/tokenizer.py), None or "" the bundled one.

    `siglip2` reads the text as SigLIP 2 does: `vocab` is Gemma's, the text with its
    newlines is one string in lower case, then <eos>, then <pad>; truncation keeps the
    first length - 1 tokens and <eos>. Pretrained towers have 64 positions, to which
    longer texts are cut; a greater `length` needs extended positions.

    Differs from big_vision: its SigLIP 2 folds the case of ASCII only; all letters
    here, as transformers' Siglip2Tokenizer does.
    """
    caption = record.get("text_masked" if mask_names else "text")
    if not caption:
        return None
    segments = caption.split("\n")
    if rng is not None:
        rng.random(128)  # past the draws of the pictures
    if rng is not None and drop and len(segments) > 1:
        kept = rng.random(len(segments)) >= drop
        kept[0] |= not kept.any()
        segments = [s for s, keep in zip(segments, kept, strict=True) if keep]
    ids: list[int] = []
    if siglip2:
        ids += gemma_ids(vocab, "\n".join(segments))
    else:
        for segment in segments:
            ids += pieces(vocab, segment)
            if len(ids) >= length and not token_drop:
                break
    if rng is not None and token_drop and ids:
        kept = rng.random(len(ids)) >= token_drop
        kept[0] |= not kept.any()
        ids = [i for i, keep in zip(ids, kept, strict=True) if keep]
    if not ids:
        return None
    return tokenizer.to_length(ids, length, tokenizer.END if siglip2 else None)


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse a vocabulary that does not fit the tower, before anything is read.

    Raises ValueError if ids of `data["vocab"]` lie beyond `net["vocab_size"]`, or
    with `siglip2` if the vocabulary is not Gemma's.
    """
    vocab = data.get("vocab") or None
    if data.get("siglip2"):
        if vocab is None:
            raise ValueError(
                "text: siglip2=True reads Gemma's vocabulary, got vocab ''; allowed: "
                "the path of its tokenizer.json or tokenizer.model"
            )
        size = tokenizer.load_gemma(vocab).size
    else:
        size = tokenizer.load(vocab).size
    rows = net.get("vocab_size", Encoder.vocab_size)
    if size > rows:
        raise ValueError(
            f"text: the vocabulary {vocab or 'of the bundle'} has {size} pieces, the "
            f"tower's table vocab_size={rows} rows; allowed: at least as many rows"
        )


@functools.lru_cache(maxsize=1 << 16)
def pieces(vocab: str | None, segment: str) -> tuple[int, ...]:
    """Tokenise one segment; segments repeat between places, so they are kept."""
    return tuple(tokenizer.load(vocab or None).encode(segment))


@functools.lru_cache(maxsize=1 << 16)
def gemma_ids(vocab: str | None, text: str) -> tuple[int, ...]:
    """Tokenise one whole text as SigLIP 2 does; the epochs repeat it."""
    return tuple(tokenizer.load_gemma(vocab or "").encode(text))


class Encoder(text.TextTransformer):
    """Encode token ids, int32 (b, length), by a text transformer: (b, dim).

    Parameters are named as in SigLIP 2's text tower. For SigLIP 2: pool="last",
    mask_padding=False, vocab_size=256000.
    """

    vocab_size: int = 8192
    pool: text.Pool = "mean"
    mask_padding: bool = True
