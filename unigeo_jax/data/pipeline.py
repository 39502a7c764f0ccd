# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Records to batches: read every modality of a place, augment, batch, slice by process.

A batch is a pure function of (seed, step). Process p of n takes positions p, p + n, ...
of each global batch, whatever the number of workers.
"""

import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import grain
import jax
import numpy as np

from unigeo_jax.data import budget, datasets, order, slots
from unigeo_jax.data.reading import Reader, ReadPlaces
from unigeo_jax.types import Batch


class ReadStep(grain.transforms.Map):
    """Step -> this process's rows of its batch, in the order of `places`."""

    def __init__(
        self,
        read: ReadPlaces,
        places: order.BatchOrder,
        process: tuple[int, int],
        block: slots.Block,
        skip: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._read, self._places, self._skip = read, places, skip
        self._block = block
        self._process, self._processes = process

    def map(self, element: int) -> Batch:
        batch, seed = self._places.batch, self._places.seed
        rows = range(self._process, batch, self._processes)
        step = int(element)
        step += sum(count for start, count in self._skip if start <= int(element))
        numbers = np.array([self._places[step * batch + row] for row in rows])
        words = np.random.SeedSequence((seed, step))
        seeds = words.generate_state(batch, np.uint64)
        own = seeds[rows.start :: rows.step]
        return self._read.batch(numbers, own, self._block.empty())


def fitted(config: Any, devices: int, places: int) -> Any:
    """A copy of `config` that fits the number of training places.

    A batch has no more places than there are, but as many as devices and microbatch ask
    for; `config.stop.every` 0 becomes the steps that pass over them all.
    """
    config = config.copy_and_resolve_references()
    unit = math.lcm(devices, config.microbatch or 1)
    with config.unlocked():
        config.batch = min(config.batch, max(places // unit, 1) * unit)
        config.stop.every = config.stop.every or math.ceil(places / config.batch)
    return config


def positions(index: dict[str, np.ndarray], config: Any) -> order.BatchOrder:
    """The order of places that `config` and the dataset's index give.

    Raises:
      ValueError: an empty split, a neighbourhood out of range, or regions to balance
        in a dataset without them.
    """
    balance = config.data.get("balance", False)
    if balance and "region" not in index:
        raise ValueError(
            f"config.data.balance: got True; dataset {config.data.name} has no regions;"
            " allowed: a table of places with a column region"
        )
    return order.BatchOrder(
        index["lat"],
        index["lon"],
        batch=config.batch,
        steps=config.steps,
        seed=config.seed,
        **config.data.neighbourhood,
        region=index["region"] if balance else None,
    )


def train_batches(
    read: ReadPlaces,
    places: order.BatchOrder,
    *,
    data: Any,
    start: int,
    process: tuple[int, int] | None = None,
) -> Iterator[Batch]:
    """Host-local batches from step `start` to the last.

    Args:
      read: the records and how they are read.
      places: which record stands where.
      data: `config.data`: workers, threads, prefetch.
      start: the first step to yield.
      process: (p, n); default: this process of the job.

    Raises:
      ValueError: the batch cannot be split over the processes.
    """
    p, n = process or (jax.process_index(), jax.process_count())
    if places.batch % n:
        raise ValueError(
            f"config.batch: got {places.batch}; allowed: a multiple of {n} processes"
        )
    # One element of the MapDataset is a whole batch: Grain's cost an element, about
    # 0.3 ms, would otherwise exceed that of reading a small place.
    block = slots.Block()
    reading = ReadStep(read, places, (p, n), block, data.get("skip", ()))
    batches = grain.MapDataset.range(places.steps).map(reading)[start:]
    rows = batches.to_iter_dataset(grain.ReadOptions(data.threads, data.prefetch))
    if data.workers:
        processes = grain.MultiprocessingOptions(num_workers=data.workers)
        rows = slots.empty(rows.map(slots.Fill(block)).mp_prefetch(processes))
    return budget.within(iter(rows), read, data.get("max_bad", 0.001))


def gallery(
    source: Sequence[dict[str, Any]],
    index: dict[str, np.ndarray],
    readers: Sequence[Reader],
    *,
    size: int,
    batch: int,
    process: tuple[int, int] | None = None,
    folder: pathlib.Path | None = None,
) -> Iterator[Batch]:
    """Yields host-local rows of `size` records, without augmentation.

    The gallery is the same for everybody: a fixed random draw. The last batch is filled
    up by repeating its last record, with -1 as `index`.
    """
    p, n = process or (jax.process_index(), jax.process_count())
    numbers = np.sort(np.random.default_rng(0).permutation(len(source))[:size])
    read = ReadPlaces(source, index["cell"], readers, folder)
    for begin in range(0, len(numbers), batch):
        chunk = numbers[begin : begin + batch]
        filled = np.pad(chunk, (0, batch - len(chunk)), mode="edge")
        local = filled[p * batch // n : (p + 1) * batch // n]
        rows = read.batch(local, None)
        rows["index"][p * batch // n + np.arange(len(local)) >= len(chunk)] = -1
        yield rows


def example_batch(readers: Sequence[Reader]) -> Batch:
    """A batch of one empty place: the structure, shapes and dtypes of every batch."""
    one = {
        "index": np.int32(0),
        "cell": np.zeros(2, np.int32),
        "here": {name: np.bool_(False) for name, _, _ in readers},
        "x": {name: module.spec(**options) for name, module, options in readers},
    }
    return jax.tree.map(lambda x: np.asarray(x)[None], one)


def check_modalities(
    source: Sequence[dict[str, Any]],
    readers: Sequence[Reader],
    what: str,
) -> None:
    """Refuses a dataset in which no place at all has some modality.

    Reads places in random order until each modality was seen: a few, or all of them.

    Raises:
      ValueError: names the modality, the dataset and the fields that its records have.
      TooManyBad: no record can be read; names the file of one.
    """
    missing = {name for name, _, _ in readers}
    record, first = {}, None
    for number in np.random.default_rng(0).permutation(len(source)):
        try:
            record = source[int(number)]
        except datasets.BadRecord as error:
            first = first or error
            continue
        for name, module, options in readers:
            if name in missing and module.read(record, None, **options) is not None:
                missing.discard(name)
        if not missing:
            return
    if not record and first:
        raise datasets.TooManyBad(f"none of {len(source)} records: {first}")
    raise ValueError(
        f"dataset {what}: none of {len(source)} places has"
        f" {', '.join(sorted(missing))}; record fields: {', '.join(sorted(record))};"
        " take the tower out of config.towers or add the data"
    )


def readers(towers: Any, get: Callable[[str], ModuleType]) -> list[Reader]:
    """One Reader for every entry of `config.towers`; `get` maps a name to its file.

    A modality file may have `check(data, net)`, which raises where options of reading
    do not fit those of the network.
    """
    found = []
    for name, tower in towers.items():
        module, data = get(tower.module or name), tower.data.to_dict()
        if hasattr(module, "check"):
            module.check(data, tower.net.to_dict())
        found.append((name, module, data))
    return found


def constants(
    config: Any,
    get: Callable[[str], ModuleType],
    data_dir: pathlib.Path | None,
    shards: int,
) -> dict[str, Any]:
    """{tower: what its modality file's `constants` gives}, {} where none has any.

    The dataset is opened only where a tower asks for it. `shards`: devices of the mesh.
    """
    found = {}
    for name, tower in config.towers.items():
        module = get(tower.module or name)
        if hasattr(module, "constants"):
            found[name] = module.constants(
                tower.data.to_dict(),
                tower.net.to_dict(),
                datasets.find(config.data.name, data_dir),
                functools.partial(_records, config.data, data_dir),
                shards,
            )
    return found


def _records(
    data: Any, data_dir: pathlib.Path | None, fields: Sequence[str], count: int | None
) -> list[dict[str, Any]]:
    """`count` training records, drawn at random but always the same; None: all.

    Those that cannot be read are left out.
    """
    source, _ = datasets.load(data.name, data.split, data_dir, fields)
    numbers = np.random.default_rng(0).permutation(len(source))[:count]
    return list(datasets.readable(source, numbers))
