# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Normalised graphs against golden numbers and dense matrices."""

import json
import pathlib

import numpy as np
import pytest
from scipy import sparse

from unigeo_jax.data import adjacency
from unigeo_jax.data import graph as graphs

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden/lightgcn.json").read_text()
)
NAMES = ["release", "symmetric", "directed_in", "row_out", "row_in"]


def golden_graph(name, dtype):
    """The golden edges with weights of that dtype; disk holds float32 only."""
    edges = GOLDEN[name]
    parts = (edges["weight"], (edges["row"], edges["col"]))
    matrix = sparse.coo_array(parts, shape=(GOLDEN["N"],) * 2, dtype=dtype).tocsr()
    return graphs.Graph(matrix.indptr.astype("i8"), matrix.indices, matrix.data)


def dense(graph):
    parts = (graph.weight_e, graph.indices_e, graph.indptr_n)
    return sparse.csr_array(parts, shape=(graph.nodes,) * 2).toarray()


@pytest.mark.parametrize("name", [*NAMES, "symmetric_log1p"])
@pytest.mark.parametrize("block", [5, 10_000])
def test_the_golden_matrices_are_met_in_float64(name, block, monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK", block)
    found = adjacency.normalise(
        golden_graph("graph", np.float64),
        name.removesuffix("_log1p"),
        log1p=name.endswith("_log1p"),
        compat=name == "release",
    )
    expected = np.array(GOLDEN["a_hat"][name])
    bound = GOLDEN["tolerance"]["float64_rel"] * np.abs(expected).max()
    np.testing.assert_allclose(dense(found), expected, atol=bound, rtol=0)


@pytest.mark.parametrize("name", [*NAMES, "symmetric_log1p"])
def test_the_golden_matrices_are_met_from_disk(name, tmp_path):
    edges = GOLDEN["graph"]
    graph = graphs.write(
        tmp_path / "g", edges["row"], edges["col"], edges["weight"], GOLDEN["N"]
    )
    found = adjacency.normalise(
        graph, name.removesuffix("_log1p"), log1p=name.endswith("_log1p")
    )
    assert found.weight_e.dtype == np.float32
    assert found.kind_e is None
    expected = np.array(GOLDEN["a_hat"][name])
    bound = GOLDEN["tolerance"]["float32_rel"] * np.abs(expected).max()
    np.testing.assert_allclose(dense(found), expected, atol=bound, rtol=0)


@pytest.mark.parametrize("name", ["release", "symmetric", "directed_in"])
def test_a_node_without_outflow_explodes_only_as_published(name):
    e0 = np.array(GOLDEN["e0"])
    graph = golden_graph("sink_graph", np.float64)
    for compat in {False, name == "release"}:
        a_hat = dense(adjacency.normalise(graph, name, log1p=False, compat=compat))
        out = e0 + a_hat @ e0 + a_hat @ a_hat @ e0
        if compat or name != "release":
            expected = np.array(GOLDEN["sink_out"][name])
            bound = 1e-12 * np.abs(expected).max()
            np.testing.assert_allclose(out, expected, atol=bound, rtol=0)
        assert (np.abs(out).max() > 1e5) == compat


def test_release_and_symmetric_agree_on_a_symmetric_graph():
    graph = golden_graph("graph", np.float64)
    both = sparse.csr_array(dense(graph) + dense(graph).T)
    graph = graphs.Graph(both.indptr.astype("i8"), both.indices, both.data)
    one = adjacency.normalise(graph, "release", log1p=False)
    two = adjacency.normalise(graph, "symmetric", log1p=False)
    np.testing.assert_allclose(dense(one), dense(two), atol=1e-15)


def test_kinds_add_up_before_the_logarithm_and_loops_come_after(tmp_path):
    graph = graphs.write(
        tmp_path / "g", [0, 0, 2], [1, 1, 2], [3.0, 4.0, 1.0], 3, [0, 1, 1]
    )
    flow = np.zeros((3, 3))
    flow[0, 1], flow[2, 2] = np.log1p(7.0), np.log1p(1.0)
    flow += np.eye(3)
    expected = flow / flow.sum(1, keepdims=True)
    found = adjacency.normalise(graph, "row_out", self_loops=True)
    np.testing.assert_allclose(dense(found), expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_isolated_nodes_get_empty_rows_and_no_nan(name, tmp_path):
    graph = graphs.write(tmp_path / "g", [1], [2], [5.0], 4)
    found = adjacency.normalise(graph, name)
    assert np.isfinite(found.weight_e).all()
    np.testing.assert_array_equal(np.diff(found.indptr_n)[[0, 3]], [0, 0])
    empty = graphs.write(tmp_path / "e", [], [], [], 4)
    assert adjacency.normalise(empty, name).edges == 0


def test_what_cannot_be_normalised_is_named():
    graph = golden_graph("graph", np.float32)
    with pytest.raises(ValueError, match=r"got 'sym', allowed: symmetric, directed_in"):
        adjacency.normalise(graph, "sym")
    with pytest.raises(ValueError, match="allowed: with release"):
        adjacency.normalise(graph, "row_in", compat=True)


def test_edges_are_kept_by_kind_node_and_strength(tmp_path):
    rng = np.random.default_rng(0)
    o, d, k = rng.integers(9, size=(3, 200))
    graph = graphs.write(
        *(tmp_path / "g", o, d, rng.uniform(1, 5, 200), 9, k % 2, ["air", "modelled"])
    )
    air = adjacency.of_kinds(graph, ["air"])
    other = adjacency.of_kinds(graph, ["modelled"])
    np.testing.assert_array_equal(air.kind_e, 0)
    np.testing.assert_allclose(dense(air) + dense(other), dense(graph), rtol=1e-6)
    with pytest.raises(ValueError, match=r"got \['bus'\], allowed: air, modelled"):
        adjacency.of_kinds(graph, ["bus"])

    expected = dense(graph)
    expected[[2, 5]] = 0
    expected[:, [2, 5]] = 0
    np.testing.assert_array_equal(
        dense(adjacency.without(graph, np.array([2, 5]))), expected
    )

    three = adjacency.strongest(graph, 3)
    for row in range(9):
        weight = graph.weight_e[graph.indptr_n[row] : graph.indptr_n[row + 1]]
        kept = three.weight_e[three.indptr_n[row] : three.indptr_n[row + 1]]
        np.testing.assert_array_equal(np.sort(kept), np.sort(weight)[-3:])
    with pytest.raises(ValueError, match="got 0"):
        adjacency.strongest(graph, 0)
