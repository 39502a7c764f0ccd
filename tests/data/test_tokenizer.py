# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The bundled vocabulary, and how it is trained."""

import numpy as np
import pytest

from unigeo_jax.data import datasets, tokenizer


def test_the_bundled_vocabulary_has_8192_pieces_and_keeps_0_for_padding():
    vocabulary = tokenizer.load()
    assert vocabulary.size == 8192
    for text in ("", "Zermatt 5 km NE", "\x00 \u0915\u093e \U0001f600", "a\nb"):
        ids = vocabulary.encode(text)
        assert all(0 < i < vocabulary.size for i in ids), text
    assert vocabulary.encode("") == []


def test_letters_fold_and_rare_letters_survive_as_bytes():
    vocabulary = tokenizer.load()
    assert vocabulary.encode("ZERMATT 5 KM NE") == vocabulary.encode("zermatt 5 km ne")
    for text in ("zermatt 5 km ne", "\u0915\u093e\u0920", "12 million people"):
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_distance_and_its_bearing_are_one_piece():
    vocabulary = tokenizer.load()
    alone = len(vocabulary.encode("Milan"))
    for tail in ("5 km NE", "45 km W", "130 km S"):
        assert len(vocabulary.encode(f"Milan {tail}")) == alone + 1, tail


def test_eight_segments_of_a_caption_take_about_two_dozen_pieces(earth_tiny):
    records, _ = datasets.load("earth/tiny", "train", earth_tiny, fields=("text",))
    encode = tokenizer.load().encode
    heads = [r["text"].split("\n")[:8] for r in records if r["text"]]
    pieces = [sum(len(encode(part)) for part in head) for head in heads]
    assert 15 < np.mean(pieces) < 27


def test_training_twice_gives_the_same_file(tmp_path):
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abdeiklmnorst"), 7)) for _ in range(400)]
    captions = [f"{n} {k % 30} km NE\nprovince of {n[:4]}" for k, n in enumerate(names)]
    for name in "ab":
        tokenizer.train(captions, tmp_path / name, size=400)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert tokenizer.load(tmp_path / "a").size == 400


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_bad_vocabulary_file_is_named(tmp_path, content):
    path = tmp_path / "some.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.model"):
        tokenizer.Tokenizer(path)
