# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' own nodes and edges in Parquet, wrong ones too, as datasets with a graph."""

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from unigeo_jax.data import datasets, graph, splits
from unigeo_jax.data.datasets import nodes

COUNT = 300


def table(seed=0, **more):
    rng = np.random.default_rng(seed)
    people = [None if i % 7 == 0 else float(i) for i in range(COUNT)]
    return {
        "node": [f"n{i}" for i in range(COUNT)],
        "lat": rng.uniform(40, 60, COUNT),
        "lon": rng.uniform(350, 380, COUNT),
        "poi": [
            f"shop\tcorner {i}\t0.{i % 9}" if i % 5 else None for i in range(COUNT)
        ],
        "people": people,
        "homes": [i // 2 for i in range(COUNT)],
        "vector": [[float(i), 0.5] if i % 11 else None for i in range(COUNT)],
    } | more


def write(path, columns):
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def make(folder, columns, edges=None, **options):
    places = write(folder / "places.parquet", columns)
    flows = write(folder / "edges.parquet", edges) if edges else None
    return nodes.write("mine", places, flows, folder / "data", **options)


def records(folder):
    found = []
    for split in splits.SPLITS:
        source, _ = datasets.load("mine", split, folder / "data")
        found += list(source)
    return sorted(found, key=lambda record: record["node"])


def test_every_node_is_a_record_and_its_columns_are_fields(tmp_path):
    columns = table()
    folder = make(tmp_path, columns, demographics=("people", "homes"))
    found = records(tmp_path)
    assert [record["node"] for record in found] == list(range(COUNT))
    for i, record in enumerate(found):
        assert record["lat"] == columns["lat"][i]
        assert record["lon"] == splits.wrap_lon(columns["lon"][i])
        assert record["poi"] == (columns["poi"][i] or "")
        people, homes = record["demographics"]
        assert homes == i // 2
        assert np.isnan(people) if i % 7 == 0 else people == i
        assert record["vector"].shape == (2,)
        assert np.isnan(record["vector"]).all() == (i % 11 == 0)
        assert "people" not in record
    assert not (folder / "graph").exists()


def test_blocks_are_held_out_whole_and_the_same_tables_are_not_made_again(tmp_path):
    folder = make(tmp_path, table(), deg=5)
    made = (folder / "dataset_info.json").stat().st_mtime_ns
    blocks = {}
    for split in ("train", "val", "test"):
        _, index = datasets.load("mine", split, tmp_path / "data")
        blocks[split] = set(index["block"].tolist())
    assert not blocks["train"] & (blocks["val"] | blocks["test"])
    assert make(tmp_path, table(), deg=5) == folder
    assert (folder / "dataset_info.json").stat().st_mtime_ns == made
    with pytest.raises(ValueError, match=r"'mine'.*other tables or options.*another"):
        make(tmp_path, table(), deg=2)
    with pytest.raises(ValueError, match="deg=7; allowed: a divisor of 180"):
        make(tmp_path, table(), deg=7)
    with pytest.raises(ValueError, match="'earth'"):
        nodes.write("earth", tmp_path / "places.parquet", None, tmp_path / "data")


def test_edges_between_ids_become_the_graph(tmp_path):
    rng = np.random.default_rng(1)
    ends = rng.integers(0, COUNT, (2, 900))
    weight = rng.lognormal(size=900)
    edges = {
        "origin": [f"n{i}" for i in ends[0]],
        "destination": [f"n{i}" for i in ends[1]],
        "weight": weight,
    }
    found = graph.read(make(tmp_path, table(), edges) / "graph")
    dense = np.zeros((COUNT, COUNT))
    np.add.at(dense, (ends[0], ends[1]), weight)
    origin_e = np.repeat(np.arange(COUNT), np.diff(found.indptr_n))
    np.testing.assert_allclose(dense[origin_e, found.indices_e], found.weight_e, 1e-6)
    assert found.edges == (dense > 0).sum()


@pytest.mark.parametrize("resolution", [4, 9])
@pytest.mark.parametrize("as_text", [True, False])
def test_h3_cells_of_any_resolution_are_nodes_at_their_centres(
    tmp_path, resolution, as_text
):
    at = np.random.default_rng(0).uniform(0, 20, (COUNT, 2)).tolist()
    cells = list(dict.fromkeys(h3.latlng_to_cell(*p, resolution) for p in at))
    given = cells if as_text else [h3.str_to_int(cell) for cell in cells]
    flow = {"origin": given[:-1], "destination": given[1:]}
    flow["weight"] = [1] * (len(cells) - 1)
    folder = make(tmp_path, {"node": given}, flow, cells=True)
    for record, cell in zip(records(tmp_path), cells, strict=True):
        at = pytest.approx(h3.cell_to_latlng(cell), abs=1e-9)
        assert (record["lat"], record["lon"]) == at
    found = graph.read(folder / "graph")
    np.testing.assert_array_equal(found.indices_e, np.arange(1, len(cells)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lat": [91.0] * COUNT}, r"row 0 \(node n0\) has lat 91"),
        ({"node": ["n1"] * COUNT}, "rows 0 and 1 are both node n1"),
        ({"vector": [[1.0] * (1 + i % 2) for i in range(COUNT)]}, r"lists of \[1, 2\]"),
        ({"open": [True] * COUNT}, "column open is bool; allowed: texts, numbers"),
    ],
)
def test_what_is_wrong_with_a_table_of_nodes_is_said(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, table(**change))


def test_a_table_without_places_or_nodes_is_refused(tmp_path):
    for lacking in ("lat", "node"):
        columns = table()
        del columns[lacking]
        with pytest.raises(ValueError, match=f"no column {lacking}"):
            make(tmp_path, columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": ["n0", "x9"]}, "row 1 has origin x9, which is no node"),
        ({"weight": [1.0, -2.0]}, "edge 1 .*weight, allowed: 0 or more"),
        ({"weight": [np.nan, 1.0]}, "edge 0 .*weight"),
    ],
)
def test_what_is_wrong_with_an_edge_is_said(tmp_path, change, message):
    edges = {"origin": ["n0", "n1"], "destination": ["n1", "n2"], "weight": [1.0, 2.0]}
    with pytest.raises(ValueError, match=message):
        make(tmp_path, table(), edges | change)


def test_columns_asked_for_as_demographics_have_to_be_there(tmp_path):
    with pytest.raises(ValueError, match="no column wealth; there are: node, lat"):
        make(tmp_path, table(), demographics=("wealth",))
