# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Decoded records of a small dataset, kept in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unigeo_jax.data import datasets


class Memo(Sequence):
    """Keeps decoded records of a small dataset in memory after their first read.

    Safe under threads: a record may be decoded twice, never half.
    """

    def __init__(self, source: Sequence[dict[str, Any]]) -> None:
        self.source = source
        self._kept: list[dict[str, Any] | None] = [None] * len(source)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, number):
        record = self._kept[number]
        if record is None:
            record = self._kept[number] = self.source[number]
        return record


def if_small(
    source: Sequence[dict[str, Any]], limit_mb: float
) -> Sequence[dict[str, Any]]:
    """Wraps `source` in a Memo if all its records should fit into `limit_mb`."""
    records = datasets.readable(source, range(len(source) if limit_mb > 0 else 0))
    record = next((r for r in records if datasets.DAMAGED not in r), None)
    if record is None:
        return source
    sizes = [np.asarray(value).nbytes for value in record.values()]
    megabytes = (sum(sizes) + 100 * len(sizes)) * len(source) / 2**20
    return Memo(source) if megabytes <= limit_mb else source
