# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mobility: where people go from a place, as the graph of all places (MobCLIP).

The record holds only the number of its node; the graph and the table of nodes are
shared by all places. Source: MobCLIP (arXiv 2506.01297), its LightGCN.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unigeo_jax.data import adjacency, neighbours
from unigeo_jax.data import graph as graphs
from unigeo_jax.nn import graph, graph_attention, graph_network, graph_pack

FIELD = "node"
EDGES = {"kinds": (), "strongest": 0, "weighted": True}  # options, and their defaults
Kind = Literal["lightgcn", "gat", "transformer", "graph_network"]


def spec(fanout: Sequence[int] = (), **_) -> dict[str, np.ndarray]:
    """Return node 0 without neighbours: {"node"}, and those of each hop with `fanout`.

    {"node1"}, int32 (k1,), and {"weight1"}, float32, then "node2" (k1, k2), ...
    """
    out: dict[str, np.ndarray] = {"node": np.zeros((), np.int32)}
    for hop in range(1, len(fanout) + 1):
        out[f"node{hop}"] = np.zeros(tuple(fanout[:hop]), np.int32)
        out[f"weight{hop}"] = np.zeros(tuple(fanout[:hop]), np.float32)
    return out


def read(
    record: dict[str, Any], rng: np.random.Generator | None, **_
) -> dict[str, np.ndarray] | None:
    """Return the record's {"node"}, int32; absent where it is -1 or there is none."""
    node = int(record.get(FIELD, -1))
    return {"node": np.asarray(node, np.int32)} if node >= 0 else None


def constants(
    data: Mapping[str, Any],
    net: Mapping[str, Any],
    folder: pathlib.Path,
    records: Callable[[tuple[str, ...], int | None], list[dict[str, Any]]],
    shards: int = 1,
) -> dict[str, Any]:
    """Return {"edges_n", "sha"} of the flows, and {"rows"}: A_hat, packed.

    `graph` names a folder of data/graph.py, "" that of the dataset; `kinds` and
    `strongest` choose its edges (`chosen`); `adjacency`, `log1p` and `self_loops` are
    those of `adjacency.normalise`. `inductive` leaves out every edge that touches a
    place outside the training split. With `fanout` batches bring their neighbours
    (`gather`), drawn by weight or, `weighted` False, all alike; `whole` False then
    leaves "rows" out, for graphs beyond the memory of the devices. Raises ValueError
    where training places have nodes beyond the graph, or it has no such kind.
    """
    flows = graphs.read(data.get("graph") or folder / "graph")
    nodes = np.array([int(r[FIELD]) for r in records((FIELD,), None)], np.int64)
    if nodes.max(initial=-1) >= flows.nodes:
        raise ValueError(
            f"mobility: a place has node {nodes.max()}, the graph has {flows.nodes};"
            " allowed: below that, or -1 for none"
        )
    if data.get("kinds"):  # a wrong name is told before workers draw
        adjacency.kinds_of(flows, data["kinds"])
    about = {
        "edges_n": np.diff(flows.indptr_n).astype(np.float32),
        "sha": np.frombuffer(bytes.fromhex(flows.sha), np.uint8),
    }
    drawn = net.get("kind", "lightgcn") != "lightgcn" or not data.get("whole", True)
    if data.get("fanout") and drawn:
        return about
    held = nodes[:0]
    if data.get("inductive"):
        held = np.setdiff1d(np.arange(flows.nodes), nodes)
    packed = graph_pack.pack(normalised(chosen(flows, data, held), data), shards=shards)
    return about | {"rows": packed}


def chosen(
    flows: graphs.Graph, data: Mapping[str, Any], held: Sequence[int] | np.ndarray = ()
) -> graphs.Graph:
    """The edges of the options: of `kinds`, () all; `strongest` a row, 0 all.

    A kind is named in full or by what its name begins with. `held` nodes lose all
    edges, before the strongest of the others are counted.
    """
    if data.get("kinds"):
        flows = adjacency.of_kinds(flows, data["kinds"])
    if len(held):
        flows = adjacency.without(flows, np.asarray(held))
    if data.get("strongest"):
        flows = adjacency.strongest(flows, data["strongest"])
    return flows


def normalised(flows: graphs.Graph, data: Mapping[str, Any]) -> graphs.Graph:
    """A_hat of the options; the release's with its 1e-10."""
    options = {key: data[key] for key in ("adjacency", "log1p", "self_loops")}
    release = options["adjacency"] == "release"
    return adjacency.normalise(flows, **options, compat=release)


def gather(
    x: dict[str, np.ndarray],
    seeds: np.ndarray | None,
    folder: pathlib.Path | None,
    **data: Any,
) -> dict[str, np.ndarray]:
    """With `fanout`, draw neighbours of a batch: node, node1, weight1, node2, ...

    In evaluation a node's draws are always the same.
    """
    fanout = data.get("fanout", ())
    if not fanout:
        return x
    path = data.get("graph") or str((folder or pathlib.Path()) / "graph")
    options = {key: data[key] for key in ("adjacency", "log1p", "self_loops")}
    options |= {key: data.get(key, default) for key, default in EDGES.items()}
    options["kinds"] = tuple(options["kinds"])
    sampler = _sampler(path, tuple(sorted(options.items())))
    # A row's seed stands for run, step and position alike.
    position_b = x["node"] if seeds is None else seeds
    hops = neighbours.sample(sampler, x["node"], position_b, 0, 0, tuple(fanout))
    out = dict(x)
    for hop, (node, weight) in enumerate(zip(hops.node[1:], hops.weight, strict=True)):
        out |= {f"node{hop + 1}": node, f"weight{hop + 1}": weight}
    return out


@functools.cache
def _sampler(path: str, options: tuple) -> neighbours.Sampler:
    data = dict(options)
    a_hat = normalised(chosen(graphs.read(path), data), data)
    return neighbours.prepare(a_hat, data["weighted"])


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse a fan-out that does not fit the layers, the kind or `inductive`.

    And `strongest` that is no count, `kinds` that are no names, `weighted` False where
    nothing is drawn.
    """
    fanout = data.get("fanout", ())
    edges = EDGES | {key: data[key] for key in EDGES if key in data}
    if type(edges["strongest"]) is not int or edges["strongest"] < 0:
        raise ValueError(
            f"mobility: strongest {edges['strongest']!r}, allowed: edges a node, 1 or"
            " more, or 0 for all"
        )
    if isinstance(edges["kinds"], str) or not all(
        isinstance(kind, str) and kind for kind in edges["kinds"]
    ):
        raise ValueError(
            f"mobility: kinds {edges['kinds']!r}, allowed: a tuple of names of kinds of"
            " edges, such as ('air',), or () for all"
        )
    if not edges["weighted"] and not fanout:
        raise ValueError("mobility: weighted False without fanout; allowed: with it")
    if fanout and len(fanout) != net.get("layers", Encoder.layers):
        raise ValueError(
            f"mobility: fanout {tuple(fanout)} for {net.get('layers', Encoder.layers)}"
            " layers, allowed: one number a layer, or () for the whole graph"
        )
    if not fanout and net.get("kind", "lightgcn") != "lightgcn":
        raise ValueError(
            f"mobility: kind {net['kind']!r} without fanout; allowed: with a number a"
            " layer"
        )
    if fanout and data.get("inductive"):
        raise ValueError("mobility: inductive with fanout; allowed: fanout=()")


class Encoder(nn.Module):
    """Encode nodes by LightGCN: (b, dim), float32 throughout.

    A trained table of nodes E_0 ~ N(0, 1/dim), or the rows of the `.npy` file `start`;
    E_k = A_hat E_{k-1}; the sum of E_0 to E_layers, without weights in between. Over
    the whole graph; in training over the hops that a batch brings, if it brings any: an
    estimate without bias. The norm, which `GeoModel.raw` keeps, tells how busy a place
    is. `kind` "gat" or "transformer" attends over drawn hops instead, with `heads`, in
    evaluation too; "graph_network" is jraph's over them.
    """

    dim: int
    dtype: Any = jnp.float32
    mesh: Mesh | None = None
    layers: int = 2
    start: str = ""
    kind: Kind = "lightgcn"
    heads: int = 4

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        nodes = self.get_variable("constants", "edges_n").shape[0]
        start = functools.partial(_table, self.start) if self.start else None
        if self.kind == "lightgcn":
            net = graph.LightGCN(nodes, self.dim, self.layers, start, self.mesh)
        elif self.kind == "graph_network":
            net = graph_network.GraphNetwork(nodes, self.dim, self.layers, start)
        else:
            options = {"kind": self.kind, "start": start, "dtype": self.dtype}
            net = graph_attention.GraphAttention(nodes, self.dim, self.heads, **options)
        nn.share_scope(self, net)
        packed = self.get_variable("constants", "rows")
        drawn = self.kind != "lightgcn" or packed is None or (train and "node1" in x)
        if not drawn:
            return graph.lookup(net(packed), x["node"])
        hops = range(1, self.layers + 1)
        node = (x["node"], *(x[f"node{hop}"] for hop in hops))
        drawn_hops = (node, tuple(x[f"weight{hop}"] for hop in hops))
        if self.kind == "graph_network":
            return net(graph_network.to_graphs_tuple(drawn_hops))
        return net(drawn_hops)


def _table(path: str, key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Read the first table: called back, so that no program embeds it."""
    out = jax.ShapeDtypeStruct(shape, dtype)
    return jax.pure_callback(functools.partial(_load, path, shape), out)


def _load(path: str, shape: tuple[int, int]) -> np.ndarray:
    table = np.load(path, mmap_mode="r", allow_pickle=False)
    if table.shape != shape:
        raise ValueError(
            f"mobility: start {path} has shape {table.shape}, allowed: {shape}"
        )
    return np.asarray(table, np.float32)
