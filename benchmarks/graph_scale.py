# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A synthetic nation: written, sampled and trained here, or compiled for a TPU slice.

Nothing of it is observed: cells on a grid of 6 km as those of H3 resolution 6, flows
drawn by distance (a Pareto law around the origin) and towards lognormal hubs.
"""

import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import protocol
from unigeo_jax.data import adjacency, neighbours
from unigeo_jax.data import graph as graphs

CELLS, WIDTH = 195_574, 442
DIM, FEATURES, TAU = 128, 64, 0.2
CHUNK = 4_000_000
DRAWN = 1.3  # flows drawn an edge: a fifth are drawn twice and add up
FULL_BATCH, SAMPLED_BATCH, TPU_BATCH = 4096, 4096, 20_480
GIB = 2**30


def draw(folder: pathlib.Path, edges: int) -> list[np.memmap]:
    """Draws flows into memory-mapped files: origin, destination, weight."""
    rng = np.random.default_rng(0)
    hub_n = np.cumsum(rng.lognormal(0.0, 1.5, CELLS))
    hub_n /= hub_n[-1]
    busy_n = np.cumsum(rng.lognormal(0.0, 1.0, CELLS))
    busy_n /= busy_n[-1]
    count = int(edges * DRAWN)
    out = [
        np.lib.format.open_memmap(folder / name, "w+", dtype, (count,))
        for name, dtype in (("o.npy", "i4"), ("d.npy", "i4"), ("w.npy", "f4"))
    ]
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        origin = np.searchsorted(busy_n, rng.random(size))
        # Distance in cells: half of the flows stay within 11, some cross the country.
        far = 6.0 * np.maximum(rng.random(size, np.float32), 2**-24) ** (-1 / 1.2)
        angle = 2 * np.pi * rng.random(size, np.float32)
        row = np.rint(origin // WIDTH + far * np.sin(angle)).astype(np.int64)
        col = np.rint(origin % WIDTH + far * np.cos(angle)).astype(np.int64)
        local = row * WIDTH + col
        inside = (row >= 0) & (col >= 0) & (col < WIDTH) & (local < CELLS)
        inside &= (local != origin) & (rng.random(size, np.float32) < 0.7)
        hub = np.searchsorted(hub_n, rng.random(size))
        out[0][start : start + size] = np.minimum(origin, CELLS - 1)
        destination = np.where(inside, local, np.minimum(hub, CELLS - 1))
        out[1][start : start + size] = destination
        out[2][start : start + size] = rng.lognormal(1.0, 1.5, size)
    return out


def nation(edges: int) -> dict[str, Any]:
    """Writes the nation, trains LightGCN on it by samples and in full; figures."""
    found: dict[str, Any] = {"cells": CELLS, "edges_asked": edges}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nation-"))

    def done(name: str, began: float) -> None:
        found[f"{name}_s"] = round(time.perf_counter() - began, 1)
        found[f"peak_gib_after_{name}"] = round(_peak() / GIB, 2)
        print(f"{name}: {found[f'{name}_s']} s", flush=True)

    try:
        began = time.perf_counter()
        flows = draw(folder, edges)
        done("draw", began)
        began = time.perf_counter()
        origin, destination, weight = flows
        graph = graphs.write(folder / "graph", origin, destination, weight, CELLS)
        del origin, destination, weight
        done("write", began)
        files = (folder / "graph").iterdir()
        found |= {
            "edges": graph.edges,
            "disk_gib": _gib(f.stat().st_size for f in files),
        }
        del flows
        began = time.perf_counter()
        a_hat = adjacency.normalise(graph)
        done("normalise", began)
        degree = np.diff(a_hat.indptr_n)
        found |= {"entries": a_hat.edges, "largest_row": int(degree.max())}
        began = time.perf_counter()
        found |= _train_sampled(a_hat)
        done("sampled", began)
        began = time.perf_counter()
        found |= _train_full(a_hat)
        done("full", began)
    finally:
        shutil.rmtree(folder)
    for name, value in found.items():
        print(f"{name:28} {value}")
    return found


def _gib(sizes: Any) -> float:
    return round(sum(sizes) / GIB, 2)


def _peak() -> int:
    return protocol._status_bytes("VmHWM")


def make_step(module: Any, lookup: Any) -> tuple[Any, Any]:
    """Returns (optimiser, step): InfoNCE of cells' vectors and a projected feature.

    step(state, graph, node_b, feature_bf) -> (state, loss); full where node_b picks
    from all vectors, sampled where it is None.
    """
    import jax
    import jax.numpy as jnp
    import optax

    optimiser = optax.adam(1e-2)

    def loss_fn(params, graph, node_b, feature_bf):
        out = module.apply({"params": {"table": params["table"]}}, graph)
        z_bd = out if node_b is None else lookup(out, node_b)
        x_bd = feature_bf @ params["head"]
        z_bd, x_bd = (
            x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))
            for x in (z_bd, x_bd)
        )
        logits_bg = z_bd @ x_bd.T / TAU
        own = jnp.sum(z_bd * x_bd, -1).mean() / TAU
        rows = jax.nn.logsumexp(logits_bg, 0) + jax.nn.logsumexp(logits_bg, 1)
        return rows.mean() / 2 - own

    def step(state, graph, node_b, feature_bf):
        params, moments = state
        loss, grads = jax.value_and_grad(loss_fn)(params, graph, node_b, feature_bf)
        updates, moments = optimiser.update(grads, moments)
        return (optax.apply_updates(params, updates), moments), loss

    return optimiser, step


def _start() -> tuple[Any, np.ndarray]:
    """Returns parameters, and features that neighbouring cells share in part."""
    rng = np.random.default_rng(1)
    table = rng.normal(0, DIM**-0.5, (CELLS, DIM)).astype(np.float32)
    head = rng.normal(0, FEATURES**-0.5, (FEATURES, DIM)).astype(np.float32)
    place = np.stack([np.arange(CELLS) // WIDTH, np.arange(CELLS) % WIDTH], 1) / WIDTH
    wave = place @ rng.normal(0, 20, (2, FEATURES)) + rng.uniform(0, 6, FEATURES)
    return {"table": table, "head": head}, np.sin(wave).astype(np.float32)


def _train_sampled(a_hat: graphs.Graph, steps: int = 12) -> dict[str, Any]:
    import jax

    from unigeo_jax.nn import graph

    began = time.perf_counter()
    sampler = neighbours.prepare(a_hat)
    tables = time.perf_counter() - began
    params, feature_nf = _start()
    optimiser, step = make_step(graph.LightGCN(CELLS, DIM), graph.lookup)
    state = jax.device_put((params, optimiser.init(params)))
    run: Any = jax.jit(step, donate_argnums=0)
    rng = np.random.default_rng(2)
    losses, seconds, drawing = [], [], []
    for number in range(steps):
        began = time.perf_counter()
        node_b = rng.choice(CELLS, SAMPLED_BATCH, replace=False)
        hops = neighbours.sample(sampler, node_b, np.arange(SAMPLED_BATCH), 0, number)
        drawing.append(time.perf_counter() - began)
        state, loss = run(state, tuple(hops), None, feature_nf[node_b])
        losses.append(float(loss))
        seconds.append(time.perf_counter() - began)
    return {
        "sampled_tables_s": round(tables, 1),
        "sampled_step_s": float(np.median(seconds[2:])),
        "sampled_draw_s": float(np.median(drawing[2:])),
        "sampled_losses": losses,
    }


def _train_full(a_hat: graphs.Graph, steps: int = 4) -> dict[str, Any]:
    import jax

    from unigeo_jax.nn import graph, graph_pack

    packed = jax.device_put(graph_pack.pack(a_hat))
    params, feature_nf = _start()
    optimiser, step = make_step(graph.LightGCN(CELLS, DIM), graph.lookup)
    state = jax.device_put((params, optimiser.init(params)))
    run: Any = jax.jit(step, donate_argnums=0)
    rng = np.random.default_rng(2)
    losses, seconds = [], []
    for _ in range(steps):
        began = time.perf_counter()
        node_b = rng.choice(CELLS, FULL_BATCH, replace=False).astype(np.int32)
        state, loss = run(state, packed, node_b, feature_nf[node_b])
        losses.append(float(loss))
        seconds.append(time.perf_counter() - began)
    products = 2 * 2 * a_hat.edges
    return {
        "full_step_s": float(np.median(seconds[1:])),
        "full_medges_per_s": products / float(np.median(seconds[1:])) / 1e6,
        "full_losses": losses,
    }


def compile_step(topology: str, edges: int) -> dict[str, Any]:
    """Compiles the full step of a nation with that many flows for a v5e slice.

    Flows one way: A_hat is symmetric with up to twice as many entries, lognormal by
    row. Memory is the compiler's; nothing is run or timed.
    """
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"v5litepod-{_chips(topology)}",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    }
    from jax.experimental import topologies

    from unigeo_jax import sharding

    devices = topologies.get_topology_desc(topology, platform="tpu").devices
    mesh = sharding.make_mesh(devices=devices)
    size = np.random.default_rng(0).lognormal(0.0, 1.0, CELLS)
    degree_n = np.minimum(size / size.sum() * 2 * edges, CELLS - 1).astype(np.int64)
    found: dict[str, Any] = {"topology": topology, "chips": mesh.size, "flows": edges}
    found |= {"entries": int(degree_n.sum()), "largest_row": int(degree_n.max())}
    for form in ("buckets", "blocks"):
        row = _compile(_abstract(form, degree_n, mesh), mesh)
        found[form] = row
        print(form, row, flush=True)
    return found


def _chips(topology: str) -> int:
    kind, _, shape = topology.partition(":")
    if kind != "v5e" or not shape:
        raise ValueError(f"--topology: got {topology}, allowed: v5e:AxB, as v5e:4x4")
    return int(np.prod([int(n) for n in shape.split("x")]))


def _abstract(form: str, degree_n: np.ndarray, mesh: Any) -> Any:
    """Shapes of a symmetric Packed with these row lengths, rows over the mesh."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from unigeo_jax.nn import graph_pack

    chips = mesh.size
    rows = NamedSharding(mesh, P(mesh.axis_names))

    def shaped(shape, dtype):
        return jax.ShapeDtypeStruct((chips, *shape), dtype, sharding=rows)

    def bucket(shape, dtype, inner=()):
        return graph_pack.Bucket(
            shaped(shape, jnp.int32), shaped((*shape, *inner), dtype)
        )

    if form == "blocks":  # so dense that no block is empty
        side = graph_pack.SIDE
        many = -(-CELLS // (side * chips)) * chips
        chunk = graph_pack.CHUNK // side
        shapes = graph_pack.layout([np.full(many // chips, many)], chunk)
        parts = tuple(bucket(s, jnp.bfloat16, (side, side)) for s in shapes)
        place = shaped((many // chips,), jnp.int32)
        return graph_pack.Packed(graph_pack.Buckets(parts, (), place), None)
    cut = [
        graph_pack.cut_rows(degree_n[s::chips], graph_pack.WIDEST) for s in range(chips)
    ]
    chunk = graph_pack.CHUNK
    parts = graph_pack.layout([left for _, _, left, _ in cut], chunk)
    hubs = graph_pack.layout([many[many > 1] for *_, many in cut], chunk)
    forward = graph_pack.Buckets(
        tuple(bucket(s, jnp.bfloat16) for s in parts),
        tuple(bucket(s, jnp.float32) for s in hubs),
        shaped((-(-CELLS // chips),), jnp.int32),
    )
    return graph_pack.Packed(forward, None)


def _compile(packed: Any, mesh: Any) -> dict[str, Any]:
    """Compiles one step, table and Adam moments split by rows; bytes a chip."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from unigeo_jax.aot import cost
    from unigeo_jax.nn import graph

    rows, whole = NamedSharding(mesh, P(mesh.axis_names)), NamedSharding(mesh, P())
    nodes = -(-CELLS // mesh.size) * mesh.size
    module = graph.LightGCN(nodes, DIM, mesh=mesh, dtype=jnp.bfloat16)
    optimiser, step = make_step(module, graph.lookup)
    params = {
        "table": jax.ShapeDtypeStruct((nodes, DIM), jnp.float32),
        "head": jax.ShapeDtypeStruct((FEATURES, DIM), jnp.float32),
    }
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=rows if x.shape[:1] == (nodes,) else whole
        ),
        (params, jax.eval_shape(optimiser.init, params)),
    )
    node_b = jax.ShapeDtypeStruct((TPU_BATCH,), jnp.int32, sharding=rows)
    feature = jax.ShapeDtypeStruct((TPU_BATCH, FEATURES), jnp.float32, sharding=rows)
    began = time.perf_counter()
    program = jax.jit(step, donate_argnums=0).lower(state, packed, node_b, feature)
    program = program.compile()
    memory: Any = program.memory_analysis()
    counted = cost.read(program.as_text() or "")
    out = {
        "compile_s": round(time.perf_counter() - began, 1),
        "arguments_gib": memory.argument_size_in_bytes / GIB,
        "temporaries_gib": memory.temp_size_in_bytes / GIB,
        "tflop": counted.flops / 1e12,
        "collectives": {k: v.count for k, v in counted.collectives.items()},
    }
    out["total_gib"] = out["arguments_gib"] + out["temporaries_gib"]
    return out
