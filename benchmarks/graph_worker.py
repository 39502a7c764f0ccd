# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The variants of benchmarks/graph.py: one process each, started by it."""

import importlib
import json
import sys
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks import protocol


def inputs(nodes: int, edges: int, dim: int) -> tuple[sparse.csr_array, Any, Any]:
    """Returns a synthetic directed matrix, a table and a cotangent, float32.

    Out-degrees and in-degrees are lognormal (heavy-tailed, with hubs), rows sum to 1.
    """
    rng = np.random.default_rng(0)

    def ends():
        size = rng.lognormal(0.0, 1.0, nodes)
        return np.searchsorted(np.cumsum(size) / size.sum(), rng.random(edges))

    row, col = (np.minimum(ends(), nodes - 1) for _ in range(2))
    parts = (rng.random(edges, np.float32) + 0.1, (row, col))
    matrix: Any = sparse.coo_array(parts, shape=(nodes, nodes)).tocsr()
    row_sum = np.maximum(matrix.sum(1), 1e-9)
    matrix.data /= np.repeat(row_sum, np.diff(matrix.indptr)).astype(np.float32)
    table, cotangent = rng.standard_normal((2, nodes, dim), np.float32)
    return matrix, table, cotangent


def reference(nodes: int, edges: int, dim: int) -> dict[str, np.ndarray]:
    """Returns the product and its gradient in float64, by scipy."""
    matrix, table, cotangent = inputs(nodes, edges, dim)
    matrix = matrix.astype(np.float64)
    return {"out": matrix @ table, "grad": matrix.T @ cotangent}


def ours(form: str, backward: bool, **size: int) -> protocol.Work:
    """Compiles a product of this package, or JAX's own segment_sum."""
    import jax

    from unigeo_jax.data import graph as graphs
    from unigeo_jax.nn import graph, graph_pack

    matrix, table, cotangent = inputs(**size)
    if form == "segment_sum":
        row = np.repeat(np.arange(len(table)), np.diff(matrix.indptr)).astype(np.int32)
        packed = tuple(map(jax.device_put, (matrix.data, matrix.indices, row)))
    else:
        found = graphs.Graph(matrix.indptr, matrix.indices, matrix.data)
        packed = jax.device_put(graph_pack.pack(found, form))

    def product(packed, table):
        if form != "segment_sum":
            return graph.propagate(packed, table)
        weight, col, row = packed
        terms = table[col] * weight[:, None]
        return jax.ops.segment_sum(terms, row, len(table), indices_are_sorted=True)

    def both(packed, table, cotangent):
        if not backward:
            return (product(packed, table),)
        out, back = jax.vjp(lambda t: product(packed, t), table)
        return out, back(cotangent)[0]

    args = packed, jax.device_put(table), jax.device_put(cotangent)
    program = jax.jit(both).lower(*args).compile()
    return work(lambda: jax.block_until_ready(program(*args)), np.asarray)


def torch_side(form: str, backward: bool, **size: int) -> protocol.Work:
    """PyG's GCNConv propagation, index_add, or a product of CSR matrices, in torch."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(protocol.cores())
    matrix, table, cotangent = inputs(**size)
    x = torch.from_numpy(table).requires_grad_(backward and form != "csr")
    g = torch.from_numpy(cotangent)
    coo: Any = matrix.tocoo()
    row, col = (torch.from_numpy(i.astype(np.int64)) for i in (coo.row, coo.col))
    weight = torch.from_numpy(coo.data)
    if form == "csr":
        # The transposed matrix is made beforehand, as ours is.
        one, two = (csr(torch, m) for m in (matrix, matrix.T.tocsr()))
        return work(lambda: (one @ x, two @ g) if backward else (one @ x,), np.asarray)
    if form == "gcn":
        name = "torch_geometric.nn"
        conv = importlib.import_module(name).GCNConv(1, 1, normalize=False)
        edge = torch.stack([col, row])

        def product():
            return conv.propagate(edge, x=x, edge_weight=weight)

    else:

        def product():
            terms = x[col] * weight[:, None]
            return torch.zeros(x.shape).index_add(0, row, terms)

    def run():
        out = product()
        if not backward:
            return (out.detach(),)
        out.backward(g)
        grad, x.grad = x.grad, None
        return out.detach(), grad

    return work(run, lambda t: t.numpy())


def csr(torch: Any, matrix: Any) -> Any:
    parts = (matrix.indptr, matrix.indices, matrix.data)
    return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=matrix.shape)


def scipy_side(form: str, backward: bool, **size: int) -> protocol.Work:
    """scipy's CSR product, which uses one core."""
    matrix, table, cotangent = inputs(**size)
    turned: Any = matrix.T.tocsr()
    if not backward:
        return work(lambda: (matrix @ table,), np.asarray)
    return work(lambda: (matrix @ table, turned @ cotangent), np.asarray)


def work(run: Any, convert: Any) -> protocol.Work:
    def arrays(out) -> Any:
        return dict(zip(("out", "grad"), map(convert, out), strict=False))

    return protocol.Work(run, arrays, protocol.host_growth, {"device": "cpu"})


if __name__ == "__main__":
    SPEC = json.loads(sys.argv[1])
    SIDES = {"ours": ours, "torch": torch_side, "scipy": scipy_side}
    SIDE = SIDES[SPEC.pop("side")]
    protocol.serve(lambda: SIDE(**SPEC))
