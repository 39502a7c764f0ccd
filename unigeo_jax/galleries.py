# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Places of whole splits as every modality sees them: what evaluation is given."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unigeo_jax import sharding, tasks
from unigeo_jax.data import datasets, pipeline
from unigeo_jax.data.splits import SPLITS
from unigeo_jax.types import Batch


class Gallery(NamedTuple):
    """Places of one split as every modality sees them, ready for `retrieval.run`.

    z: {modality: float32 (n, d)}; here: {modality: bool (n,)}; lat, lon in degrees.
    """

    z: dict[str, np.ndarray]
    here: dict[str, np.ndarray]
    lat: np.ndarray
    lon: np.ndarray
    block: np.ndarray


def of_all_places(config: Any, data_dir: pathlib.Path | None = None) -> Any:
    """A copy of `config` whose galleries hold every place of every split there is."""
    config = config.copy_and_resolve_references()
    folder = datasets.find(config.data.name, data_dir)
    names = (name for name in SPLITS if (folder / f"index-{name}.npz").exists())
    with config.unlocked():
        config.eval.splits = tuple(names)
        config.eval.gallery, config.eval.batch = sys.maxsize, 1024
    return config


def make(
    config: Any,
    mesh: Mesh,
    task: tasks.Task,
    readers: list[pipeline.Reader],
    data_dir: pathlib.Path | None,
    constants: Any = None,
) -> Callable[[Any], dict[str, Gallery]]:
    """Returns params -> {split: Gallery} over `config.eval.splits`.

    constants: of the task's towers, on the devices of `mesh`.
    """
    constants = constants or {}
    names = [name for name, _, _ in readers]
    batch = -(-config.eval.batch // mesh.size) * mesh.size
    folder = datasets.find(config.data.name, data_dir)
    splits = {
        split: datasets.load(config.data.name, split, data_dir)
        for split in config.eval.splits
    }

    def embed(
        params: Any, rows: Batch, constants: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        here_mb = jnp.stack([rows["here"][name] for name in names])
        z_mbd = task.embed(params, rows["x"], constants)
        return z_mbd, here_mb, rows["index"]

    # Every process gets the whole of it; rows tell by `index` who they are, because
    # the mesh may order devices otherwise than by process.
    embed = jax.jit(embed, out_shardings=sharding.replicated(mesh))

    def one_split(params: Any, source: Any, index: dict[str, np.ndarray]) -> Gallery:
        z, here, numbers = [], [], []
        options = {"size": config.eval.gallery, "batch": batch, "folder": folder}
        for local in pipeline.gallery(source, index, readers, **options):
            rows = sharding.to_global(local, mesh)
            z_mbd, here_mb, index_b = embed(params, rows, constants)
            real = np.asarray(index_b) >= 0
            z.append(np.asarray(z_mbd)[:, real])
            here.append(np.asarray(here_mb)[:, real])
            numbers.append(np.asarray(index_b)[real])
        order = np.concatenate(numbers)
        return Gallery(
            dict(zip(names, np.concatenate(z, axis=1), strict=True)),
            dict(zip(names, np.concatenate(here, axis=1), strict=True)),
            index["lat"][order],
            index["lon"][order],
            index["block"][order],
        )

    return lambda params: {
        split: one_split(params, *data) for split, data in splits.items()
    }
