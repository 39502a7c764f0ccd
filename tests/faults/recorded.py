# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/train.py, that also writes down what it reads, steps, saves and restores.

python tests/faults/recorded.py LOG STEP:PROCESS launch flags...

LOG gets one JSON object a line, from every process of the job. In the batch of STEP
(0: of none) PROCESS gets a number that is not finite. Even small parameters are split
over `fsdp` devices.
"""

import functools
import json
import os
import runpy
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from unigeo_jax import checkpoint, sharding, train, workdir
from unigeo_jax.data import pipeline


def write(log, **what):
    what |= {"process": jax.process_index(), "processes": jax.process_count()}
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


def whole(x):
    """All of an array, on every process."""
    if x.is_fully_replicated:
        return np.asarray(x.addressable_data(0))
    if x.is_fully_addressable:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def digest(state):
    return workdir.digest(jax.tree.map(whole, state))


def own(state):
    """What this process's devices hold, without the counters."""
    parts = [
        [x.data for x in leaf.addressable_shards]
        for leaf in jax.tree.leaves((state.params, state.opt_state))
    ]
    return workdir.digest(jax.device_get(parts))


def spoiled(batch):
    """The batch, its first floating input of its first place not finite."""
    leaves, structure = jax.tree.flatten(batch["x"])
    at = next(i for i, x in enumerate(leaves) if np.issubdtype(x.dtype, np.floating))
    leaves[at] = leaves[at].copy()
    leaves[at].flat[0] = np.nan
    return batch | {"x": jax.tree.unflatten(structure, leaves)}


def record(log, step, process):
    """Puts itself between training and what it calls."""
    read, prepare = pipeline.train_batches, train.prepare
    save, restore = checkpoint.Checkpoints.save, checkpoint.Checkpoints.restore

    def train_batches(*args, start, **options):
        batches = read(*args, start=start, **options)
        for number, batch in enumerate(batches, start + 1):
            if (number, jax.process_index()) == (step, process):
                batch = spoiled(batch)
            write(log, read=number, rows=batch["index"].tolist())
            yield batch

    def prepared(*args, **options):
        run = prepare(*args, **options)

        @functools.wraps(run.step)
        def stepped(state, batch, constants):
            number = int(jax.device_get(state.step)) + 1
            before = own(state) if number == step else ""
            state, values = run.step(state, batch, constants)
            if number == step:
                write(log, step=number, same=own(state) == before)
            return state, values

        return run._replace(step=stepped)

    def saved(self, number, state):
        write(log, save=number, digest=digest(state))
        save(self, number, state)

    def restored(self, number, abstract):
        state = restore(self, number, abstract)
        write(log, restore=number, digest=digest(state))
        return state

    pipeline.train_batches, train.prepare = train_batches, prepared
    checkpoint.Checkpoints.save, checkpoint.Checkpoints.restore = saved, restored
    sharding.MIN_FSDP_SIZE = 1


if __name__ == "__main__":
    where, spoil, *flags = sys.argv[1:]
    record(where, *(int(x) for x in spoil.split(":")))
    sys.argv = [os.path.join("launch", "train.py"), *flags]
    runpy.run_path(sys.argv[0], run_name="__main__")
