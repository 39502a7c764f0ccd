# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text to token ids: SentencePiece, by default the vocabulary of the bundle.

The bundle's pieces span whole phrases (` 5 km ne`, ` united states`), so the start of
a caption fits into two dozen tokens. It was trained on captions of the train split
only: `python -m unigeo_jax.data.tokenizer OUT_FILE [DATA_DIR]` trains it again.
"""

import functools
import os
import pathlib
import re
import sys
from collections.abc import Iterable

import sentencepiece

VOCABULARY = pathlib.Path(__file__).parent / "bundle" / "vocabulary.model"
SIZE = 8192
PAD = 0
# Names, numbers and distances are learnt apart, so that no piece joins the end of a
# name to a distance: `Zermatt | 5 km NE`, `1.2 | million people within 100 km`.
_SEAM = re.compile(
    r" (?=\d+ km [NESW]+$)| (?=has \d)|(?<=^\d) |(?<=^\d\d) |(?<=^\d\.\d) |(?<=^\d{3}) "
)


class Tokenizer:
    """A SentencePiece model: `encode` a text, `size` of its vocabulary."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = pathlib.Path(path)
        if not path.is_file():
            raise ValueError(
                f"vocabulary {path} is not a file, allowed: a SentencePiece model"
            )
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
        return self._processor.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, as far as the model's folding keeps it."""
        return self._processor.decode([int(i) for i in ids if i != PAD])


@functools.lru_cache(maxsize=8)
def load(path: str | os.PathLike[str] | None = None) -> Tokenizer:
    """Open a vocabulary file, None = the bundle's.

    Raises:
      ValueError: no such file, or not a SentencePiece model.
    """
    return Tokenizer(path or VOCABULARY)


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
