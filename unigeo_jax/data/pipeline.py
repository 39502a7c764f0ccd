# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Records to batches: read every modality of a place, augment, batch, slice by process.

A batch is a pure function of (seed, step). Process p of n takes positions p, p + n, ...
of each global batch, whatever the number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import grain
import jax
import numpy as np

from unigeo_jax.data import order
from unigeo_jax.types import Batch

Reader = tuple[str, ModuleType, dict[str, Any]]  # name, modality file, its data options


class ReadPlaces:
    """Record numbers and seeds -> a batch of the Batch structure.

    Args:
      source: random access to decoded records.
      cell: int64 (n,), cell id of each record.
      readers: one (name, modality file, data options) for every tower.
    """

    def __init__(
        self,
        source: Sequence[dict[str, Any]],
        cell: np.ndarray,
        readers: Sequence[Reader],
    ) -> None:
        self._source = source
        self._cell = np.ascontiguousarray(cell, np.int64)
        self._readers = readers
        self._zeros = {
            name: module.spec(**options) for name, module, options in readers
        }

    def batch(self, numbers: np.ndarray, seeds: np.ndarray | None) -> Batch:
        """Reads the records `numbers`; without seeds there is no augmentation.

        All modalities of a place draw from generators in the same state, so that what
        they draw first (symmetry, shift) agrees.
        """
        b = len(numbers)
        bits = np.random.SFC64(0)
        rng = None if seeds is None else np.random.Generator(bits)
        x = {
            name: jax.tree.map(lambda z: np.zeros((b, *z.shape), z.dtype), zeros)
            for name, zeros in self._zeros.items()
        }
        here = {name: np.zeros(b, bool) for name in x}
        latlon = np.zeros((2, b), np.float32)
        for row, number in enumerate(numbers):
            record = self._source[int(number)]
            latlon[:, row] = record["lat"], record["lon"]
            state = None if seeds is None else np.random.SFC64(int(seeds[row])).state
            for name, module, options in self._readers:
                if state is not None:
                    bits.state = state
                value = module.read(record, rng, **options)
                if value is not None:
                    here[name][row] = True
                    _store(x[name], row, value)
        cell = self._cell[numbers]
        words = np.stack([cell >> 32, cell & 0xFFFFFFFF], axis=1)
        return {
            "index": numbers.astype(np.int32),
            "cell": words.astype(np.uint32).view(np.int32),
            "lat": latlon[0],
            "lon": latlon[1],
            "here": here,
            "x": x,
        }


def _store(into: Any, row: int, value: Any) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            into[key][row] = part
    else:
        into[row] = value


class ReadStep(grain.transforms.Map):
    """Step -> this process's rows of its batch, in the order of `positions`."""

    def __init__(
        self,
        read: ReadPlaces,
        positions: order.BatchOrder,
        batch: int,
        seed: int,
        process: tuple[int, int],
    ) -> None:
        self._read, self._positions = read, positions
        self._batch, self._seed = batch, seed
        self._process, self._processes = process

    def map(self, element: int) -> Batch:
        first = int(element) * self._batch
        rows = range(first + self._process, first + self._batch, self._processes)
        numbers = np.array([self._positions[row] for row in rows])
        seeds = np.random.SeedSequence((self._seed, int(element))).generate_state(
            self._batch, np.uint64
        )
        return self._read.batch(numbers, seeds[self._process :: self._processes])


class Memo(Sequence):
    """Keeps decoded records of a small dataset in memory after their first read.

    Safe under threads: a record may be decoded twice, never half.
    """

    def __init__(self, source: Sequence[dict[str, Any]]) -> None:
        self._source = source
        self._kept: list[dict[str, Any] | None] = [None] * len(source)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, number):
        record = self._kept[number]
        if record is None:
            record = self._kept[number] = self._source[number]
        return record


def memo_if_small(
    source: Sequence[dict[str, Any]], limit_mb: float
) -> Sequence[dict[str, Any]]:
    """Wraps `source` in a Memo if all its records should fit into `limit_mb`."""
    if not len(source) or limit_mb <= 0:
        return source
    sizes = [np.asarray(value).nbytes for value in source[0].values()]
    megabytes = (sum(sizes) + 100 * len(sizes)) * len(source) / 2**20
    return Memo(source) if megabytes <= limit_mb else source


def train_batches(
    source: Sequence[dict[str, Any]],
    index: dict[str, np.ndarray],
    readers: Sequence[Reader],
    *,
    data: Any,
    batch: int,
    steps: int,
    seed: int,
    start: int,
    process: tuple[int, int] | None = None,
) -> Iterator[Batch]:
    """Host-local batches from step `start` to `steps`.

    Args:
      source, index: of `datasets.load`.
      readers: one for every tower.
      data: `config.data`: neighbourhood, cache_mb, workers, threads, prefetch.
      batch: places in the global batch.
      steps, seed, start: length of the run, its seed, the first step to yield.
      process: (p, n); default: this process of the job.

    Raises:
      ValueError: the batch cannot be split over the processes.
    """
    p, n = process or (jax.process_index(), jax.process_count())
    if batch % n:
        raise ValueError(
            f"config.batch: got {batch}; allowed: a multiple of {n} processes"
        )
    if data.workers == 0:
        source = memo_if_small(source, data.cache_mb)
    positions = order.BatchOrder(
        index["lat"],
        index["lon"],
        batch=batch,
        steps=steps,
        seed=seed,
        fraction=data.neighbourhood.fraction,
        size=data.neighbourhood.size,
    )
    # One element of the MapDataset is a whole batch: Grain's cost an element, about
    # 0.3 ms, would otherwise exceed that of reading a small place.
    read = ReadStep(
        ReadPlaces(source, index["cell"], readers), positions, batch, seed, (p, n)
    )
    batches = grain.MapDataset.range(steps).map(read)[start:]
    options = grain.ReadOptions(
        num_threads=data.threads, prefetch_buffer_size=data.prefetch
    )
    rows = batches.to_iter_dataset(options)
    if data.workers:
        rows = rows.mp_prefetch(grain.MultiprocessingOptions(num_workers=data.workers))
    return iter(rows)


def gallery(
    source: Sequence[dict[str, Any]],
    index: dict[str, np.ndarray],
    readers: Sequence[Reader],
    *,
    size: int,
    batch: int,
    process: tuple[int, int] | None = None,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yields (record numbers of the global batch, host-local rows), not augmented.

    The gallery is the same `size` records for everybody: a fixed random draw. The last
    batch is filled up by repeating its last record; record number -1 marks the filling.
    """
    p, n = process or (jax.process_index(), jax.process_count())
    numbers = np.sort(np.random.default_rng(0).permutation(len(source))[:size])
    read = ReadPlaces(source, index["cell"], readers)
    for begin in range(0, len(numbers), batch):
        chunk = numbers[begin : begin + batch]
        filled = np.pad(chunk, (0, batch - len(chunk)), mode="edge")
        local = filled[p * batch // n : (p + 1) * batch // n]
        marked = np.pad(chunk, (0, batch - len(chunk)), constant_values=-1)
        yield marked, read.batch(local, None)


def example_batch(readers: Sequence[Reader]) -> Batch:
    """A batch of one empty place: the structure, shapes and dtypes of every batch."""
    one = {
        "index": np.int32(0),
        "cell": np.zeros(2, np.int32),
        "lat": np.float32(0),
        "lon": np.float32(0),
        "here": {name: np.bool_(False) for name, _, _ in readers},
        "x": {name: module.spec(**options) for name, module, options in readers},
    }
    return jax.tree.map(lambda x: np.asarray(x)[None], one)


def check_modalities(
    source: Sequence[dict[str, Any]],
    readers: Sequence[Reader],
    what: str,
    sample: int = 256,
) -> None:
    """Refuses a dataset in which none of up to `sample` places has some modality.

    Raises:
      ValueError: names the modality, the dataset and the fields that its records have.
    """
    numbers = np.random.default_rng(0).permutation(len(source))[:sample]
    missing = {name for name, _, _ in readers}
    record: dict[str, Any] = {}
    for number in numbers:
        record = source[int(number)]
        for name, module, options in readers:
            if name in missing and module.read(record, None, **options) is not None:
                missing.discard(name)
        if not missing:
            return
    raise ValueError(
        f"dataset {what}: none of {len(numbers)} sampled places has"
        f" {', '.join(sorted(missing))}; record fields: {', '.join(sorted(record))};"
        " take the tower out of config.towers or add the data"
    )


def readers(towers: Any, get: Callable[[str], ModuleType]) -> list[Reader]:
    """One Reader for every entry of `config.towers`; `get` maps a name to its file."""
    return [
        (name, get(tower.module or name), tower.data.to_dict())
        for name, tower in towers.items()
    ]
