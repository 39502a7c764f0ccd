# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text: what is written about a place, as token ids."""

import functools
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
    lower: bool = False,
    end: int | None = None,
) -> np.ndarray | None:
    """Tokenise `record["text"]`, segments separated by newlines, int32 (length,).

    Training drops each segment with probability `drop` (never all of them) and each
    token with probability `token_drop`. Longer texts are truncated, shorter ones padded
    with 0. `mask_names` reads `record["text_masked"]`, where proper names are gone
    (names tie a text to its coordinates). `vocab` is a SentencePiece model file, None
    the bundled vocabulary. SigLIP 2 wants `lower=True, end=1`: id `end` closes and
    pads every text, so the last token is always `end`.
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
    for segment in segments:
        ids += pieces(vocab, segment.lower() if lower else segment)
        if len(ids) >= length and not token_drop:
            break
    if rng is not None and token_drop and ids:
        kept = rng.random(len(ids)) >= token_drop
        kept[0] |= not kept.any()
        ids = [i for i, keep in zip(ids, kept, strict=True) if keep]
    if not ids:
        return None
    ids = ids[: length if end is None else length - 1]
    out = np.full((length,), 0 if end is None else end, np.int32)
    out[: len(ids)] = ids
    return out


@functools.lru_cache(maxsize=1 << 16)
def pieces(vocab: str | None, segment: str) -> tuple[int, ...]:
    """Tokenise one segment; segments repeat between places, so they are kept."""
    return tuple(tokenizer.load(vocab or None).encode(segment))


class Encoder(text.TextTransformer):
    """Encode token ids, int32 (b, length), by a text transformer: (b, dim).

    Parameters are named as in SigLIP 2's text tower. For SigLIP 2: pool="last",
    mask_padding=False, vocab_size=256000.
    """

    vocab_size: int = 8192
    pool: text.Pool = "mean"
    mask_padding: bool = True
