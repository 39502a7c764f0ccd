# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sampled neighbours: true edges, right chances, the same on any split of the work."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse

from unigeo_jax.data import adjacency, neighbours
from unigeo_jax.data import graph as graphs

NODES = 60


def draw_graph(tmp_path, seed=0, hub=True):
    """Heavy-tailed flows; nodes 0, 7 and the last have no edge, node 3 has all."""
    rng = np.random.default_rng(seed)
    row, col = rng.integers(NODES, size=(2, 700))
    if hub:
        row = np.concatenate([row, np.full(NODES, 3)])
        col = np.concatenate([col, np.arange(NODES)])
    weight = rng.lognormal(0, 2, len(row))
    good = ~np.isin(row, [0, 7, NODES - 1]) & ~np.isin(col, [0, 7, NODES - 1])
    graph = graphs.write(tmp_path / "g", row[good], col[good], weight[good], NODES)
    return adjacency.normalise(graph)


def matrix(graph):
    parts = (graph.weight_e, graph.indices_e, graph.indptr_n)
    return sparse.csr_array(parts, shape=(graph.nodes,) * 2).toarray()


def propagate(hops, table):
    """E0 + A E0 + A A E0 of the batch rows, from a sample of two hops."""
    (node, one, two), (weight, weights) = hops
    inner = table[one] + (weights[..., None] * table[two]).sum(2)
    return table[node] + (weight[..., None] * inner).sum(1)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_draws_do_not_depend_on_how_the_batch_is_split(tmp_path, weighted):
    sampler = neighbours.prepare(draw_graph(tmp_path), weighted)
    rng = np.random.default_rng(1)
    node_b, position_b = rng.integers(-1, NODES, 600), np.arange(600)
    whole = neighbours.sample(sampler, node_b, position_b, 5, 9)
    with ThreadPoolExecutor(2) as pool:
        shared = neighbours.sample(sampler, node_b, position_b, 5, 9, pool=pool)
    part = [
        neighbours.sample(sampler, node_b[p::3], position_b[p::3], 5, 9)
        for p in range(3)
    ]
    for side in range(2):
        for hop, expected in enumerate(whole[side]):
            np.testing.assert_array_equal(shared[side][hop], expected)
            for p in range(3):
                np.testing.assert_array_equal(part[p][side][hop], expected[p::3])
    for other in ((5, 10), (6, 9)):
        again = neighbours.sample(sampler, node_b, position_b, *other)
        assert (again.node[2] != whole.node[2]).mean() > 0.5
    assert [x.shape for x in whole.node] == [(600,), (600, 15), (600, 15, 10)]
    assert [x.dtype for x in whole.node] == [np.int32] * 3
    assert [x.dtype for x in whole.weight] == [np.float32] * 2


@pytest.mark.parametrize("weighted", [True, False])
def test_only_true_edges_are_drawn_and_lonely_nodes_weigh_nothing(tmp_path, weighted):
    graph = draw_graph(tmp_path)
    sampler = neighbours.prepare(graph, weighted)
    node_b = np.concatenate([np.arange(NODES), [-1]])
    node, weight = neighbours.sample(sampler, node_b, np.arange(len(node_b)), 0, 0)
    lonely = np.isin(node[0], [0, 7, NODES - 1])
    assert lonely[-1]  # -1 stands at node 0
    edge = matrix(graph) > 0
    for parent, child, factor in zip(node[:-1], node[1:], weight, strict=True):
        real = edge[np.broadcast_to(parent[..., None], child.shape), child]
        np.testing.assert_array_equal(factor > 0, real)
        np.testing.assert_array_equal(
            child[~real], np.broadcast_to(parent[..., None], child.shape)[~real]
        )
    assert (weight[0][lonely] == 0).all()
    assert (weight[0][~lonely] > 0).all()


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_alias_tables_hold_exactly_the_chances_of_the_weights(
    tmp_path, monkeypatch, block
):
    graph = draw_graph(tmp_path)
    equal = graph._replace(weight_e=np.full(graph.edges, 1 / 3, np.float32))
    none = graph._replace(weight_e=np.zeros(graph.edges, np.float32))
    few = graph._replace(weight_e=np.round(graph.weight_e * 20).astype(np.float32))
    monkeypatch.setattr(graphs, "BLOCK", block)
    for case in (graph, equal, none, few):
        sampler = neighbours.prepare(case)
        keep, other, node, _ = sampler.alias_e.T.astype(np.int64)
        row_e = np.repeat(np.arange(NODES), np.diff(case.indptr_n))
        found = np.zeros((NODES, NODES))
        np.add.at(found, (row_e, node), keep / 2**32)
        np.add.at(found, (row_e, other), 1 - keep / 2**32)
        found /= np.maximum(np.diff(case.indptr_n), 1)[:, None]
        weights = matrix(equal if case is none else case).astype(np.float64)
        expected = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_alias_tables_of_many_equal_and_spread_rows_stay_inside_their_row():
    rng = np.random.default_rng(3)
    count_n = rng.integers(0, 30, 20_000)
    weight_e = np.exp(rng.normal(0, 4, count_n.sum()))
    weight_e[::3] = np.maximum(np.round(weight_e[::3], 1), 0.1)
    keep_e, other_e = neighbours._alias(weight_e, count_n)
    row_e = np.repeat(np.arange(len(count_n)), count_n)
    np.testing.assert_array_equal(row_e[other_e], row_e)
    chance_e = keep_e + np.bincount(other_e, 1 - keep_e, minlength=len(keep_e))
    mean_n = np.bincount(row_e, weight_e, len(count_n)) / np.maximum(count_n, 1)
    np.testing.assert_allclose(chance_e, weight_e / mean_n[row_e], atol=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_mean_over_samples_is_the_full_propagation(tmp_path, weighted):
    graph = draw_graph(tmp_path)
    a_hat = matrix(graph).astype(np.float64)
    table = np.random.default_rng(2).normal(size=(NODES, 4))
    expected = table + a_hat @ table + a_hat @ a_hat @ table
    sampler = neighbours.prepare(graph, weighted)
    repeats = 400
    node_b = np.tile(np.arange(NODES), repeats)
    hops = neighbours.sample(sampler, node_b, np.arange(len(node_b)), 0, 1)
    found = propagate(hops, table).reshape(repeats, NODES, 4)
    error = found.mean(0) - expected
    spread = found.std(0) / np.sqrt(repeats)
    real = spread > 1e-9  # rows with neighbours
    assert np.abs(error[~real]).max() < 1e-6
    ratio = error[real] / spread[real]
    assert 0.7 < np.sqrt((ratio**2).mean()) < 1.3
    assert np.abs(ratio).max() < 5


def test_every_neighbour_gives_the_full_propagation(tmp_path):
    graph = draw_graph(tmp_path)
    a_hat = matrix(graph).astype(np.float64)
    table = np.random.default_rng(2).normal(size=(NODES, 4))
    expected = table + a_hat @ table + a_hat @ a_hat @ table
    hops = neighbours.every(graph, np.arange(NODES))
    assert hops.node[1].shape == (NODES, np.diff(graph.indptr_n).max())
    np.testing.assert_allclose(propagate(hops, table), expected, atol=1e-6)


def test_a_graph_without_edges_and_wrong_arguments(tmp_path):
    empty = graphs.write(tmp_path / "e", [], [], [], 4)
    for weighted in (True, False):
        sampler = neighbours.prepare(empty, weighted)
        node, weight = neighbours.sample(sampler, [0, 3], [0, 1], 0, 0, (2, 2))
        np.testing.assert_array_equal(node[2][1], 3)
        assert all((w == 0).all() for w in weight)
    assert (neighbours.every(empty, np.array([1])).weight[0] == 0).all()
    with pytest.raises(ValueError, match="row 1 has node 4, allowed: -1 to 3"):
        neighbours.sample(sampler, [0, 4], [0, 1], 0, 0)
    with pytest.raises(ValueError, match=r"fanout \(5, 0\), allowed: 1 or more"):
        neighbours.sample(sampler, [0], [0], 0, 0, (5, 0))
