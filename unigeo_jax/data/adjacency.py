# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From flows to the matrix that propagates: direction, log weights, loops, degrees.

Written as A[i, j], the flow from i to j (row = origin). What comes out is A_hat, whose
row i lists the nodes that node i gathers from, and by what factor.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from unigeo_jax.data import graph as graphs

ADJACENCIES = ("symmetric", "directed_in", "row_out", "row_in", "release")
RELEASE_EPSILON = 1e-10


def normalise(
    graph: graphs.Graph,
    adjacency: str = "symmetric",
    log1p: bool = True,
    self_loops: bool = False,
    compat: bool = False,
) -> graphs.Graph:
    """Returns A_hat as rows to gather from, in memory, with the weights' dtype.

    Kinds are added up. With D_out, D_in the row and column sums of A:

    - symmetric: D^-1/2 W D^-1/2, W = (A + A^T) / 2, D its row sums;
    - directed_in: D_in^-1/2 A^T D_out^-1/2;
    - row_out: D_out^-1 A; row_in: D_in^-1 A^T: random-walk means;
    - release: D_out^-1/2 A^T D_out^-1/2, as the released MobCLIP code computes it,
      which scales inflows by out-degree at both ends.

    A degree of 0 gives a factor of 0.
    Differs from MobCLIP: `symmetric` and log weights are the default; `release` adds
    1e-10 to degrees only with `compat` (it lifts a node without outflow by 1e5).

    Args:
      graph: flows, one row an origin.
      adjacency: one of these names.
      log1p: take log(1 + weight) of the flows, each direction by itself.
      self_loops: add 1 to every A[i, i], after the logarithm.
      compat: with `release`, add 1e-10 to degrees as published.

    Raises:
      ValueError: another name, or `compat` with another name than `release`.
    """
    if adjacency not in ADJACENCIES:
        names = ", ".join(ADJACENCIES)
        raise ValueError(f"adjacency: got {adjacency!r}, allowed: {names}")
    if compat and adjacency != "release":
        raise ValueError(f"compat: got it with {adjacency}, allowed: with release")
    flow = _matrix(graph)
    if log1p:
        np.log1p(flow.data, out=flow.data)
    if self_loops:
        flow = flow + sparse.eye_array(graph.nodes, dtype=flow.dtype, format="csr")
    if adjacency == "symmetric":
        flow = flow + flow.T.tocsr()
        flow.data *= 0.5
        half_n = _power(_sums(flow), -0.5)
        return _scaled(flow, half_n, half_n)
    out_n, in_n = _sums(flow), _sums(flow.T)
    if adjacency == "row_out":
        return _scaled(flow, _power(out_n, -1.0), None)
    turned = flow.T.tocsr()
    if adjacency == "row_in":
        return _scaled(turned, _power(in_n, -1.0), None)
    if adjacency == "directed_in":
        return _scaled(turned, _power(in_n, -0.5), _power(out_n, -0.5))
    half_n = _power(out_n + RELEASE_EPSILON if compat else out_n, -0.5)
    return _scaled(turned, half_n, half_n)


def keep(graph: graphs.Graph, keep_e: np.ndarray) -> graphs.Graph:
    """Returns the graph with the edges where `keep_e`, bool (e), is True, in memory."""
    kept = np.concatenate([[0], np.cumsum(keep_e)])
    return graph._replace(
        indptr_n=kept[graph.indptr_n],
        indices_e=graph.indices_e[keep_e],
        weight_e=graph.weight_e[keep_e],
        kind_e=None if graph.kind_e is None else graph.kind_e[keep_e],
        sha="",
    )


def kinds_of(graph: graphs.Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the kinds of a graph whose names begin with one of `names`.

    Raises:
      ValueError: no kind begins with one of these.
    """
    unknown = [n for n in names if not any(k.startswith(n) for k in graph.kinds)]
    if unknown:
        raise ValueError(f"kinds: got {unknown}, allowed: {', '.join(graph.kinds)}")
    return tuple(kind for kind in graph.kinds if kind.startswith(tuple(names)))


def of_kinds(graph: graphs.Graph, names: Sequence[str]) -> graphs.Graph:
    """Returns the edges of the kinds that `kinds_of` finds, in memory.

    Raises:
      ValueError: as there.
    """
    numbers = [graph.kinds.index(kind) for kind in kinds_of(graph, names)]
    if graph.kind_e is None:
        raise ValueError(f"kinds: got {list(names)} of a graph whose kinds were added")
    return keep(graph, np.isin(graph.kind_e, np.array(numbers, np.uint8)))


def without(graph: graphs.Graph, node_i: np.ndarray) -> graphs.Graph:
    """Returns the graph with these nodes isolated: what an inductive split trains on.

    Args:
      node_i: integers (i), or bool (n).
    """
    out_n = np.zeros(graph.nodes, bool)
    out_n[node_i] = True
    row_e = np.repeat(out_n, np.diff(graph.indptr_n))
    return keep(graph, ~(row_e | out_n[graph.indices_e]))


def strongest(graph: graphs.Graph, count: int) -> graphs.Graph:
    """Returns the `count` heaviest edges of each row; the first of equal ones.

    It bounds the memory of hub nodes.

    Raises:
      ValueError: count < 1.
    """
    if count < 1:
        raise ValueError(f"strongest: got {count}, allowed: 1 or more")
    keep_e = np.ones(graph.edges, bool)
    for row in np.flatnonzero(np.diff(graph.indptr_n) > count):
        start, end = graph.indptr_n[row : row + 2]
        order = np.argsort(-graph.weight_e[start:end], kind="stable")
        keep_e[start + order[count:]] = False
    return keep(graph, keep_e)


def _matrix(graph: graphs.Graph) -> sparse.csr_array:
    """Copies the flows, kinds added up."""
    parts = (graph.weight_e, graph.indices_e, graph.indptr_n)
    flow = sparse.csr_array(parts, shape=(graph.nodes,) * 2, copy=True)
    flow.sum_duplicates()
    return flow


def _sums(matrix: Any) -> np.ndarray:
    """Row sums in float64."""
    return matrix @ np.ones(matrix.shape[1])


def _power(sum_n: np.ndarray, exponent: float) -> np.ndarray:
    out_n = np.zeros_like(sum_n)
    return np.power(sum_n, exponent, out=out_n, where=sum_n > 0)


def _scaled(
    matrix: sparse.csr_array, left_n: np.ndarray, right_n: np.ndarray | None
) -> graphs.Graph:
    """Returns diag(left) matrix diag(right); a bounded number of edges at a time."""
    matrix.sort_indices()
    indptr_n = matrix.indptr.astype(np.int64)
    for start in range(0, matrix.nnz, graphs.BLOCK):
        here = slice(start, min(start + graphs.BLOCK, matrix.nnz))
        low, high = np.searchsorted(indptr_n, [here.start, here.stop - 1], "right") - 1
        span_n = np.clip(indptr_n[low : high + 2], here.start, here.stop)
        factor_e = np.repeat(left_n[low : high + 1], np.diff(span_n))
        if right_n is not None:
            factor_e *= right_n[matrix.indices[here]]
        matrix.data[here] = matrix.data[here] * factor_e
    return graphs.Graph(indptr_n, matrix.indices.astype(np.int32), matrix.data)
