# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' tables of flows: any ids, H3 cells, CSV and Parquet, errors that name rows."""

import h3
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from unigeo_jax.data import edge_tables

NODES = {"node": ["b", "a", "007"], "lat": [1.0, 2.0, 3.0], "lon": [10.0, 20.0, -170.0]}
EDGES = {
    "origin": ["a", "007", "a"],
    "destination": ["b", "007", "b"],
    "weight": [1.5, 2.0, 4.0],
}


def save(tmp_path, name, columns, suffix):
    path = tmp_path / f"{name}{suffix}"
    table = pa.table(columns)
    if suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path, row_group_size=2)
    return path


def both(tmp_path, edges=EDGES, nodes=NODES, suffix=".parquet", **options):
    return edge_tables.from_table(
        tmp_path / "graph",
        save(tmp_path, "edges", edges, suffix),
        save(tmp_path, "nodes", nodes, suffix),
        **options,
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_ids_become_row_numbers_of_the_table_of_nodes(tmp_path, suffix):
    graph, nodes = both(tmp_path, suffix=suffix)
    np.testing.assert_array_equal(graph.indptr_n, [0, 0, 1, 2])
    np.testing.assert_array_equal(graph.indices_e, [0, 2])
    np.testing.assert_array_equal(graph.weight_e, [5.5, 2.0])
    assert graph.kinds == ("flow",)
    assert nodes.id.to_pylist() == ["b", "a", "007"]
    np.testing.assert_array_equal(nodes.lat_n, [1, 2, 3])
    np.testing.assert_array_equal(nodes.lon_n, [10, 20, -170])


def test_ids_beyond_int32_and_kinds_are_kept(tmp_path):
    nodes = NODES | {"node": pa.array([2**40, 5, 2**63], pa.uint64())}
    edges = {
        "origin": pa.array([5, 5, 2**40], pa.int64()),
        "destination": pa.array([2**40, 2**40, 5], pa.int64()),
        "weight": pa.array([1, 2, 3], pa.int32()),
        "kind": ["rail", "air", "rail"],
    }
    graph, _ = both(tmp_path, edges, nodes)
    assert graph.kinds == ("rail", "air")
    np.testing.assert_array_equal(graph.indices_e, [1, 0, 0])
    np.testing.assert_array_equal(graph.kind_e, [0, 0, 1])
    np.testing.assert_array_equal(graph.weight_e, [3, 1, 2])


@pytest.mark.parametrize("resolution", [3, 9])
@pytest.mark.parametrize("text", [True, False])
def test_h3_cells_are_nodes_in_either_spelling(tmp_path, resolution, text):
    cells = [h3.latlng_to_cell(lat, 7.0, resolution) for lat in (45.0, 46.0, 47.0)]
    numbers = pa.array([h3.str_to_int(cell) for cell in cells], pa.uint64())
    edges = {"origin": cells[:2], "destination": cells[1:], "weight": [1.0, 2.0]}
    nodes = {"node": cells if text else numbers}
    graph, known = both(tmp_path, edges, nodes, cells=True)
    np.testing.assert_array_equal(graph.indices_e, [1, 2])
    assert known.id.to_pylist() == numbers.to_pylist()
    centres = np.array([h3.cell_to_latlng(cell) for cell in cells])
    np.testing.assert_array_equal(np.stack([known.lat_n, known.lon_n], 1), centres)


@pytest.mark.parametrize(
    ("edges", "nodes", "message"),
    [
        ({"origin": ["a", "a", "x"]}, {}, "row 2 has origin x, which is no node"),
        ({"destination": ["a", None, "b"]}, {}, "row 1 has destination None"),
        ({"weight": [1.0, 2.0, None]}, {}, r"edge 2 .*weight nan"),
        ({"weight": [1.0, -2.0, 1.0]}, {}, r"edge 1 .*weight -2\.0"),
        ({"weight": ["1", "many", "2"]}, {}, "weight is string"),
        ({"origin": [[1], [2], [3]]}, {}, "origin is list.*nodes are string"),
        ({}, {"node": ["a", "b", "a"]}, "rows 0 and 2 are both node a"),
        ({}, {"node": ["a", None, "b"]}, "row 1 has no node"),
        ({}, {"lat": [1.0, 91.0, 2.0]}, r"row 1 \(node a\) has lat 91\.0"),
        ({}, {"lon": [1.0, 2.0, None]}, r"row 2 \(node 007\) has .*lon nan"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, edges, nodes, message):
    with pytest.raises(ValueError, match=message):
        both(tmp_path, EDGES | edges, NODES | nodes)


def test_columns_cells_and_endings_are_checked(tmp_path):
    with pytest.raises(ValueError, match="no column weight; it has origin, dest"):
        both(tmp_path, {"origin": ["a"], "destination": ["a"]})
    with pytest.raises(ValueError, match="no column lat, lon; it has node"):
        both(tmp_path, nodes={"node": ["a"]})
    with pytest.raises(ValueError, match="row 0 has b, which is no H3 cell"):
        both(tmp_path, cells=True)
    with pytest.raises(ValueError, match=r"ends in \.parquet or \.csv"):
        edge_tables.read_nodes(tmp_path / "nodes.xlsx")
    with pytest.raises(ValueError, match="no row"):
        both(tmp_path, nodes={"node": pa.array([], pa.string())})
