# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text on the host: segments, dropout, truncation, padding."""

import itertools

import numpy as np
import pytest

from unigeo_jax.modalities import text


class Letters:
    """Stands in for a vocabulary: one id a letter, a = 1."""

    def encode(self, segment: str) -> list[int]:
        return [ord(c) - 96 for c in segment if c != " "]


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    monkeypatch.setattr(text.tokenizer, "load", lambda path=None: Letters())
    text.pieces.cache_clear()
    yield
    text.pieces.cache_clear()


RECORD = {"text": "ab\ncd\nef", "text_masked": "xy"}


def test_segments_are_concatenated_truncated_and_padded_with_zero():
    got = text.read(RECORD, None, length=8)
    np.testing.assert_array_equal(got, [1, 2, 3, 4, 5, 6, 0, 0])
    assert got.dtype == text.spec(length=8).dtype and got.shape == (8,)
    np.testing.assert_array_equal(text.read(RECORD, None, length=3), [1, 2, 3])


def test_evaluation_drops_nothing():
    got = text.read(RECORD, None, length=6, drop=0.9, token_drop=0.9)
    np.testing.assert_array_equal(got, [1, 2, 3, 4, 5, 6])


def test_training_drops_segments_but_never_all():
    seen = set()
    for seed in range(100):
        got = text.read(RECORD, np.random.default_rng(seed), length=6, drop=0.5)
        assert got is not None
        seen.add(tuple(int(i) for i in got if i))
    pairs = [(1, 2), (3, 4), (5, 6)]
    some = [c for n in (1, 2, 3) for c in itertools.combinations(pairs, n)]
    assert seen == {tuple(itertools.chain(*c)) for c in some}


def test_token_dropout_removes_the_stated_share_and_never_everything():
    kept = []
    record = {"text": "abcdefgh"}
    for seed in range(400):
        got = text.read(record, np.random.default_rng(seed), length=8, token_drop=0.25)
        assert got is not None
        ids = [int(i) for i in got if i]
        assert ids == sorted(set(ids))
        kept.append(len(ids))
    assert abs(np.mean(kept) - 6) < 0.3
    rng = np.random.default_rng(0)
    assert text.read(record, rng, length=8, token_drop=1.0).tolist() == [1] + [0] * 7


def test_masked_names_come_from_their_own_field():
    got = text.read(RECORD, None, length=4, mask_names=True)
    np.testing.assert_array_equal(got, [24, 25, 0, 0])


def test_a_place_without_text_is_absent():
    for record in ({}, {"text": ""}, {"text": " "}):
        assert text.read(record, None) is None


def test_siglip_texts_are_one_string_closed_once_and_padded_with_zero(monkeypatch):
    monkeypatch.setattr(text.tokenizer, "load_gemma", lambda path: Letters())
    text.gemma_ids.cache_clear()
    got = text.read({"text": "bc\nd"}, None, length=6, vocab="v", siglip2=True)
    np.testing.assert_array_equal(got, [2, 3, ord("\n") - 96, 4, 1, 0])
    got = text.read({"text": "bcdefg"}, None, length=3, vocab="v", siglip2=True)
    np.testing.assert_array_equal(got, [2, 3, 1])
    text.gemma_ids.cache_clear()
