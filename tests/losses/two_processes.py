# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One of two processes that compute the losses of a batch saved in a file.

python two_processes.py HOST:PORT NUMBER BATCH.npz OUT.npz
"""

import sys

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax.losses import contrastive, ring, tiled


def main(coordinator: str, number: str, batch: str, out: str) -> None:
    jax.distributed.initialize(coordinator, 2, int(number))
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    everywhere = NamedSharding(mesh, P())
    by_place = {"z": P(None, mesh.axis_names), "here": P(None, mesh.axis_names)}
    by_place["cell"] = P(mesh.axis_names)
    with np.load(batch) as file:
        data = {
            name: jax.make_array_from_callback(
                x.shape, NamedSharding(mesh, by_place.get(name, P())), x.__getitem__
            )
            for name, x in file.items()
            if name != "weights"
        }
        weights_mm = file["weights"]

    def gather(x):
        return jax.lax.with_sharding_constraint(x, everywhere)

    found = {}
    for name, loss, options in (
        ("plain", contrastive.loss, {"gather": gather}),
        ("tiled", tiled.loss, {"mesh": mesh, "tile": 5}),
        ("ring", ring.loss, {"mesh": mesh, "tile": 5}),
    ):

        def scalar(z, tau, here, cell, loss=loss, options=options):
            return loss(z, here, cell, weights_mm, tau, **options)

        run = jax.jit(jax.value_and_grad(scalar, argnums=(0, 1), has_aux=True))
        results = run(data["z"], data["tau"], data["here"], data["cell"])
        whole = multihost_utils.process_allgather(results, tiled=True)
        for leaf, x in enumerate(jax.tree.leaves(whole)):
            found[f"{name}{leaf}"] = np.asarray(x)
    if number == "0":
        np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
