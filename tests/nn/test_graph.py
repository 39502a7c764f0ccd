# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Propagation in every form against golden numbers and dense matrices, sharded too."""

import json
import pathlib
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import sparse

from unigeo_jax.nn import graph as graphs
from unigeo_jax.nn import graph_pack

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden/lightgcn.json").read_text()
)
FORMS = graph_pack.FORMS


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Makes small graphs meet every branch: cut rows, chunks, several blocks."""
    monkeypatch.setattr(graph_pack, "WIDEST", 8)
    monkeypatch.setattr(graph_pack, "CHUNK", 64)
    monkeypatch.setattr(graph_pack, "SIDE", 8)


def as_graph(matrix):
    matrix = sparse.csr_array(matrix)
    return SimpleNamespace(
        indptr_n=matrix.indptr.astype(np.int64),
        indices_e=matrix.indices.astype(np.int32),
        weight_e=matrix.data.astype(np.float32),
    )


def draw(nodes=101, dim=5, seed=0):
    """A directed matrix with a hub row, a hub column and lonely nodes; a table."""
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((nodes, nodes)) < 0.06, rng.random((nodes, nodes)), 0)
    matrix[4] = rng.random(nodes)
    matrix[:, 6] = rng.random(nodes)
    matrix[[0, nodes // 2, nodes - 1]] = 0
    matrix[:, [0, nodes // 2, nodes - 1]] = 0
    table, cotangent = rng.normal(size=(2, nodes, dim))
    as_float = [x.astype(np.float32) for x in (matrix, table, cotangent)]
    return as_float


def vjp(packed, table, cotangent, **options):
    def both(packed, table, cotangent):
        product = lambda t: graphs.propagate(packed, t, **options)  # noqa: E731
        out, back = jax.vjp(product, table)
        return out, back(cotangent)[0]

    return jax.jit(both)(packed, table, cotangent)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name", ["release", "symmetric", "directed_in", "row_out", "symmetric_log1p"]
)
def test_lightgcn_meets_the_golden_numbers(form, name):
    packed = graph_pack.pack(as_graph(np.array(GOLDEN["a_hat"][name])), form)
    module = graphs.LightGCN(GOLDEN["N"], GOLDEN["D"], GOLDEN["layers"])

    @jax.jit
    def both(packed, e0, cotangent):
        def apply(table):
            return module.apply({"params": {"table": table}}, packed)

        out, back = jax.vjp(apply, e0)
        return out, back(cotangent)[0]

    given = [np.array(GOLDEN[k], np.float32) for k in ("e0", "cotangent")]
    out, grad = both(packed, *given)
    for found, expected in ((out, GOLDEN["out"]), (grad, GOLDEN["vjp_e0"])):
        expected = np.array(expected[name])
        bound = GOLDEN["tolerance"]["float32_rel"] * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=bound, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_form_is_the_dense_product(form, ordered, shards):
    matrix, table, cotangent = draw()
    order = np.random.default_rng(1).permutation(len(matrix)) if ordered else None
    packed = graph_pack.pack(as_graph(matrix), form, shards, order)
    out, grad = vjp(packed, table, cotangent)
    np.testing.assert_allclose(out, matrix @ table, atol=2e-5)
    np.testing.assert_allclose(grad, matrix.T @ cotangent, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_eight_devices_compute_what_one_does(form, mesh):
    matrix, table, cotangent = draw()
    packed = graph_pack.pack(as_graph(matrix), form, shards=8)
    rows = NamedSharding(mesh, P(mesh.axis_names))
    packed = jax.device_put(packed, rows)
    for options in ({"mesh": mesh}, {}):
        if not options and form == "rows":
            continue  # the kernel is opaque to the compiler: it needs the mesh
        out, grad = vjp(packed, table, cotangent, **options)
        np.testing.assert_allclose(out, matrix @ table, atol=2e-5)
        np.testing.assert_allclose(grad, matrix.T @ cotangent, atol=2e-5)
    low, _ = vjp(packed, table, cotangent, mesh=mesh, dtype=jnp.bfloat16)
    rounded = table.astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_allclose(low, matrix @ rounded, atol=2e-5)


@pytest.mark.parametrize("form", ["buckets", "blocks"])
def test_neither_direction_scatters(form, mesh):
    matrix, table, cotangent = draw()
    for shards, options in ((1, {}), (8, {"mesh": mesh})):
        packed = graph_pack.pack(as_graph(matrix), form, shards)
        text = (
            jax.jit(lambda p, t, c, o=options: vjp(p, t, c, **o))
            .lower(packed, table, cotangent)
            .as_text()
        )
        assert "gather" in text
        assert "scatter" not in text


@pytest.mark.parametrize("form", FORMS)
def test_a_symmetric_matrix_is_packed_once(form):
    matrix, table, cotangent = draw()
    packed = graph_pack.pack(as_graph(matrix + matrix.T), form)
    assert packed.backward is None
    out, grad = vjp(packed, table, cotangent)
    np.testing.assert_allclose(out, (matrix + matrix.T) @ table, atol=4e-5)
    np.testing.assert_allclose(grad, (matrix + matrix.T) @ cotangent, atol=4e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_without_edges_propagates_nothing(form):
    packed = graph_pack.pack(as_graph(np.zeros((20, 20), np.float32)), form)
    out, grad = vjp(packed, np.ones((20, 3), np.float32), np.ones((20, 3), np.float32))
    assert (np.asarray(out) == 0).all()
    assert (np.asarray(grad) == 0).all()


def test_blocks_without_edges_are_left_out():
    matrix = sparse.block_diag([np.ones((8, 8))] * 10).toarray()
    packed = graph_pack.pack(as_graph(matrix), "blocks")
    (part,) = packed.forward.parts
    assert part.weight.size == 10 * 64
    shuffled = np.random.default_rng(0).permutation(80)
    again = graph_pack.pack(
        as_graph(matrix[shuffled][:, shuffled]), "blocks", order_n=np.argsort(shuffled)
    )
    assert again.forward.parts[0].weight.size == 10 * 64


def test_padding_of_buckets_is_at_most_a_third_of_what_is_gathered():
    counts = np.random.default_rng(0).integers(1, 900, 5000)
    shapes = graph_pack.layout([counts], chunk=2**17)
    assert sum(c * r * k for c, r, k in shapes) < 1.5 * counts.sum()
    assert sum(c * r for c, r, _ in shapes) < 1.02 * len(counts)


def test_what_cannot_be_packed_is_named():
    graph = as_graph(np.eye(3))
    with pytest.raises(ValueError, match="got form 'coo', allowed: rows, buckets"):
        graph_pack.pack(graph, "coo")
    with pytest.raises(ValueError, match="dtype float16, rows allow float32"):
        graph_pack.pack(graph, "rows", dtype=np.float16)


def test_tables_and_meshes_that_do_not_fit_are_named(mesh):
    packed = graph_pack.pack(as_graph(np.eye(10)))
    for rows in (9, 11):
        with pytest.raises(ValueError, match=f"got a table of {rows} rows.*10 to 10"):
            graphs.propagate(packed, jnp.ones((rows, 2)))
    with pytest.raises(ValueError, match="packed for 1 shards, the mesh has 8"):
        graphs.propagate(packed, jnp.ones((10, 2)), mesh)


@pytest.mark.parametrize("shape", [(40,), (6, 3, 2)])
def test_the_gradient_of_a_lookup_adds_up_repeated_nodes(shape):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(11, 4)).astype(np.float32)
    node = rng.integers(9, size=shape).astype(np.int32)  # nodes 9 and 10 never
    cotangent = rng.normal(size=(*shape, 4)).astype(np.float32)

    @jax.jit
    def both(table, cotangent):
        out, back = jax.vjp(lambda t: graphs.lookup(t, node), table)
        return out, back(cotangent)[0]

    out, grad = both(table, cotangent)
    np.testing.assert_array_equal(out, table[node])
    expected = np.zeros_like(table)
    np.add.at(expected, node.reshape(-1), cotangent.reshape(-1, 4))
    np.testing.assert_allclose(grad, expected, atol=1e-5)
    # What other devices run.
    flat = node.reshape(-1)
    order = np.argsort(flat)
    bound = np.searchsorted(flat[order], np.arange(12))
    runs = graphs._add_runs(
        bound, order, jnp.asarray(flat[order]), cotangent.reshape(-1, 4)
    )
    np.testing.assert_allclose(runs, expected, atol=1e-5)


def test_sampling_all_neighbours_is_the_full_graph():
    matrix, table, _ = draw(nodes=30)
    sub = sparse.csr_array(matrix)
    width = int(np.diff(sub.indptr).max())
    node = [np.array([3, 4, 0, 29], np.int32)]
    weight = []
    for _ in range(2):
        # The matrix itself as a padded list: column 0 where there is no edge.
        column = np.zeros((30, width), np.int32)
        factor = np.zeros((30, width), np.float32)
        for row in range(30):
            edges = slice(sub.indptr[row], sub.indptr[row + 1])
            column[row, : edges.stop - edges.start] = sub.indices[edges]
            factor[row, : edges.stop - edges.start] = sub.data[edges]
        weight.append(factor[node[-1]])
        node.append(column[node[-1]])
    module: Any = graphs.LightGCN(30, 5)
    packed = graph_pack.pack(as_graph(matrix))
    pick = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)

    def full(table):
        out = module.apply({"params": {"table": table}}, packed)
        return (graphs.lookup(out, node[0]) * pick).sum()

    def sampled(table):
        out = module.apply({"params": {"table": table}}, (node, weight))
        return (out * pick).sum()

    one, two = (jax.jit(jax.value_and_grad(f))(table) for f in (full, sampled))
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(two[1], one[1], atol=2e-5)


def test_the_table_starts_small_or_as_given(key):
    packed = graph_pack.pack(as_graph(np.eye(400)))
    table = graphs.LightGCN(400, 64).init(key, packed)["params"]["table"]
    np.testing.assert_allclose(np.asarray(table).std(), 64**-0.5, rtol=0.02)
    given = np.ones((400, 64), np.float32)
    module = graphs.LightGCN(
        400, 64, start=lambda key, shape, dtype: jnp.asarray(given)
    )
    np.testing.assert_array_equal(module.init(key, packed)["params"]["table"], given)
