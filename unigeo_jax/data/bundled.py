# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files of the bundle, each read whole and only if it is the one its manifest names."""

import functools
import hashlib
import pathlib

from unigeo_jax import jsons

BUNDLE = pathlib.Path(__file__).parent / "bundle"
# Made after the bundle, by the tokenizer's own command: not in the manifest.
VOCABULARY = "vocabulary.model"
OTHERS = {
    VOCABULARY: "3946e0a012168f115b44e153e1961a0d8b96b8418ae9918ac301e6074f324047"
}
ADVICE = "pip install --force-reinstall unigeo-jax brings it back"


@functools.cache
def _listed(folder: pathlib.Path) -> dict[str, str]:
    outputs = jsons.read(folder / "manifest.json")["outputs"]
    return {entry["file"]: entry["sha256"] for entry in outputs} | OTHERS


def read(name: str) -> bytes:
    """Bytes of a file of the bundle.

    Raises:
      ValueError: it is missing, or not the one that manifest.json names by SHA-256.
    """
    path = BUNDLE / name
    try:
        data, wanted = path.read_bytes(), _listed(BUNDLE)[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"bundle {path}: {error!r}; {ADVICE}") from error
    got = hashlib.sha256(data).hexdigest()
    if got != wanted:
        raise ValueError(
            f"bundle {path}: was edited or is damaged: SHA-256 {got}; allowed:"
            f" {wanted}, as manifest.json says; {ADVICE}"
        )
    return data
