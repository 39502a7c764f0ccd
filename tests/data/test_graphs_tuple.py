# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A graph as jraph.GraphsTuple and back, and encoders that are fed from one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.data import adjacency, graph, graphs_tuple, neighbours
from unigeo_jax.nn import graph as encoders
from unigeo_jax.nn import graph_attention, graph_network, graph_pack

jraph: Any = pytest.importorskip("jraph")
NODES, DIM, KINDS = 7, 4, ("air", "modelled")
# Nodes 0 and 6 have no edge; 2 and 5 have one of each kind; 3 has a loop.
ORIGIN, DESTINATION = np.array([4, 2, 2, 3, 1, 1]), np.array([1, 5, 5, 3, 2, 4])
WEIGHT, KIND = np.array([0.5, 2, 3, 1, 7, 0.25]), np.array([1, 0, 1, 1, 0, 0])


def users(edges="kinds", nodes=NODES):
    """A GraphsTuple as users build them, in any order of edges."""
    forms = {
        "kinds": {"weight": WEIGHT[:, None], "kind": KIND},
        "weights": jnp.asarray(WEIGHT, jnp.float32),
        "none": None,
    }
    return jraph.GraphsTuple(
        nodes=np.ones((nodes, 3)),
        edges=forms[edges],
        senders=jnp.asarray(ORIGIN, jnp.int32),
        receivers=jnp.asarray(DESTINATION, jnp.int32),
        globals=None,
        n_node=np.array([nodes]),
        n_edge=np.array([len(ORIGIN)]),
    )


def listed(tuple_):
    """Edges of a GraphsTuple, sorted: (sender, receiver, kind, weight)."""
    edges = tuple_.edges
    columns = tuple_.senders, tuple_.receivers, edges["kind"], edges["weight"][:, 0]
    return sorted(tuple(float(x) for x in row) for row in zip(*columns, strict=True))


def same(one, other):
    np.testing.assert_array_equal(one.indptr_n, other.indptr_n)
    np.testing.assert_array_equal(one.indices_e, other.indices_e)
    np.testing.assert_array_equal(one.weight_e, other.weight_e)
    np.testing.assert_array_equal(one.kind_e, other.kind_e)
    assert (one.kinds, one.sha) == (other.kinds, other.sha)


def test_weights_kinds_and_isolated_nodes_survive_both_ways(tmp_path):
    made = graphs_tuple.write(tmp_path / "a", users(), KINDS)
    wanted = graph.write(
        *(tmp_path / "b", ORIGIN, DESTINATION, WEIGHT, NODES, KIND, KINDS)
    )
    same(made, wanted)
    for back in (graphs_tuple.read(made), graphs_tuple.read(tmp_path / "a")):
        assert isinstance(back, jraph.GraphsTuple)
        np.testing.assert_array_equal(back.nodes, np.arange(NODES))
        assert (back.n_node.tolist(), back.n_edge.tolist()) == ([NODES], [len(ORIGIN)])
        assert listed(back) == sorted(
            zip(ORIGIN, DESTINATION, KIND, WEIGHT, strict=True)
        )
        same(graphs_tuple.write(tmp_path / "c", back, KINDS), wanted)


@pytest.mark.parametrize(("edges", "weight"), [("weights", WEIGHT), ("none", [1] * 6)])
def test_edges_may_be_weights_alone_or_nothing(tmp_path, edges, weight):
    made = graphs_tuple.write(tmp_path / "a", users(edges))
    wanted = graph.write(tmp_path / "b", ORIGIN, DESTINATION, weight, NODES)
    same(made, wanted)
    assert made.edges == 5  # the two from 2 to 5 add up
    added = adjacency.normalise(made)
    assert graphs_tuple.read(added).edges.keys() == {"weight"}


def test_a_graph_without_edges_is_one_both_ways(tmp_path):
    none = np.zeros(0, np.int32)
    empty = jraph.GraphsTuple(
        **{"nodes": None, "edges": np.zeros((0, 1)), "senders": none},
        **{"receivers": none, "globals": None, "n_node": [3], "n_edge": [0]},
    )
    made = graphs_tuple.write(tmp_path / "a", empty)
    assert (made.nodes, made.edges) == (3, 0)
    back = graphs_tuple.read(made)
    assert back.edges["weight"].shape == (0, 1) and back.n_node.tolist() == [3]
    same(graphs_tuple.write(tmp_path / "b", back), made)


def test_padding_is_left_out_and_several_graphs_are_numbered_through(tmp_path):
    two = jraph.batch_np([users(), users()])
    plain = graphs_tuple.write(tmp_path / "a", two, KINDS)
    for graph_count in (3, 5):  # the padding graph, and two empty ones behind it
        padded = jraph.pad_with_graphs(two, 20, 30, graph_count)
        made = graphs_tuple.write(tmp_path / "b", padded, KINDS, padded=True)
        same(made, plain)
    assert (made.nodes, made.edges) == (2 * NODES, 2 * len(ORIGIN))
    origin = np.append(ORIGIN, ORIGIN + NODES)
    destination = np.append(DESTINATION, DESTINATION + NODES)
    twice = np.append(WEIGHT, WEIGHT), 2 * NODES, np.append(KIND, KIND), KINDS
    same(made, graph.write(tmp_path / "c", origin, destination, *twice))
    # Not told, padding nodes are nodes without flows: padding edges weigh nothing.
    assert graphs_tuple.write(tmp_path / "d", padded, KINDS).nodes == 20
    with pytest.raises(ValueError, match=r"padded, with n_node \[7\]; allowed"):
        graphs_tuple.write(tmp_path / "e", users(), padded=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_edge": np.array([5])}, r"senders \(6,\); allowed: \(5,\), the sum"),
        ({"n_node": np.array([3, 4])}, r"n_node \(2,\), n_edge \(1,\)"),
        ({"n_node": np.array([4])}, "edge 0 .*unknown origin, allowed: nodes 0 to 3"),
        ({"edges": np.ones((6, 2))}, r"\{'weight': \(6, 2\)\}; allowed: None, weights"),
        ({"edges": {"kind": KIND}}, r"edges \{'kind': \(6,\)\}; allowed"),
        ({"edges": -WEIGHT}, "edge 0 .*weight, allowed: 0 or more"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        graphs_tuple.write(tmp_path / "a", users()._replace(**changes))
    assert not (tmp_path / "a").exists()


def test_lightgcn_of_a_graphs_tuple_is_what_jraph_sums_over_its_edges(tmp_path, draw):
    made = graphs_tuple.write(tmp_path / "a", users("weights"))
    a_hat = adjacency.normalise(made, "row_in", log1p=False)
    packed = graph_pack.pack(a_hat)
    net = encoders.LightGCN(NODES, DIM, 1)
    variables = draw(net, packed)
    table = variables["params"]["table"]
    graphs = users("weights")
    flow_e = graphs.edges[:, None]
    inflow = jraph.segment_sum(flow_e, graphs.receivers, NODES)
    sent = jraph.segment_sum(
        flow_e * table[graphs.senders], graphs.receivers, num_segments=NODES
    )
    wanted = table + sent / jnp.maximum(inflow, 1e-12)
    np.testing.assert_allclose(net.apply(variables, packed), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["gat", "transformer", "graph_network"])
def test_the_other_encoders_read_the_hops_of_a_graphs_tuple(tmp_path, draw, kind):
    made = graphs_tuple.write(tmp_path / "a", users())
    node_b = np.arange(NODES, dtype=np.int32)
    hops = neighbours.every(adjacency.normalise(made), node_b, 1)
    if kind == "graph_network":
        net: Any = graph_network.GraphNetwork(NODES, DIM, 1)
        given = graph_network.to_graphs_tuple(hops)
    else:
        net = graph_attention.GraphAttention(NODES, DIM, 2, kind)
        given = tuple(hops)
    variables = draw(net, given)

    @jax.jit
    def embed(table):
        params = {**variables["params"], "table": table}
        return net.apply({"params": params}, given)

    table = variables["params"]["table"]
    moved = [embed(table + row[:, None] * [1, -2, 3, 5]) for row in np.eye(NODES)]
    heard_ij = np.abs(np.stack(moved, 1) - embed(table)[:, None]).max(2) > 1e-6
    linked_ij = np.eye(NODES, dtype=bool)  # a node hears itself
    linked_ij[ORIGIN, DESTINATION] = linked_ij[DESTINATION, ORIGIN] = True
    np.testing.assert_array_equal(heard_ij, linked_ij)
