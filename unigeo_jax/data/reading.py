# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Record numbers to a batch: every modality of a place, augmented, each in its row."""

import pathlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from unigeo_jax.data import datasets, seeding
from unigeo_jax.types import Batch

Reader = tuple[str, ModuleType, dict[str, Any]]  # name, modality file, its data options

# Places whose records are read, then one modality of all of them, then the next: code
# and data stay in the processor's caches.
TOGETHER, TOGETHER_BYTES = 32, 16_000_000


class ReadPlaces:
    """Record numbers and seeds -> a batch of the Batch structure.

    Args:
      source: random access to decoded records.
      cell: int64 (n,), cell id of each record.
      readers: one (name, modality file, data options) for every tower.
      folder: of the dataset, for modalities that complete whole batches from it.
    """

    def __init__(
        self,
        source: Sequence[dict[str, Any]],
        cell: np.ndarray,
        readers: Sequence[Reader],
        folder: pathlib.Path | None = None,
    ) -> None:
        self._source, self._folder = source, folder
        self._cell = np.ascontiguousarray(cell, np.int64)
        self._readers, self._told = readers, set()
        self._zeros = {
            name: module.spec(**options) for name, module, options in readers
        }
        self._straight: dict[str, tuple[str, str]] = {}  # field: tower, key
        for name, module, options in readers:
            if hasattr(module, "straight"):
                for field, key in module.straight(**options).items():
                    self._straight.setdefault(field, (name, key))

    def batch(
        self,
        numbers: np.ndarray,
        seeds: np.ndarray | None,
        empty: Callable[..., np.ndarray] = np.empty,
    ) -> Batch:
        """Reads the records `numbers`; without seeds there is no augmentation.

        All modalities of a place draw from generators in the same state, so that what
        they draw first (symmetry, shift) agrees. `empty` makes the arrays of `x`.
        """
        b = len(numbers)
        bits = np.random.SFC64(0)
        rng = None if seeds is None else np.random.Generator(bits)
        states, state = seeding.sfc64([] if seeds is None else seeds), bits.state
        x = {}
        for name, module, _ in self._readers:
            # What `gather` takes the place of would leave a hole.
            make = np.empty if hasattr(module, "gather") else empty
            x[name] = _rows_of(make, b, self._zeros[name])
        here = {name: np.zeros(b, bool) for name in x}
        bad, straight = np.zeros(b, bool), self._straight.items()
        begin, together = 0, 1
        while begin < b:
            records = []
            for row in range(begin, min(begin + together, b)):
                place = {f: x[name][key][row] for f, (name, key) in straight}
                record = self._record(int(numbers[row]), place)
                bad[row] = record is None or datasets.DAMAGED in record
                records.append((row, record, place))
            for name, module, options in self._readers:
                own = [(f, key) for f, (tower, key) in straight if tower == name]
                for row, record, place in records:
                    if rng is not None:
                        state["state"]["state"] = states[row]
                        bits.state = state
                    value = None
                    if record is not None:
                        value = module.read(record, rng, **options)
                    here[name][row] = value is not None
                    _store(x[name], row, value, {key: place[f] for f, key in own})
            begin, together = (
                begin + together,
                _together([record for _, record, _ in records]),
            )
        for name, module, options in self._readers:
            if hasattr(module, "gather"):
                x[name] = module.gather(x[name], seeds, self._folder, **options)
        cell = self._cell[numbers]
        words = np.stack([cell >> 32, cell & 0xFFFFFFFF], axis=1)
        if seeds is not None:
            numbers = np.where(bad, -1 - numbers, numbers)
        return {
            "index": numbers.astype(np.int32),
            "cell": words.astype(np.uint32).view(np.int32),
            "here": here,
            "x": x,
        }

    def _record(self, number: int, into: dict[str, Any]) -> dict[str, Any] | None:
        """Reads a record, None if it cannot be; says so, and what of it is damaged."""
        try:
            record = datasets.read_into(self._source, number, into)
        except datasets.BadRecord as error:
            self._tell(number, str(error))
            return None
        if what := ", ".join(record.get(datasets.DAMAGED, ())):
            self._tell(number, f"{self.where(number)}: damaged {what}")
        return record

    def where(self, number: int) -> str:
        """Names a record and, where it has one, its file."""
        source: Any = getattr(self._source, "source", self._source)
        file = f" of {source.file_of(number)}" if hasattr(source, "file_of") else ""
        return f"record {number}{file}"

    def __len__(self) -> int:
        return len(self._source)

    def _tell(self, number: int, text: str) -> None:
        """Says it on standard error, once a record and process."""
        if number not in self._told:
            self._told.add(number)
            print(f"warning: masked: {text}", file=sys.stderr, flush=True)


def _rows_of(make: Callable[..., np.ndarray], count: int, zeros: Any) -> Any:
    return jax.tree.map(lambda z: make((count, *z.shape), z.dtype), zeros)


def _store(into: Any, row: int, value: Any, place: dict[str, np.ndarray]) -> None:
    """Fills a row, with zeros where `value` is None or lacks a key.

    `place`: arrays of the row by key; one that is given itself lies there already.
    """
    if not isinstance(into, dict):
        into[row] = 0 if value is None else value
        return
    value = value or {}
    for key in into.keys() | value.keys():
        given = value.get(key, 0)
        if key not in place or given is not place[key]:
            into[key][row] = given


def _together(records: list[dict[str, Any] | None]) -> int:
    """How many places to read at once if they are as large as the largest of these."""
    sizes = [
        sum([getattr(value, "nbytes", 0) for value in (record or {}).values()])
        for record in records
    ]
    return min(max(TOGETHER_BYTES // max(*sizes, 1), 1), TOGETHER)
