# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention over neighbours against plain loops; GraphsTuples and jraph's network."""

from typing import Any

import jax
import numpy as np
import pytest

from unigeo_jax.nn import graph_attention, graph_network

NODES, DIM = 20, 8


def sample(batch=5, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(batch,), (batch, 4), (batch, 4, 3)]
    node = [rng.integers(NODES, size=s).astype(np.int32) for s in shapes]
    weight = [rng.uniform(0.1, 1, s).astype(np.float32) for s in shapes[1:]]
    return node, weight


def apply(module, draw, hops):
    return np.asarray(jax.jit(module.apply)(draw(module, hops), hops))


@pytest.mark.parametrize("kind", ["gat", "transformer"])
def test_a_layer_is_what_the_papers_write(kind, draw):
    rng = np.random.default_rng(0)
    own, far = rng.normal(size=(1, DIM)), rng.normal(size=(1, 3, DIM))
    own, far = own.astype(np.float32), far.astype(np.float32)
    weight = np.array([[1.0, 2.0, 0.0]], np.float32)
    layer = graph_attention.Layer(heads=2, kind=kind)
    variables = draw(layer, own, far, weight)
    found = jax.jit(layer.apply)(variables, own, far, weight)
    p = jax.tree.map(np.asarray, variables["params"])

    def norm(x, p):
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return scaled * p["scale"] + p["bias"]

    def project(x, p):
        return np.einsum("d,dhc->hc", x, p["kernel"]) + p["bias"]

    query = project(norm(own[0], p["norm"]), p["query"])
    seen = [
        norm(far[0, k], p["norm_far"]) for k in range(2)
    ]  # the third is no neighbour
    key = [project(x, p["key"]) for x in seen]
    heard = np.zeros((2, 4))
    for h in range(2):
        if kind == "gat":
            mixed = [query[h] + k[h] for k in key]
            mixed = [np.where(x > 0, x, 0.2 * x) for x in mixed]
            score = np.array([x @ p["attention"][h] for x in mixed])
            value = key
        else:
            score = np.array([query[h] @ k[h] for k in key]) / 2.0
            value = [project(x, p["value"]) for x in seen]
        share = np.exp(score) / np.exp(score).sum()
        heard[h] = sum(s * v[h] for s, v in zip(share, value, strict=True))
    expected = own[0] + heard.reshape(-1) @ p["out"]["kernel"]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["gat", "transformer"])
def test_neighbours_have_no_order_and_empty_slots_do_nothing(kind, draw):
    module = graph_attention.GraphAttention(NODES, DIM, heads=2, kind=kind)
    node, weight = sample()
    found = apply(module, draw, (node, weight))
    assert found.shape == (5, DIM)
    turned = [node[0], node[1][:, ::-1], node[2][:, ::-1]]
    again = apply(module, draw, (turned, [weight[0][:, ::-1], weight[1][:, ::-1]]))
    np.testing.assert_allclose(again, found, atol=1e-6)

    pad = ((0, 0), (0, 2))
    wider = [node[0], np.pad(node[1], pad), np.pad(node[2], (*pad, (0, 0)))]
    factor = [np.pad(weight[0], pad), np.pad(weight[1], (*pad, (0, 0)))]
    np.testing.assert_allclose(apply(module, draw, (wider, factor)), found, atol=1e-6)

    variables = draw(module, (node, weight))
    alone = [np.zeros_like(weight[0]), weight[1]]
    out = jax.jit(module.apply)(variables, (node, alone))
    np.testing.assert_array_equal(out, variables["params"]["table"][node[0]])


@pytest.mark.parametrize("kind", ["gat", "transformer"])
def test_gradients_reach_the_second_hop_and_are_finite(kind, draw):
    module = graph_attention.GraphAttention(NODES, DIM, heads=2, kind=kind)
    node, weight = sample(batch=1)
    node = [np.array([0], np.int32), np.full((1, 4), 1, np.int32), node[2] * 0 + 2]
    weight[0][:] = 1.0
    variables = draw(module, (node, weight))
    loss = jax.jit(jax.grad(lambda v: module.apply(v, (node, weight)).sum()))
    grads = loss(variables)
    table = np.asarray(grads["params"]["table"])
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(np.abs(table).max(1) > 0, np.arange(NODES) < 3)


def test_what_cannot_attend_is_named(draw):
    with pytest.raises(ValueError, match="kind 'gcn', allowed: gat, transformer"):
        draw(graph_attention.GraphAttention(NODES, DIM, kind="gcn"), sample())
    with pytest.raises(ValueError, match="got 3 heads, allowed: divisors of 8"):
        draw(graph_attention.GraphAttention(NODES, DIM, heads=3), sample())


def test_a_graphs_tuple_holds_each_place_as_a_tree():
    pytest.importorskip("jraph")
    node, weight = sample(batch=2)
    graphs = graph_network.to_graphs_tuple((node, weight))
    np.testing.assert_array_equal(graphs.n_node, [17, 17])
    np.testing.assert_array_equal(graphs.n_edge, [16, 16])
    ids = np.asarray(graphs.nodes)
    edges = zip(graphs.senders, graphs.receivers, graphs.edges[:, 0], strict=True)
    found = sorted((int(ids[r]), int(ids[s]), float(w)) for s, r, w in edges)
    expected = []
    for b in range(2):
        for i in range(4):
            expected.append((node[0][b], node[1][b, i], float(weight[0][b, i])))
            for j in range(3):
                far = (node[1][b, i], node[2][b, i, j], float(weight[1][b, i, j]))
                expected.append(far)
    assert found == sorted(expected)


def test_jraphs_network_encodes_each_graph_by_its_first_node(draw):
    jraph = pytest.importorskip("jraph")
    module: Any = graph_network.GraphNetwork(NODES, DIM)
    hops = sample(batch=2)
    graphs = graph_network.to_graphs_tuple(hops)
    variables = draw(module, graphs)
    apply = jax.jit(module.apply)
    out = apply(variables, graphs)
    assert out.shape == (2, DIM)
    # One alone, and with padding behind it, is the same.
    second = ([x[1:] for x in hops[0]], [x[1:] for x in hops[1]])
    alone = graph_network.to_graphs_tuple(second)
    padded = jraph.pad_with_graphs(alone, 34, 32)
    np.testing.assert_allclose(apply(variables, padded)[0], out[1], atol=1e-5)
    grad = jax.jit(jax.grad(lambda v: (module.apply(v, graphs) ** 2).sum()))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grad(variables)))
