# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""tasks.json and the CSVs it names, of labels.py and mora_tables.py: read and checked.

What is wrong with such a file is a ValueError that names it.
"""

import csv
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax import jsons

TEXTS = ("name", "file", "target", "kind", "level", "transform", "unit", "sha256")
LISTS = ("group_columns", "leaks")


def entries(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of tasks.json, their values not looked at."""
    path = folder / "tasks.json"
    try:
        found = jsons.read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"tasks {folder}: {path.name}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(e, dict) for e in found):
        raise ValueError(f"{path}: allowed: a list of objects, one a task")
    return found


def check(
    folder: pathlib.Path, entry: Mapping[str, Any], needed: Sequence[str]
) -> pathlib.Path:
    """The CSV of an entry that has all `needed`, and values of the right types.

    `group_columns` and `leaks` are lists of texts, `block_deg` is in degrees, others
    are texts; keys that nothing reads may hold anything.
    """
    where = f"{folder / 'tasks.json'}: task {str(entry.get('name', '?'))[:80]!r}"
    if lacking := [key for key in needed if key not in entry]:
        raise ValueError(f"{where} lacks {', '.join(lacking)}")
    for key, value in entry.items():
        good = True
        if key == "block_deg":
            good = isinstance(value, int | float) and 0 < value <= 360
        elif key in LISTS:
            good = isinstance(value, list) and all(isinstance(t, str) for t in value)
        elif key in TEXTS:
            good = isinstance(value, str)
        if not good:
            raise ValueError(
                f"{where}: {key}={str(value)[:80]}; allowed: texts; lists of texts for"
                f" {', '.join(LISTS)}; for block_deg a number above 0, up to 360"
            )
    path = folder / entry["file"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"task {entry['name']}: {path}: allowed: below {folder}")
    return path


def columns(path: pathlib.Path, sha256: str | None = None) -> dict[str, list[str]]:
    """Cells of a CSV by column, stripped; checked against the hash if there is one."""
    try:
        data = path.read_bytes()
        rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise ValueError(f"{path}: got sha256 {digest}; allowed: {sha256}")
    if not rows:
        raise ValueError(f"{path}: got no rows; allowed: one or more")
    # Cells beyond the header are under None.
    names = [name for name in rows[0] if name is not None]
    return {name: [(row[name] or "").strip() for row in rows] for name in names}


def refuse_missing(
    path: pathlib.Path, table: Mapping[str, Any], wanted: Sequence[str]
) -> None:
    """Raises ValueError unless the table has the columns."""
    if missing := [column for column in wanted if column not in table]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; there are: {', '.join(table)}"
        )


def numbers(
    path: pathlib.Path, column: str, texts: list[str], missing: bool
) -> np.ndarray:
    """Parses a column; where `missing` is allowed, "" and NaN become NaN."""
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            values[row] = float(text) if text or not missing else np.nan
        except ValueError:
            raise ValueError(
                f"{path}: row {row + 2}: {column}={text[:80]!r}; allowed: a number"
            ) from None
    return values
