# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles one program of benchmarks/scaling.py and prints what it holds, one line."""

import dataclasses
import functools
import json
import re
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax import sharding
from unigeo_jax.aot import cost
from unigeo_jax.losses import contrastive, ring, tiled

MODALITIES = ("aerial", "street", "dsm", "text", "coords")


def unmasked(z_mbd, here_mb, cell_b2, weights_mm, tau_mm):
    """The dense loss without masks, hardness or counts, at its leanest: a peer.

    Positives as row-wise products: taking the diagonal of a sharded matrix would need
    2.6 times the memory (measured).
    """
    del here_mb, cell_b2
    dot = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    pairs = np.argwhere(np.triu(weights_mm))
    total = jnp.float32(0)
    for m, n in pairs:
        logits_bg = dot("bd,gd->bg", z_mbd[m], z_mbd[n]) / tau_mm[m, n]
        total += sum(jax.nn.logsumexp(logits_bg, axis).mean() for axis in (0, 1))
        total -= 2 * (dot("bd,bd->b", z_mbd[m], z_mbd[n]) / tau_mm[m, n]).mean()
    return total / (2 * len(pairs)), {}


def lower(form: str, mesh: Mesh, batch: int, width: int, dtype: str) -> Any:
    """Lowers value and gradients of the all-to-all loss, its batch split over the mesh.

    form: "naive" leaves the plain loss to the compiler, "naive_unmasked" a simpler one;
    "plain" gathers the stacked embeddings once; "tiled" and "ring" place their
    collectives themselves.
    """
    m, axes = len(MODALITIES), sharding.BATCH_AXES
    whole = NamedSharding(mesh, P())
    by_modality = NamedSharding(mesh, P(None, axes))
    by_place = NamedSharding(mesh, P(axes))
    losses = {
        "naive": contrastive.loss,
        "naive_unmasked": unmasked,
        "plain": functools.partial(
            contrastive.loss,
            gather=lambda x: jax.lax.with_sharding_constraint(x, whole),
        ),
        "tiled": functools.partial(tiled.loss, mesh=mesh),
        "ring": functools.partial(ring.loss, mesh=mesh),
    }
    weights_mm = contrastive.all_to_all(MODALITIES)

    def scalar(z_mbd, tau_mm, here_mb, cell_b2):
        return losses[form](z_mbd, here_mb, cell_b2, weights_mm, tau_mm)[0]

    def shaped(shape: tuple[int, ...], kind: Any, placed: NamedSharding) -> Any:
        return jax.ShapeDtypeStruct(shape, kind, sharding=placed)

    run = jax.jit(
        jax.value_and_grad(scalar, argnums=(0, 1)),
        out_shardings=(whole, (by_modality, whole)),
    )
    return run.lower(
        shaped((m, batch, width), jnp.dtype(dtype), by_modality),
        shaped((m, m), np.float32, whole),
        shaped((m, batch), np.bool_, by_modality),
        shaped((batch, 2), np.int32, by_place),
    )


def contents(text: str) -> dict:
    """What a compiled program does on one device, and what its text holds.

    `operations` are collectives as the text has them, a loop's once; `collectives` has
    how often they run and with how many bytes, from `unigeo_jax.aot`.
    """
    counted = cost.read(text)
    found = re.findall(rf" ({'|'.join(cost.COLLECTIVES)})(?:-start)?\(", text)
    return {
        "flops": counted.flops,
        "operations": {kind: found.count(kind) for kind in cost.COLLECTIVES},
        "collectives": {
            kind: dataclasses.asdict(each) for kind, each in counted.collectives.items()
        },
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    if spec["topology"] == "cpu":
        devices = jax.devices()
    else:
        described = topologies.get_topology_desc(spec["topology"], platform="tpu")
        devices = described.devices
    mesh = sharding.make_mesh(devices=devices)
    size = spec["batch"], spec["width"], spec["dtype"]
    began = time.perf_counter()
    program = lower(spec["form"], mesh, *size).compile()
    memory: Any = program.memory_analysis()
    row = {
        "devices": mesh.size,
        "compile_s": time.perf_counter() - began,
        "temp_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
    }
    row |= contents(program.as_text())
    print(json.dumps(row))


if __name__ == "__main__":
    main()
