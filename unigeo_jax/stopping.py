# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Early stopping: validation losses, the best parameters, and when it is over.

All it remembers is part of the training state, so a run that was killed and resumed
stops where the straight run does. Source: MobCLIP's release (arXiv 2506.01297), which
stops when the loss of a random tenth has not fallen for ten epochs.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unigeo_jax import sharding, tasks
from unigeo_jax.data import datasets, pipeline
from unigeo_jax.types import Batch

Split = tuple[Sequence[dict[str, Any]], dict[str, np.ndarray]]  # records, index


@flax.struct.dataclass
class Best:
    """The lowest validation loss so far, and the parameters that had it."""

    loss: jax.Array  # float32, infinite before the first
    waited: jax.Array  # int32, measurements since
    params: Any


class Stopping(NamedTuple):
    """When to measure, what to do then, and how long to wait.

    every: steps between measurements.
    patience: measurements without a lower loss after which training ends.
    measure: (training state, last) -> (the same with what was found, {name: number});
      where training ends, because it is the last or of patience, with the parameters
      that were best.
    """

    every: int
    patience: int
    measure: Callable[[Any, bool], tuple[Any, dict[str, float]]]

    def over(self, state: Any) -> bool:
        """Whether patience is at its end."""
        return int(state.best.waited) >= self.patience


def none_yet(params: Any) -> Best:
    """What is known before the first measurement."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Best(jnp.float32(jnp.inf), jnp.int32(0), zeros)


def check(stop: Any) -> None:
    """Raises ValueError for a `config.stop` that names no places, or two sorts."""
    if stop.patience < 0 or stop.every < 0 or not 0 <= stop.share < 1:
        raise ValueError(
            f"config.stop: got patience={stop.patience}, every={stop.every},"
            f" share={stop.share}; allowed: 0 or more, a share below 1"
        )
    if stop.patience and bool(stop.split) == bool(stop.share):
        raise ValueError(
            f"config.stop: got split={stop.split!r} and share={stop.share}; allowed:"
            " the name of a split, or a share above 0 of the training places"
        )


def divide(
    config: Any, places: Split, data_dir: Any = None
) -> tuple[Split, Split | None]:
    """The training places, and those of which the validation loss is taken.

    The second are the split `config.stop.split`, or a random `config.stop.share` of the
    first, rounded down, that is then not trained on; None without early stopping.
    """
    stop, (source, index) = config.stop, places
    if not stop.patience:
        return places, None
    if stop.split:
        return places, datasets.load(config.data.name, stop.split, data_dir)
    count = int(len(source) * stop.share)
    if not count:
        raise ValueError(
            f"config.stop.share: got {stop.share} of {len(source)} places, which is"
            " none; allowed: a share that holds out one or more"
        )
    order = np.random.default_rng((config.seed, 3)).permutation(len(source))

    def part(rows: np.ndarray) -> Split:
        rows = np.sort(rows)
        return Rows(source, rows), {key: x[rows] for key, x in index.items()}

    return part(order[count:]), part(order[:count])


class Rows(Sequence):
    """Some records of a source, in the order of `rows`."""

    def __init__(self, source: Sequence[dict[str, Any]], rows: np.ndarray) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number):
        return self.read_into(number, {})

    def read_into(self, number: int, into: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return datasets.read_into(self._source, int(self._rows[number]), into)


def make(
    config: Any,
    mesh: Mesh,
    task: tasks.Task,
    readers: list[pipeline.Reader],
    held: Split,
    folder: Any,
    constants: Any,
    abstract: Any,
) -> Stopping:
    """Early stopping by the loss of the places `held`, of the dataset in `folder`.

    The loss is that of training, without augmentation and dropout, over all of `held`
    in batches of at most config.batch, each of which counts by its number of places. A
    loss that is not finite is no improvement. `abstract` is the training state's
    shapes with their shardings.
    """
    source, index = held
    unit = math.lcm(mesh.size, config.microbatch or 1)
    batch = -(-min(config.batch, len(source)) // unit) * unit
    options = {"size": len(source), "batch": batch, "folder": folder}

    def batches() -> Iterator[Batch]:
        for local in pipeline.gallery(source, index, readers, **options):
            real = local["index"] >= 0  # the last batch is filled up
            here = {name: here_b & real for name, here_b in local["here"].items()}
            yield sharding.to_global(local | {"here": here}, mesh)

    def one(params: Any, rows: Batch, constants: Any) -> tuple[jax.Array, jax.Array]:
        loss, _ = task.loss_fn(params, rows, None, constants)
        return loss, jnp.sum(rows["index"] >= 0)

    def update(params: Any, best: Best, loss: Any) -> Best:
        better = loss < best.loss
        kept = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), params, best.params
        )
        waited = jnp.where(better, 0, best.waited + 1)
        return Best(jnp.where(better, loss, best.loss), waited, kept)

    one = jax.jit(one, out_shardings=sharding.replicated(mesh))
    shardings = jax.tree.map(lambda x: x.sharding, abstract.best)
    update = jax.jit(update, donate_argnums=1, out_shardings=shardings)

    def measure(state: Any, last: bool) -> tuple[Any, dict[str, float]]:
        found = [one(state.params, rows, constants) for rows in batches()]
        losses, counts = np.array(jax.device_get(found), np.float64).T
        loss = np.float32(np.sum(losses * counts) / np.sum(counts))
        best = update(state.params, state.best, loss)
        state = dataclasses.replace(state, best=best)
        if (last or stop.over(state)) and np.isfinite(best.loss):
            state = dataclasses.replace(state, params=best.params)
        return state, {"val_loss": float(loss), "val_loss_best": float(best.loss)}

    stop = Stopping(config.stop.every, config.stop.patience, measure)
    return stop
