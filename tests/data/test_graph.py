# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The graph on disk: what is written is what is read, and bad edges are named."""

import json

import numpy as np
import pytest

from unigeo_jax.data import graph as graphs


def draw(nodes=50, edges=900, kinds=3, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(nodes, size=edges),
        rng.integers(nodes, size=edges),
        rng.uniform(0.1, 9, edges),
        rng.integers(kinds, size=edges),
    )


def dense(graph):
    """Adds up kinds: float64 (n, n)."""
    out = np.zeros((graph.nodes, graph.nodes))
    row_e = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr_n))
    np.add.at(out, (row_e, graph.indices_e), graph.weight_e)
    return out


@pytest.mark.parametrize("block", [7, 64, 10_000])
def test_blocks_of_any_size_give_the_same_files(tmp_path, monkeypatch, block):
    origin, destination, weight, kind = draw()
    whole = graphs.write(tmp_path / "a", origin, destination, weight, 50, kind)
    monkeypatch.setattr(graphs, "BLOCK", block)
    parts = graphs.write(tmp_path / "b", origin, destination, weight, 50, kind)
    assert parts.sha == whole.sha
    assert parts.kinds == ("0", "1", "2")
    expected = {}
    for o, d, k, w in zip(origin, destination, kind, weight, strict=True):
        expected[int(o), int(d), int(k)] = expected.get((o, d, k), 0.0) + w
    row_e = np.repeat(np.arange(50), np.diff(parts.indptr_n))
    found = list(zip(row_e, parts.indices_e, parts.kind_e, strict=True))
    assert found == sorted(expected)
    np.testing.assert_array_equal(
        parts.weight_e, np.array([expected[e] for e in found], np.float32)
    )


def test_arrays_are_memory_mapped_and_typed(tmp_path):
    graph = graphs.write(tmp_path / "g", *draw()[:3], 50)
    again = graphs.read(tmp_path / "g")
    for name, dtype in (
        ("indptr_n", np.int64),
        ("indices_e", np.int32),
        ("weight_e", np.float32),
        ("kind_e", np.uint8),
    ):
        assert isinstance(getattr(again, name), np.memmap)
        assert getattr(again, name).dtype == dtype
    assert again.sha == graph.sha != ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g"]


def test_duplicates_add_zeros_go_loops_stay_and_all_are_counted(tmp_path):
    graph = graphs.write(
        tmp_path / "g",
        origin=[0, 0, 1, 1, 3],
        destination=[2, 2, 1, 0, 0],
        weight=[1.5, 2.0, 4.0, 0.0, 1e-60],
        nodes=5,
        kinds=["rail"],
    )
    np.testing.assert_array_equal(graph.indptr_n, [0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(graph.indices_e, [2, 1])
    np.testing.assert_array_equal(graph.weight_e, [3.5, 4.0])
    about = json.loads((tmp_path / "g/graph.json").read_text())
    assert about["zero_weights"] == 2
    assert about["self_loops"] == 1
    assert about["isolated_rows"] == 3
    assert about["edges_given"] == 5
    assert about["kinds"] == ["rail"]


def test_kinds_keep_parallel_edges_apart(tmp_path):
    graph = graphs.write(
        tmp_path / "g", [0, 0, 0], [1, 1, 1], [1, 2, 4], 2, [1, 0, 1], ["a", "b"]
    )
    np.testing.assert_array_equal(graph.kind_e, [0, 1])
    np.testing.assert_array_equal(graph.weight_e, [2, 5])


def test_a_graph_without_edges_is_a_graph(tmp_path):
    graph = graphs.write(tmp_path / "g", [], [], [], nodes=3)
    assert graph.nodes == 3
    assert graph.edges == 0
    np.testing.assert_array_equal(graph.indptr_n, [0, 0, 0, 0])
    assert graphs.transpose(graph).edges == 0


def test_a_hub_row_may_hold_every_node(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK", 16)
    nodes = 300
    origin = np.concatenate([np.full(nodes, 7), np.arange(nodes)])
    destination = np.concatenate([np.arange(nodes), np.full(nodes, 7)])
    graph = graphs.write(
        tmp_path / "g", origin, destination, np.ones(2 * nodes), nodes, None
    )
    np.testing.assert_array_equal(
        graph.indices_e[graph.indptr_n[7] : graph.indptr_n[8]], np.arange(nodes)
    )
    assert json.loads((tmp_path / "g/graph.json").read_text())["largest_row"] == nodes
    assert graph.edges == 2 * nodes - 1


def test_numbers_of_nodes_up_to_int32_are_kept_apart(tmp_path):
    last = 3_000_000
    graph = graphs.write(
        tmp_path / "g",
        np.array([last - 1, 0, last - 1], np.uint64),
        np.array([last - 1, last - 1, 0], np.uint64),
        [1, 2, 3],
        last,
        [255, 7, 0],
        [str(k) for k in range(256)],
    )
    np.testing.assert_array_equal(graph.indices_e, [last - 1, 0, last - 1])
    np.testing.assert_array_equal(graph.weight_e, [2, 3, 1])
    np.testing.assert_array_equal(graph.kind_e, [7, 0, 255])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": [0, 9, 1]}, r"edge 1 \(origin 9, .*unknown origin.*0 to 3"),
        ({"destination": [0, 1, -1]}, r"edge 2 .*destination -1.*unknown destination"),
        ({"origin": [0, 2**40, 1]}, r"edge 1 \(origin 1099511627776"),
        ({"weight": [1, -0.5, 1]}, r"edge 1 .*weight -0\.5.*0 or more"),
        ({"weight": [1, 1, np.nan]}, r"edge 2 .*weight nan"),
        ({"weight": [np.inf, 1, 1]}, r"edge 0 .*weight inf"),
        ({"weight": [1e39, 1, 1]}, r"edge 0 .*weight 1e\+39"),
        ({"kind": [0, 0, 5], "kinds": ["a"]}, r"edge 2 .*unknown kind.*0 to 0"),
        ({"kind": [0, 300, 0]}, r"edge 1 .*unknown kind.*0 to 255"),
        ({"origin": [0, 1]}, r"allowed: one length"),
        ({"origin": [0.0, 1.0, 2.0]}, r"origin is float64, allowed: integers"),
        ({"weight": ["a", "b", "c"]}, r"weight is .*allowed: numbers"),
        ({"nodes": 0}, r"nodes=0, allowed: 1 to 2147483647"),
        ({"nodes": 2**31}, r"nodes=2147483648, allowed"),
    ],
)
def test_what_cannot_be_an_edge_is_named(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(graphs, "BLOCK", 2)
    good = {"origin": [0, 1, 2], "destination": [1, 2, 3], "weight": [1, 1, 1]}
    with pytest.raises(ValueError, match=message):
        graphs.write(tmp_path / "g", **(good | {"nodes": 4} | change))
    assert list(tmp_path.iterdir()) == []


def test_duplicates_that_add_up_beyond_float32_are_named(tmp_path):
    with pytest.raises(ValueError, match="edges 1 to 0 add up to"):
        graphs.write(tmp_path / "g", [1, 1], [0, 0], [3e38, 3e38], 2)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds no graph\.json"):
        graphs.write(tmp_path / "g", [0], [0], [1], 1)
    assert (tmp_path / "g/thesis.txt").read_text() == "mine"


def test_writing_again_replaces_the_graph(tmp_path):
    first = graphs.write(tmp_path / "g", [0], [1], [1.0], 2)
    second = graphs.write(tmp_path / "g", [1], [0], [5.0], 2)
    assert first.sha != second.sha
    np.testing.assert_array_equal(graphs.read(tmp_path / "g").weight_e, [5.0])
    np.testing.assert_array_equal(first.weight_e, [1.0])  # still mapped


def test_a_folder_that_is_no_graph_or_a_torn_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no .*graph\.json"):
        graphs.read(tmp_path)
    graphs.write(tmp_path / "g", [0, 1], [1, 0], [1.0, 2.0], 2)
    np.save(tmp_path / "g/weight.npy", np.ones(1, np.float32))
    with pytest.raises(ValueError, match=r"weight\.npy: got float32 \(1,\)"):
        graphs.read(tmp_path / "g")
    (tmp_path / "g/graph.json").write_text('{"version": 99}')
    with pytest.raises(ValueError, match="version 99"):
        graphs.read(tmp_path / "g")


@pytest.mark.parametrize("kinds", [1, 3])
def test_transposing_turns_every_edge_round(tmp_path, kinds):
    graph = graphs.write(
        tmp_path / "g", *draw(kinds=kinds)[:3], 50, draw(kinds=kinds)[3]
    )
    turned = graphs.transpose(graph)
    np.testing.assert_array_equal(dense(turned), dense(graph).T)
    again = graphs.transpose(turned)
    for a, b in zip(again[:4], graph[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    merged = graphs.transpose(graph._replace(kind_e=None))
    np.testing.assert_array_equal(merged.weight_e, turned.weight_e)
    assert turned.indptr_n.dtype == np.int64
    assert turned.indices_e.dtype == np.int32
