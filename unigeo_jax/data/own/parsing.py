# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in one cell of a user's table: numbers, texts, points, lists, paths.

A cell is bytes where it comes from CSV, else what Parquet holds.
"""

import math
import re
from typing import Any

import numpy as np

from unigeo_jax.data.own import problems

NULLS = {"", "na", "nan", "null", "none"}
MOST_TEXT = 20_000  # characters
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")  # all but tab and newline


def number(value: Any) -> float:
    """A cell as a number, NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def numbers(row: int, name: str, value: Any, found: problems.Problems) -> list[float]:
    """A list of numbers; in CSV they are parted by semicolons."""
    if isinstance(value, bytes):
        value = value.split(b";") if value else None
    if value is not None and not isinstance(value, list):
        found.add(row, name, "no list of numbers", problems.MASKED, str(value))
        value = None
    return [number(part) for part in value or ()]


def point(wkb: Any) -> tuple[float, float]:
    """Latitude and longitude of a WKB point; NaN if it is none."""
    if not isinstance(wkb, bytes) or len(wkb) < 21 or wkb[0] not in (0, 1):
        return math.nan, math.nan
    endian = "<" if wkb[0] else ">"
    if np.frombuffer(wkb, f"{endian}u4", 1, 1)[0] % 1000 != 1:
        return math.nan, math.nan
    lon, lat = np.frombuffer(wkb, f"{endian}f8", 2, 5)
    return float(lat), float(lon)


def clean(row: int, name: str, value: Any, found: problems.Problems) -> str:
    """A cell as text: Latin-1 where it is no UTF-8, no control characters, cut."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
            found.add(row, name, "not UTF-8, read as Latin-1", problems.REPAIRED)
    value = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if value.lower() in NULLS:
        return ""
    if len(value) > MOST_TEXT:
        found.add(row, name, f"longer than {MOST_TEXT} characters", problems.REPAIRED)
        value = value[:MOST_TEXT]
    if not value.isprintable() and CONTROL.search(value):
        value = CONTROL.sub("", value)
        found.add(row, name, "control characters", problems.REPAIRED)
    return value


def points(row: int, value: Any, found: problems.Problems) -> str:
    """Points of interest as lines `kind<tab>name<tab>km`, nearest first."""
    if isinstance(value, list):
        value = "\n".join(
            "\t".join(str(p.get(k, "")) for k in ("kind", "name", "km"))
            if isinstance(p, dict)
            else str(p)
            for p in value
        )
    kept = []
    for line in clean(row, "poi", value, found).splitlines():
        parts = line.split("\t")
        km = number(parts[-1]) if len(parts) == 3 else math.nan
        if 0.0 <= km < math.inf:
            kept.append((km, line))
        elif line.strip():
            found.add(
                row, "poi", "not kind, name, km parted by tabs", problems.MASKED, line
            )
    return "\n".join(line for _, line in sorted(kept))


def paths(row: int, name: str, value: Any, found: problems.Problems) -> list[str]:
    if isinstance(value, list):
        parts = [clean(row, name, part, found) for part in value]
    else:
        parts = clean(row, name, value, found).split(";")
    return [part.strip() for part in parts if part.strip()]
