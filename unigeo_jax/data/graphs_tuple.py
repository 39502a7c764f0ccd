# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs as jraph.GraphsTuple and back: how a graph that users hold comes in and out.

A sender is an origin and a receiver a destination; a node's number is its position.
What `write` makes feeds every kind of encoder: config.towers.mobility.data.graph names
it, and `adjacency.normalise` and `neighbours` take what it returns. Only `read` needs
jraph: pip install 'unigeo-jax[jraph]'. Letters: `n` nodes, `e` edges.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax import extras
from unigeo_jax.data import graph as graphs


def read(graph: graphs.Graph | str | pathlib.Path) -> Any:
    """Returns a graph, or that of a folder, as a jraph.GraphsTuple of numpy arrays.

    nodes: int32 (n,), their numbers. edges: {"weight": float32 (e, 1), "kind": int32
    (e,)}; no "kind" where kinds were added up. senders, receivers: int32 (e,), in the
    order of the rows. globals: None; n_node and n_edge: int32 (1,).

    Raises:
      ValueError: jraph is not installed, or the folder holds no graph.
    """
    jraph = extras.need("jraph", "a GraphsTuple", extra="jraph")
    if not isinstance(graph, graphs.Graph):
        graph = graphs.read(graph)
    weight_e = np.array(graph.weight_e, np.float32)
    edges: dict[str, np.ndarray] = {"weight": weight_e[:, None]}
    if graph.kind_e is not None:
        edges["kind"] = np.array(graph.kind_e, np.int32)
    number_n = np.arange(graph.nodes, dtype=np.int32)
    return jraph.GraphsTuple(
        nodes=number_n,
        edges=edges,
        senders=np.repeat(number_n, np.diff(graph.indptr_n)),
        receivers=np.array(graph.indices_e, np.int32),
        globals=None,
        n_node=np.array([graph.nodes], np.int32),
        n_edge=np.array([graph.edges], np.int32),
    )


def write(
    folder: str | pathlib.Path,
    tuple_: Any,
    kinds: Sequence[str] | None = None,
    padded: bool = False,
) -> graphs.Graph:
    """Writes a jraph.GraphsTuple as a graph folder, as `graph.write` does its edges.

    Several graphs become one, nodes numbered through. Features of nodes and globals
    stay out: they belong into records, or a `.npy` file of the tower `vector`.

    Args:
      folder: replaced if it holds a graph.
      tuple_: edges are weights (e,) or (e, 1); {"weight": such, "kind": integers (e,)
        or (e, 1)}, or None: each weighs 1.
      kinds: names of the kinds; by default their numbers.
      padded: as jraph.pad_with_graphs leaves it: the last graph with nodes, and the
        empty ones behind it, stand for nothing and are left out.

    Raises:
      ValueError: numbers of nodes or edges that do not fit together, edges of another
        form, no graph but the padding; and as `graph.write`.
    """
    node_g, edge_g = (np.asarray(x, np.int64) for x in (tuple_.n_node, tuple_.n_edge))
    if node_g.ndim != 1 or node_g.shape != edge_g.shape:
        raise ValueError(
            f"GraphsTuple: n_node {node_g.shape}, n_edge {edge_g.shape}; allowed: one"
            " length (graphs,)"
        )
    ends = {"senders": tuple_.senders, "receivers": tuple_.receivers}
    ends = {name: np.asarray(x) for name, x in ends.items()}
    for name, end_e in ends.items():
        if end_e.shape != (edge_g.sum(),):
            raise ValueError(
                f"GraphsTuple: {name} {end_e.shape}; allowed: ({edge_g.sum()},), the"
                " sum of n_edge"
            )
    columns = {**ends, **_columns(tuple_.edges, int(edge_g.sum()))}
    if padded:
        full = np.flatnonzero(node_g)
        if len(full) < 2:
            raise ValueError(
                f"GraphsTuple: padded, with n_node {node_g.tolist()}; allowed: a graph"
                " with nodes before the padding one"
            )
        node_g, edge_g = node_g[: full[-1]], edge_g[: full[-1]]
    kept = {name: x[: edge_g.sum()] for name, x in columns.items()}
    return graphs.write(
        *(folder, kept["senders"], kept["receivers"], kept["weight"]),
        *(int(node_g.sum()), kept.get("kind"), kinds),
    )


def _columns(edges: Any, count: int) -> dict[str, np.ndarray]:
    """Weights, and kinds if there are any, of the edges of a GraphsTuple: (e,) each."""
    if edges is None:
        return {"weight": np.ones(count, np.float32)}
    named = dict(edges) if isinstance(edges, Mapping) else {"weight": edges}
    found = {name: np.asarray(x) for name, x in named.items()}
    fits = {"weight"} <= found.keys() <= {"weight", "kind"}
    if not fits or any(x.shape not in ((count,), (count, 1)) for x in found.values()):
        got = {name: x.shape for name, x in found.items()}
        raise ValueError(
            f"GraphsTuple: edges {got}; allowed: None, weights ({count},) or"
            f" ({count}, 1), or {{'weight': these, 'kind': integers}}"
        )
    return {name: x.reshape(count) for name, x in found.items()}
