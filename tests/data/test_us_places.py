# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ZIP areas as places and nodes: records, inputs that are no targets, splits, graph."""

import json

import numpy as np
import pytest

from unigeo_jax.data import datasets, graph, splits
from unigeo_jax.data.datasets import earth_crops, us_flows, us_places, us_zips


@pytest.fixture(scope="module")
def loaded(data_dir):
    name = "us_places/tiny"
    return {s: datasets.load(name, s, data_dir) for s in splits.SPLITS}


@pytest.fixture(scope="module")
def records(loaded):
    return [record for source, _ in loaded.values() for record in source]


@pytest.fixture(scope="module")
def folder(loaded, data_dir):
    return datasets.find("us_places/tiny", data_dir)


def test_a_modality_reads_a_record_of_either_dataset(records, earth_tiny):
    source, _ = datasets.load("earth/tiny", "val", earth_tiny)
    shared = set(records[0]) & set(source[0])
    assert shared >= {
        *("place", "node", "lat", "lon", "cell", "block", "aerial", "night", "dsm"),
        *("street", "text", "text_masked", "poi", "demographics"),
    }
    for name in shared:
        mine, other = records[0][name], source[0][name]
        assert type(mine) is type(other), name
        if name != "demographics" and not isinstance(mine, str):
            assert np.shape(mine) == np.shape(other), name
            assert mine.dtype == other.dtype, name


def test_no_record_holds_a_target(records):
    table, target = us_zips.zips(), us_zips.targets()
    assert len(us_zips.DEMOGRAPHICS) == 5
    for record in records[::17]:
        row = int(np.searchsorted(table["zip"], record["place"]))
        numbers = np.concatenate(
            [np.ravel(v) for v in record.values() if np.size(v) and not _is_text(v)]
        ).astype(np.float64)
        for name, value_n in target.items():
            for value in (value_n[row], np.log1p(value_n[row])):
                near = np.isclose(numbers, value, rtol=1e-5) & (numbers % 1 != 0)
                assert not near.any() or value % 1 == 0, name


def _is_text(value):
    return isinstance(value, str) or np.asarray(value).dtype == np.uint8


def test_demographics_are_what_they_are_called_and_missing_ones_nan(records):
    table = us_zips.zips()
    row = int(np.searchsorted(table["zip"], 10001))
    manhattan = us_zips.demographics()[row]
    expected = [np.log1p(21102), np.log1p(12476), 21102 / 12476, np.log1p(0.62 * 2.59)]
    np.testing.assert_allclose(manhattan[:4], expected, rtol=1e-3)
    empty = np.flatnonzero(table["housing_units"] == 0)
    assert np.isnan(us_zips.demographics()[empty, 2]).all()
    for record in records[::29]:
        row = int(np.searchsorted(table["zip"], record["place"]))
        np.testing.assert_array_equal(
            record["demographics"], us_zips.demographics()[row]
        )


def test_blocks_of_two_degrees_are_held_out_whole():
    table, plan = us_zips.zips(), us_zips.plan("full")
    assert sum(map(len, plan.values())) == len(table["zip"]) == 33_120
    blocks = {
        s: set(splits.block_ids(table["lat"][r], table["lon"][r], 2).tolist())
        for s, r in plan.items()
    }
    assert blocks["near"] <= blocks["train"]
    assert not blocks["train"] & (blocks["val"] | blocks["test"])
    assert not blocks["val"] & blocks["test"]
    assert {s: len(r) for s, r in plan.items()} == {
        **{"train": 25_753, "val": 2_874, "test": 3_493, "near": 1_000},
    }
    tiny = us_zips.plan("tiny")
    for split, row_i in tiny.items():
        np.testing.assert_array_equal(plan[split][: len(row_i)], row_i)


def test_the_index_lists_the_records_in_their_order(loaded):
    for source, index in loaded.values():
        for name in ("lat", "lon", "cell", "block"):
            stored = np.array([record[name] for record in source])
            np.testing.assert_array_equal(stored, index[name])
            assert stored.dtype == index[name].dtype


def test_areas_at_one_point_share_a_cell_and_no_others_do():
    table = us_zips.zips()
    cell_n = splits.point_cells(table["lat"], table["lon"])
    at = [f"{a:.4f} {b:.4f}" for a, b in zip(table["lat"], table["lon"], strict=True)]
    assert len(set(cell_n.tolist())) == len(set(at)) < len(at)
    first = {}
    for row, point in enumerate(at):
        assert cell_n[row] == first.setdefault(point, row)


def test_nodes_number_the_areas_by_code_and_the_graph_has_their_flows(records, folder):
    record_n = sorted(records, key=lambda r: r["place"])
    assert [r["node"] for r in record_n] == list(range(len(records)))
    found = graph.read(folder / "graph")
    assert found.nodes == len(records)
    assert found.kinds == us_flows.KINDS
    assert "modelled" in found.kinds[1]
    table = us_zips.zips()
    rows = np.searchsorted(table["zip"], [r["place"] for r in record_n])
    flows = us_places.flows(rows)
    dense = np.zeros((2, len(rows), len(rows)))
    np.add.at(dense, (flows["kind"], flows["origin"], flows["destination"]), 1.0)
    origin_e = np.repeat(np.arange(found.nodes), np.diff(found.indptr_n))
    there = np.zeros_like(dense)
    there[found.kind_e, origin_e, found.indices_e] = 1
    np.testing.assert_array_equal(there, dense > 0)
    assert (dense.sum((1, 2)) > 0).all()


def test_of_flights_all_is_shared_out_that_has_an_area_near_both_airports():
    table = us_zips.zips()
    airports, counted = (
        earth_crops.table(f"{name}.npz") for name in ("airports", "flights")
    )
    at_n3 = splits.unit_vectors(table["lat"], table["lon"])
    airport_a3 = splits.unit_vectors(airports["lat"], airports["lon"])
    people_n = table["population"].astype(float)
    flights = us_flows.Edges(
        counted["origin"], counted["destination"], counted["count"].astype(float)
    )
    edges = us_flows.air(at_n3, people_n, airport_a3, flights)
    _, share_ak = us_flows.catchments(at_n3, people_n, airport_a3)
    served_a = share_ak.sum(1) > 0
    both = served_a[flights.origin] & served_a[flights.destination]
    total = flights.weight[both].sum()
    assert total > 0.98 * flights.weight.sum()
    assert edges.weight.sum() == pytest.approx(total, rel=1e-3)
    assert edges.weight.sum() <= total * (1 + 1e-9)
    assert len(edges.weight) < 64 * len(flights.weight)


def test_earth_s_graph_is_that_of_the_airports_and_its_nodes_are_the_nearest(
    earth_tiny,
):
    found = graph.read(datasets.find("earth/tiny", earth_tiny) / "graph")
    assert (found.nodes, found.edges) == (305, 5366)
    assert found.kinds == ("air (BTS 2008)",)
    assert found.weight_e.sum() == 7_009_728
    source, _ = datasets.load("earth/tiny", "train", earth_tiny)
    airports = earth_crops.table("airports.npz")
    at_a3 = splits.unit_vectors(airports["lat"], airports["lon"])
    nodes = set()
    for record in source:
        dot_a = at_a3 @ splits.unit_vectors(record["lat"], record["lon"])
        km_a = splits.EARTH_RADIUS_KM * np.arccos(np.clip(dot_a, -1, 1))
        expected = int(km_a.argmin()) if km_a.min() <= 50 else -1
        assert record["node"] == expected
        nodes.add(expected)
    assert len(nodes) > 3


def test_what_is_modelled_or_rendered_is_called_so_in_the_metadata(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    assert "rendered" in metadata["street"]
    assert "log1p population" in metadata["demographics"]
    info = json.loads((folder / "dataset_info.json").read_text())
    assert "gravity-modelled" in info["description"]


def test_an_unknown_config_is_named(data_dir):
    with pytest.raises(ValueError, match="us_places: config 'huge', allowed full"):
        datasets.find("us_places/huge", data_dir)
