# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Raw values of a modality (texts, pictures, heights) as its tower takes them.

The code that read them in training reads them here; what that needs (Flax,
SentencePiece, Pillow) is not needed for coordinates.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from unigeo_jax import modalities


def read(
    name: str, tower: Mapping[str, Any], folder: pathlib.Path, values: Sequence[Any]
) -> Any:
    """Read one value a place, without augmentation, and stack them.

    tower: its entry in config.json. Raises ValueError naming the row which the tower
    cannot read (an empty text, a damaged picture).
    """
    module = modalities.get(tower["module"])
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in tower["data"].items()
    }
    if tower.get("vocabulary"):
        options["vocab"] = str(folder / tower["vocabulary"])
    field = options.get("field") or getattr(module, "FIELD", tower["module"])
    if options.get("mask_names"):
        field = "text_masked"
    rows = []
    for row, value in enumerate(values):
        got = module.read({field: value}, None, **options)
        if got is None:
            raise ValueError(
                f"{name}: row {row} is empty; allowed: what the tower can read"
            )
        rows.append(got)
    return jax.tree.map(lambda *parts: np.stack(parts), *rows)
