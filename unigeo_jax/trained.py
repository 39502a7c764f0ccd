# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A trained workdir brought back, to be evaluated, distilled, exported."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from unigeo_jax import checkpoint, modalities, sharding, tasks, train, workdir
from unigeo_jax.data import pipeline

# In a workdir: lat and lon of what it was made over, where that is not a dataset.
PLACES = "places.npz"


class Trained(NamedTuple):
    """What a workdir holds, without an optimiser.

    params: of the newest checkpoint, `step`, laid out over `mesh`.
    readers: of the towers; constants: theirs, on the host.
    fresh: draws the parameters that the run started from.
    """

    config: Any
    params: Any
    step: int
    mesh: Mesh
    task: tasks.Task
    readers: list[pipeline.Reader]
    constants: Any
    fresh: Callable[[], Any]


def restore(
    folder: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    mesh: Mesh | None = None,
) -> Trained:
    """Reads the newest checkpoint of a workdir, trained on however many devices.

    No optimiser is built and its moments stay on the disk. Without `mesh` one device
    holds the parameters. The dataset, in `data_dir`, is opened only where towers have
    constants of it.

    Raises:
      ValueError: the folder is no workdir, or has no checkpoint.
    """
    config = workdir.read_about(folder)["config"]
    kept = folder / "checkpoints"
    step, damaged = checkpoint.newest_good(
        kept, config.checkpoint.get("fall_back", True)
    )
    for line in damaged:
        workdir.warn(line)
    if step is None:
        raise ValueError(f"--workdir {folder}: no checkpoint yet; train it first")
    mesh = mesh or sharding.make_mesh(devices=jax.local_devices()[:1])
    readers = pipeline.readers(config.towers, modalities.get)
    constants = pipeline.constants(config, modalities.get, data_dir, mesh.size)
    task = train.whole_task(config, mesh)
    example = pipeline.example_batch(readers)

    def init() -> Any:
        return task.init(jax.random.key(config.seed), example, constants)

    shapes = jax.eval_shape(init)
    shardings = sharding.state_shardings(shapes, mesh)
    abstract = checkpoint.abstract_like(shapes, shardings)
    params = checkpoint.restore_field(kept, step, abstract, "params")
    fresh = jax.jit(init, out_shardings=shardings)
    return Trained(config, params, step, mesh, task, readers, constants, fresh)


def write(
    folder: pathlib.Path, config: Any, tower: dict[str, Any], step: int = 0
) -> None:
    """A workdir of one checkpoint of coordinates alone, not trained by `train.fit`.

    Args:
      folder: the workdir to make.
      config: of a student: one tower, `coords`.
      tower: its parameters, those that differ from the ones it would start with.
      step: how many steps made them, wherever that was.

    Raises:
      ValueError: a workdir of another config.
    """
    workdir.check(folder, config)
    x = {"coords": np.zeros((1, 2), np.float32)}
    example: Any = {"index": np.zeros(1, np.int32), "cell": np.zeros((1, 2), np.int32)}
    example |= {"here": {"coords": np.ones(1, bool)}, "x": x}
    mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
    state = train.prepare(config, mesh, example).init()
    tower = jax.tree.map(jax.numpy.asarray, state.params["coords"] | tower)
    params, count = state.params | {"coords": tower}, jax.numpy.int32(step)
    state = dataclasses.replace(state, params=params, step=count)
    workdir.claim(folder, config)
    with contextlib.closing(checkpoint.Checkpoints(folder / "checkpoints")) as saves:
        saves.save(step, state)
        saves.wait()
