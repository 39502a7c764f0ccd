# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' own nodes and flows, the whole way: tables, dataset, training, vectors."""

import json
import subprocess
import sys
from pathlib import Path

import h3
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from configs import mobclip, own
from unigeo_jax import distill, train
from unigeo_jax.data import datasets, graph, places, splits
from unigeo_jax.evals import nodes

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300


def table(**more):
    rng = np.random.default_rng(0)
    return {
        "node": [f"n{i:03}" for i in range(COUNT)],
        "lat": rng.uniform(40, 60, COUNT),
        "lon": rng.uniform(-10, 20, COUNT),
        "people": [None if i % 7 == 0 else float(i) for i in range(COUNT)],
        "seen": [[float(i), 0.5] if i % 11 else None for i in range(COUNT)],
    } | more


def flows(ids, seed=1):
    """Flows between all ids but the last, which has none."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, len(ids) - 1, (2, 3 * len(ids)))
    return ends, {
        "origin": [ids[i] for i in ends[0]],
        "destination": [ids[i] for i in ends[1]],
        "weight": rng.lognormal(size=ends.shape[1]),
        "kind": [("rail", "road")[i % 2] for i in ends[0]],
    }


def write(path, columns):
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def build(folder, columns, edges=None, suffix=".parquet", **options):
    options = {"split": "blocked:2", "vectors": ("seen",)} | options
    options["vectors"] = tuple(name for name in options["vectors"] if name in columns)
    if edges:
        options["edges"] = str(write(folder / f"edges{suffix}", edges))
    path = write(folder / f"places{suffix}", columns)
    return places.build(path, folder / "data", "mine", places.Options(**options), 0)


def records(folder):
    """All records, and their split, by node."""
    found = {}
    for split in ("train", "val", "test"):
        source, _ = datasets.load("mine", split, folder / "data")
        found |= {record["node"]: record | {"split": split} for record in source}
    return [found[node] for node in sorted(found)]


def dense(found):
    out = np.zeros((found.nodes,) * 2)
    origin_e = np.repeat(np.arange(found.nodes), np.diff(found.indptr_n))
    np.add.at(out, (origin_e, found.indices_e), found.weight_e)
    return out


def test_nodes_are_records_and_flows_their_graph(tmp_path):
    columns = table()
    ends, edges = flows(columns["node"])
    order = np.random.default_rng(2).permutation(COUNT)
    mixed = {name: [column[i] for i in order] for name, column in columns.items()}
    folder = build(tmp_path, mixed, edges, demographics=("people",))
    found = records(tmp_path)
    assert [r["node"] for r in found] == list(range(COUNT))
    for i, record in enumerate(found):
        assert (record["id"], record["lat"]) == (f"n{i:03}", columns["lat"][i])
        assert np.isnan(record["demographics"]).all() == (i % 7 == 0)
        assert np.isnan(record["seen"]).all() == (i % 11 == 0)
    flow = graph.read(folder / "graph")
    expected = np.zeros((COUNT, COUNT))
    np.add.at(expected, (ends[0], ends[1]), edges["weight"])
    np.testing.assert_allclose(dense(flow), expected, 1e-6)
    assert sorted(flow.kinds) == ["rail", "road"]
    assert flow.kind_e is not None
    kind_e = np.array(flow.kinds)[flow.kind_e]
    origin_e = np.repeat(np.arange(COUNT), np.diff(flow.indptr_n))
    np.testing.assert_array_equal(kind_e == "road", origin_e % 2 == 1)
    about = json.loads((folder / "statistics.json").read_text())
    assert about["fields"]["mobility"]["present"]["train"] > COUNT / 2
    assert about["fields"]["seen"]["width"] == 2


def test_rows_in_csv_and_flows_between_rows_that_are_dropped(tmp_path):
    columns = table(node=list(range(COUNT)), lat=[95.0, *table()["lat"][1:]])
    del columns["seen"]
    ends, edges = flows(columns["node"])
    folder = build(tmp_path, columns, edges, suffix=".csv")
    found = records(tmp_path)
    assert [r["node"] for r in found] == list(range(1, COUNT))
    expected = np.zeros((COUNT, COUNT))
    np.add.at(expected, (ends[0], ends[1]), edges["weight"])
    np.testing.assert_allclose(dense(graph.read(folder / "graph")), expected, 1e-6)
    assert "lat=95.0" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("resolution", [4, 9])
@pytest.mark.parametrize("as_text", [True, False])
def test_h3_cells_of_any_resolution_are_nodes_at_their_centres(
    tmp_path, resolution, as_text
):
    at = np.random.default_rng(0).uniform(0, 20, (COUNT, 2)).tolist()
    cells = sorted({h3.latlng_to_cell(*p, resolution) for p in at})
    numbers = pa.array([h3.str_to_int(cell) for cell in cells], pa.uint64())
    edges = {"origin": cells[:-1], "destination": cells[1:]}
    edges["weight"] = [1] * (len(cells) - 1)
    given = cells if as_text else numbers  # flows are in the one spelling
    folder = build(tmp_path, {"node": given}, edges, h3_nodes=True)
    for record, cell in zip(records(tmp_path), cells, strict=True):
        assert record["id"] == cell
        at = pytest.approx(h3.cell_to_latlng(cell), abs=1e-9)
        assert (record["lat"], record["lon"]) == at
    found = graph.read(folder / "graph")
    np.testing.assert_array_equal(found.indices_e, np.arange(1, len(cells)))


def test_nodes_given_twice_or_at_one_place_and_places_without_node(tmp_path):
    ids = [f"n{i:03}" for i in range(COUNT)]
    ids[1], ids[2] = ids[0], None
    columns = table(node=ids)
    columns["lat"][4], columns["lon"][4] = columns["lat"][3], columns["lon"][3]
    folder = build(tmp_path, columns)
    assert "'n000', kept is row" in (folder / "report.txt").read_text()
    found = {}
    for split in ("train", "val", "test"):
        source, index = datasets.load("mine", split, tmp_path / "data")
        for record, cell in zip(source, index["cell"], strict=True):
            found[record["id"]] = (record["node"], int(cell), split)
    assert len(found) == COUNT - 1
    assert [node for node, _, _ in found.values()].count(-1) == 1
    assert found["n003"][1:] == found["n004"][1:]  # one cell: never negatives
    assert found["n003"][0] != found["n004"][0]


def test_another_table_of_flows_is_another_dataset(tmp_path):
    columns = table()
    _, edges = flows(columns["node"])
    assert build(tmp_path, columns, edges) == build(tmp_path, columns, edges)
    _, other = flows(columns["node"], seed=3)
    with pytest.raises(ValueError, match="other places or options"):
        build(tmp_path, columns, other)


@pytest.mark.parametrize(
    ("columns", "edges", "options", "message"),
    [
        ({}, {"origin": ["n000", "x9"]}, {}, "row 1 has origin x9, which is none of"),
        ({}, {"weight": [1.0, -2.0]}, {}, r"row 1 has weight -2\.0; allowed: 0 or"),
        ({}, {"weight": [np.nan, 1.0]}, {}, "row 0 has weight nan"),
        ({"node": [None] * COUNT}, {}, {}, "no row has a node"),
        ({}, {}, {"h3_nodes": True}, "none of 300 rows can be used.*no H3 cell"),
        ({}, {}, {"demographics": ("wealth",)}, "no column wealth; there are node,"),
        ({"poi": ["x"] * COUNT}, {}, {"vectors": ("poi",)}, "vectors named poi"),
    ],
)
def test_what_is_wrong_with_nodes_or_flows_is_said(
    tmp_path, columns, edges, options, message
):
    ends = {"origin": ["n000", "n001"], "destination": ["n001", "n002"]}
    with pytest.raises(ValueError, match=message):
        build(
            tmp_path, table(**columns), ends | {"weight": [1.0, 2.0]} | edges, **options
        )
    assert not list((tmp_path / "data").glob("mine/[0-9]*"))


def test_a_table_without_places_is_refused_unless_nodes_are_cells(tmp_path):
    columns = {"node": table()["node"]}
    with pytest.raises(ValueError, match="with --h3_nodes a column node of H3 cells"):
        build(tmp_path, columns)


@pytest.mark.slow
def test_from_two_tables_to_vectors_of_nodes(tmp_path, monkeypatch):
    """The command; three steps around mobility; a vector a node, those without flows
    and held-out ones too."""
    columns = table()
    _, edges = flows(columns["node"])
    command = [sys.executable, str(ROOT / "launch" / "make_dataset.py"), "--workers=0"]
    command += [f"--places={write(tmp_path / 'n.parquet', columns)}", "--name=mine"]
    command += [f"--edges={write(tmp_path / 'e.parquet', edges)}", "--vectors=seen"]
    command += [f"--out={tmp_path}", "--demographics=people", "--split=blocked:2"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    monkeypatch.setenv("UNIGEO_DATA_DIR", str(tmp_path))
    towers = {"mobility", "demographics", "seen", "coords"}
    assert set(own.get_config("data=mine,tiny").towers) == towers
    assert set(mobclip.get_config("data=mine,release,tiny").towers) == (
        towers - {"coords"}
    )
    config = mobclip.get_config("data=mine,tiny")
    assert set(config.towers) == towers and config.loss.pairs == "pivot:mobility"
    with config.unlocked():
        config.steps, config.eval.splits = 3, ("test",)
        del config.towers["demographics"]
    state = train.fit(config, tmp_path / "run", tmp_path)
    assert int(state.step) == 3
    scores = json.loads((tmp_path / "run" / "eval" / "3.json").read_text())
    assert "mobility->coords" in scores["test"]
    found, *_ = distill.teacher_vectors(tmp_path / "run", ("mobility",), tmp_path)
    assert found.here["mobility"].all() and len(found.lat) == COUNT
    embed = nodes.lookup(found.lat, found.lon, found.z["mobility"])
    z_nd = embed(columns["lat"], splits.wrap_lon(columns["lon"]))
    table_nd = np.asarray(state.params["mobility"]["table"])[-1]
    np.testing.assert_allclose(z_nd[-1], table_nd, rtol=1e-5)
    assert not np.allclose(z_nd[0], np.asarray(state.params["mobility"]["table"])[0])


def test_without_flows_mobility_cannot_be_the_pivot(tmp_path, monkeypatch):
    build(tmp_path, table())
    monkeypatch.setenv("UNIGEO_DATA_DIR", str(tmp_path / "data"))
    assert set(own.get_config("data=mine").towers) == {"seen", "coords"}
    with pytest.raises(ValueError, match="mine has no graph of flows; allowed: a data"):
        mobclip.get_config("data=mine")
