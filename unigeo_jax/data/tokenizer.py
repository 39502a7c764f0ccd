# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text to token ids, by default with the vocabulary of the bundle.

The bundle's pieces span whole phrases (` 5 km ne`, ` united states`), so the start of
a caption fits into two dozen tokens. It was trained on captions of the train split
only: `python -m unigeo_jax.data.tokenizer OUT_FILE [DATA_DIR]` trains it again.

SigLIP 2's text towers read Gemma's vocabulary, which comes from a file of the user's:
`tokenizer.json` of a SigLIP 2 or Gemma folder, or Gemma's `tokenizer.model`.
"""

import functools
import importlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sentencepiece

from unigeo_jax import jsons, outside
from unigeo_jax.data import bundled

VOCABULARY = bundled.BUNDLE / bundled.VOCABULARY
SIZE = 8192
PAD = 0
# Names, numbers and distances are learnt apart, so that no piece joins the end of a
# name to a distance: `Zermatt | 5 km NE`, `1.2 | million people within 100 km`.
_SEAM = re.compile(
    r" (?=\d+ km [NESW]+$)| (?=has \d)|(?<=^\d) |(?<=^\d\d) |(?<=^\d\.\d) |(?<=^\d{3}) "
)


# What tells Gemma's vocabulary from others of its size.
GEMMA_SIZE = 256_000
GEMMA_PIECES = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "\u2581the": 573}
END = 1


class Tokenizer:
    """A SentencePiece model: `encode` a text, `size` of its vocabulary.

    `lower` folds case first, letter by letter, without a look at the neighbours.
    """

    def __init__(self, path: str | os.PathLike[str], lower: bool = False) -> None:
        path = _existing(path)
        self._lower = lower
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(path.read_bytes())
        except RuntimeError as error:
            raise ValueError(
                f"vocabulary {path} is not a SentencePiece model"
            ) from error
        self.size = self._processor.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, none of them 0 (padding), and no end mark.

        The bundle's model folds case and width itself; bytes stand for what it lacks.
        """
        if self._lower:
            text = "".join(map(str.lower, text))
        return self._processor.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, as far as the model's folding keeps it."""
        return self._processor.decode([int(i) for i in ids if i != PAD])

    def id_of(self, piece: str) -> int | None:
        i = self._processor.piece_to_id(piece)
        return i if self._processor.id_to_piece(i) == piece else None


class JsonTokenizer:
    """The same for a Hugging Face `tokenizer.json`; needs the package `tokenizers`.

    Marks spelled out in a text (`<eos>`) become their ids, which SentencePiece's
    reader does not do. Truncation, padding and marks that the file asks for are left
    out: `to_length` does what SigLIP 2 does.
    """

    def __init__(self, path: str | os.PathLike[str], lower: bool = False) -> None:
        self._path = path = _existing(path)
        try:
            library = importlib.import_module("tokenizers")
        except ImportError as error:
            raise ValueError(
                f"vocabulary {path}: a tokenizer.json needs the package `tokenizers`:"
                " pip install 'unigeo-jax[text]'; a SentencePiece tokenizer.model"
                " needs nothing more"
            ) from error
        try:
            content = jsons.read(path)
            content |= {"truncation": None, "padding": None}
            _check_merges(content["model"])
            self._tokenizer = library.Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(
                f"vocabulary {path} is not a tokenizer.json: {error}"
            ) from error
        if lower:
            fold = [library.normalizers.Lowercase()]
            if self._tokenizer.normalizer is not None:
                fold.append(self._tokenizer.normalizer)
            self._tokenizer.normalizer = library.normalizers.Sequence(fold)
        self.size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, no begin and end marks.

        Raises ValueError for a text that the file has no way to take.
        """
        with outside.refused(f"vocabulary {self._path}"):
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, without marks."""
        return self._tokenizer.decode([int(i) for i in ids])

    def id_of(self, piece: str) -> int | None:
        return self._tokenizer.token_to_id(piece)


def _check_merges(model: dict[str, Any]) -> None:
    """Refuses merges that are of no piece, which end the process in `tokenizers`."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model.get("merges") or ():
        one, two = merge.split(" ") if isinstance(merge, str) else merge
        made = one + two.removeprefix(prefix)
        if not two.startswith(prefix) or not {one, two, made} <= model["vocab"].keys():
            raise ValueError(f"merge {str(merge)[:80]!r} is of no piece")


def _existing(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"vocabulary {path} is not a file, allowed: a SentencePiece model or a"
            " tokenizer.json"
        )
    return path


@functools.lru_cache(maxsize=8)
def load(
    path: str | os.PathLike[str] | None = None, lower: bool = False
) -> Tokenizer | JsonTokenizer:
    """Open a vocabulary file, None = the bundle's; JSON is told by its first letter.

    Raises:
      ValueError: no such file, not a vocabulary, `tokenizers` is not installed, or the
        bundle's was edited.
    """
    path = _existing(path or VOCABULARY)
    if path == VOCABULARY:
        bundled.read(bundled.VOCABULARY)
    with path.open("rb") as file:
        is_json = file.read(64).lstrip()[:1] == b"{"
    return JsonTokenizer(path, lower) if is_json else Tokenizer(path, lower)


@functools.lru_cache(maxsize=8)
def load_gemma(path: str | os.PathLike[str]) -> Tokenizer | JsonTokenizer:
    """Open a vocabulary that must be Gemma's, to read text as SigLIP 2: lower case.

    Raises:
      ValueError: as `load`, or another vocabulary.
    """
    vocabulary = load(path, lower=True)
    got = {piece: vocabulary.id_of(piece) for piece in GEMMA_PIECES}
    if vocabulary.size != GEMMA_SIZE or got != GEMMA_PIECES:
        raise ValueError(
            f"vocabulary {path} is not Gemma's, which SigLIP 2 reads: got"
            f" {vocabulary.size} pieces with {got},"
            f" allowed: {GEMMA_SIZE} with {GEMMA_PIECES}"
        )
    return vocabulary


def to_length(ids: Sequence[int], length: int, end: int | None = None) -> np.ndarray:
    """Truncate or pad with 0 to int32 (length,); `end` follows the text, always.

    Of a text that is too long the first tokens stay, and `end` in the last place.
    """
    kept = list(ids[: length if end is None else length - 1])
    out = np.full((length,), PAD, np.int32)
    out[: len(kept)] = kept
    if end is not None:
        out[len(kept)] = end
    return out


def train(
    captions: Iterable[str],
    path: str | os.PathLike[str],
    size: int = SIZE,
    segments: int = 14,
) -> None:
    """Train a vocabulary and write it to `path`; the same captions give the same file.

    Args:
      captions: segments separated by newlines. The first `segments` of each count as
        often as they occur, later ones (facts shared by a whole country) once.
      path: file to write.
      size: pieces in all, of which 258 are padding, unknown and the bytes.
    """
    lines, once = [], set()
    for caption in captions:
        parts = caption.split("\n")
        for part in parts[:segments]:
            lines += _SEAM.split(part)
        once.update(part[:200] for part in parts[segments:])
    lines += sorted(once)
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=file,
            model_type="bpe",
            vocab_size=size,
            split_by_whitespace=False,
            split_by_number=False,
            split_by_unicode_script=False,
            normalization_rule_name="nmt_nfkc_cf",
            byte_fallback=True,
            character_coverage=0.9995,
            max_sentencepiece_length=32,
            max_sentence_length=400,
            pad_id=PAD,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=1,
        )


def main(arguments: list[str]) -> int:
    """Train the bundle's vocabulary again from the captions of the train split."""
    from unigeo_jax.data import datasets

    if not 1 <= len(arguments) <= 2:
        print(
            "usage: python -m unigeo_jax.data.tokenizer OUT_FILE [DATA_DIR]",
            file=sys.stderr,
        )
        return 2
    data_dir = arguments[1] if len(arguments) > 1 else None
    records, _ = datasets.load("earth", "train", data_dir, fields=("text",))
    train((record["text"] for record in records), arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
