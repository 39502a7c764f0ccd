# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' tables of flows: any ids, H3 cells, CSV and Parquet, errors that name rows."""

import math

import h3
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from unigeo_jax.data import edge_tables, graph

NODES = ["b", "a", "007"]  # numbers 2, 1, 0
EDGES = {
    "origin": ["a", "007", "a"],
    "destination": ["b", "007", "b"],
    "weight": [1.5, 2.0, 4.0],
}


def make(tmp_path, edges, nodes, suffix=".parquet", cells=False):
    path = tmp_path / f"edges{suffix}"
    if suffix == ".csv":
        csv.write_csv(pa.table(edges), path)
    else:
        parquet.write_table(pa.table(edges), path, row_group_size=2)
    ids = (edge_tables.identity(node, cells) for node in nodes)
    known = edge_tables.ranked(id for id in ids if id is not None)
    return edge_tables.from_table(tmp_path / "graph", path, known, cells)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_ids_become_their_ranks_and_flows_given_twice_add_up(tmp_path, suffix):
    found = make(tmp_path, EDGES, NODES, suffix)
    np.testing.assert_array_equal(found.indptr_n, [0, 1, 2, 2])
    np.testing.assert_array_equal(found.indices_e, [0, 2])
    np.testing.assert_array_equal(found.weight_e, [2.0, 5.5])
    assert found.kinds == ("flow",)


def test_ids_beyond_int32_and_kinds_are_kept(tmp_path):
    edges = {
        "origin": pa.array([5, 5, 2**40], pa.int64()),
        "destination": pa.array([2**40, 2**40, 5], pa.int64()),
        "weight": pa.array([1, 2, 3], pa.int32()),
        "kind": ["rail", "air", "rail"],
    }
    found = make(tmp_path, edges, [2**40, 5, 2**63])
    assert found.kinds == ("rail", "air")
    np.testing.assert_array_equal(found.indices_e, [1, 1, 0])
    np.testing.assert_array_equal(found.kind_e, [0, 1, 0])
    np.testing.assert_array_equal(found.weight_e, [1, 2, 3])
    np.testing.assert_array_equal(graph.read(tmp_path / "graph").indptr_n, [0, 2, 3, 3])


def test_whole_numbers_are_ranked_by_value_however_they_are_written(tmp_path):
    for nodes in ([10, 9, 2, 0], ["10", "9", "2", "0"], [b"10", b"9", 2.0, 0, None]):
        for origin in ([10, 2], ["10", "2"], [10.0, 2.0]):
            edges = {"origin": origin, "destination": [0, 9], "weight": [1.0, 2.0]}
            found = make(tmp_path, edges, nodes)
            np.testing.assert_array_equal(found.indptr_n, [0, 0, 1, 1, 2])
            np.testing.assert_array_equal(found.indices_e, [2, 0])
    assert edge_tables.identity(math.nan) is None is edge_tables.identity("")
    assert edge_tables.identity("NA") == "NA"  # Namibia
    assert edge_tables.ranked([2**70, -1]).to_pylist() == ["-1", str(2**70)]


@pytest.mark.parametrize("resolution", [3, 9])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_h3_cells_are_nodes_in_either_spelling(tmp_path, resolution, text, suffix):
    cells = [h3.latlng_to_cell(lat, 7.0, resolution) for lat in (45.0, 46.0, 47.0)]
    numbers = [h3.str_to_int(cell) for cell in cells]
    edges = {"origin": cells[:2], "destination": cells[1:], "weight": [1.0, 2.0]}
    if not text:
        for end, own in (("origin", numbers[:2]), ("destination", numbers[1:])):
            edges[end] = pa.array(own, pa.uint64())
    nodes = numbers if text else cells
    found = make(tmp_path, edges, nodes, suffix, cells=True)
    rank = np.argsort(np.argsort(numbers))
    dense = np.zeros((3, 3))
    dense[rank[0], rank[1]], dense[rank[1], rank[2]] = 1, 2
    origin_e = np.repeat(np.arange(3), np.diff(found.indptr_n))
    np.testing.assert_array_equal(dense[origin_e, found.indices_e], found.weight_e)
    assert found.edges == 2


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"origin": ["a", "a", "x"]}, "row 2 has origin x, which is none of the 3"),
        ({"origin": [1, 2, 7]}, "row 0 has origin 1, which is none"),
        ({"destination": ["a", None, "b"]}, "row 1 has destination None"),
        ({"origin": [["a"], [], []]}, r"row 0 has origin \['a'\], which is none"),
        ({"weight": [1.0, 2.0, None]}, "row 2 has weight nan; allowed: 0 or more"),
        ({"weight": [1.0, -2.0, 1.0]}, r"row 1 has weight -2\.0; allowed"),
        ({"weight": [1.0, 1.0, math.inf]}, "row 2 has weight inf; allowed"),
        ({"weight": [1.0, 1.0, 1e39]}, "edge 2 .*finite in float32"),
        ({"weight": ["1", "many", "2"]}, "weight is string"),
    ],
)
def test_what_is_wrong_with_a_flow_is_named(tmp_path, edges, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, EDGES | edges, NODES)


def test_unknown_numbers_and_fractions_are_named_among_whole_ones(tmp_path):
    edges = {"destination": [1, 1], "weight": [1.0, 1.0]}
    for origin, said in (([1, -3], "-3"), ([1.0, 0.5], "0.5"), (["1", "x"], "x")):
        with pytest.raises(ValueError, match=f"row 1 has origin {said}, which is none"):
            make(tmp_path, edges | {"origin": origin}, [0, 1])


def test_columns_cells_and_endings_are_checked(tmp_path):
    with pytest.raises(ValueError, match="no column weight; it has origin, dest"):
        make(tmp_path, {"origin": ["a"], "destination": ["a"]}, NODES)
    cell = h3.latlng_to_cell(45, 7, 5)
    with pytest.raises(ValueError, match="row 0 has a, which is no H3 cell"):
        make(tmp_path, EDGES, [cell], cells=True)
    with pytest.raises(ValueError, match="b, which is no H3 cell"):
        make(tmp_path, EDGES, NODES, cells=True)
    with pytest.raises(ValueError, match=r"ends in \.parquet or \.csv"):
        edge_tables.from_table(tmp_path, tmp_path / "e.xlsx", edge_tables.ranked("ab"))
