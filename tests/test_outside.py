# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged files that fuzzing found: each is one ValueError that names the file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests import geotiffs
from unigeo_jax import bundles, embed_table, outside, pth
from unigeo_jax.data import edge_tables, graph, tokenizer
from unigeo_jax.data.own import problems, rasters, table
from unigeo_jax.modalities import vector
from unigeo_jax.siglip import files

AT = {"lat": [1.0, 2.0], "lon": [3.0, 4.0]}
LATE = pa.array([2**62, 0], pa.timestamp("us"))  # no date of Python's


def save(path, columns, geo=None):
    made = pa.table(columns)
    if geo is not None:
        made = made.replace_schema_metadata({b"geo": json.dumps(geo).encode()})
    pyarrow.parquet.write_table(made, path)
    return path


def test_a_zip_whose_member_says_it_is_larger_than_the_file_is_refused(tmp_path):
    path = tmp_path / "domain.npz"
    np.savez(path, inside=np.zeros(129_600, np.uint8), km=np.float32(25.0))
    assert bundles.read_domain(tmp_path)[1] == 25
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 20  # of the first member: its bytes in the file
    data[at : at + 4] = (1_700_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    readers = bundles.read_domain, pth.read, files.open_weights
    for read, of in zip(readers, (tmp_path, path, path), strict=True):
        with pytest.raises(ValueError, match=r"domain\.npz.*takes 1700000000 bytes"):
            read(of)


def test_a_raster_of_very_many_bands_is_refused_at_once(tmp_path):
    path = tmp_path / "many.tif"
    geotiffs.write_raster(path, np.zeros((5000, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"many\.tif: 5000 bands.*at most 4096"):
        rasters.Raster(rasters.Source("r", str(path)))
    opened = rasters.Raster(rasters.Source("r", str(path), bands=(5000,)))
    assert opened.about()["bands"] == [5000]
    opened.close()


def test_only_what_a_file_holds_is_turned_into_a_refusal(tmp_path):
    def refuse(error):
        with outside.refused("a.file"):
            raise error

    for error in (KeyError("x"), OSError("thrift"), OSError(22, "seek"), EOFError()):
        with pytest.raises(ValueError, match=r"a\.file: cannot be read"):
            refuse(error)
    for error in (MemoryError(), FileNotFoundError(2, "no"), PermissionError(13, "no")):
        with pytest.raises(type(error)):
            refuse(error)
    said = ValueError("a.file: row 3 is bad")
    with pytest.raises(ValueError, match=r"^a\.file: row 3 is bad$"):
        refuse(said)


@pytest.mark.parametrize(
    ("columns", "geo"),
    [
        (AT | {"time": LATE}, None),
        ({"geometry": [b"x", b"y"]}, []),
        ({"geometry": [b"x", b"y"]}, {"columns": {"geometry": 1}}),
        ({"geometry": [True, False]}, None),
    ],
    ids=["time", "geo", "column of geo", "geometry"],
)
def test_tables_of_places(tmp_path, columns, geo):
    path = save(tmp_path / "p.parquet", columns, geo)
    with pytest.raises(ValueError, match=r"p\.parquet"):
        table.read(path, problems.Problems())


@pytest.mark.parametrize("at", [4, -30])
def test_a_damaged_parquet_file_is_named_by_all_who_read_one(tmp_path, at):
    path = save(tmp_path / "p.parquet", AT | {"weight": [1.0, 2.0]})
    data = bytearray(path.read_bytes())
    data[at : at + 20] = b"\xff" * 20
    path.write_bytes(data)
    for read in (
        lambda: table.read(path, problems.Problems()),
        lambda: edge_tables.from_table(tmp_path / "g", path, edge_tables.ranked("ab")),
        lambda: vector.open_file.__wrapped__(str(path), "lat"),
        lambda: list(embed_table.batches(path, ("lat", "lon"), 9)),
    ):
        with pytest.raises(ValueError, match=r"p\.parquet"):
            read()


def test_a_latitude_without_a_longitude_leaves_the_place_to_the_geometry(tmp_path):
    point = bytes([1, 1, 0, 0, 0]) + np.array([13.5, 48.0]).tobytes()
    path = save(tmp_path / "p.parquet", {"lat": [1.0], "geometry": [point]}, {})
    places, _ = table.read(path, problems.Problems())
    assert (places[0]["lat"], places[0]["lon"]) == (48.0, 13.5)


def test_a_table_to_embed_with_a_column_twice(tmp_path):
    made = pa.table([[1.0], [2.0], [3.0]], ["lat", "lon", "lat"])
    path = save(tmp_path / "p.parquet", made)
    with pytest.raises(ValueError, match=r"\['lat'\] are there"):
        list(embed_table.batches(path, ("lat", "lon"), 9))


def test_demographics_that_are_no_list_are_masked_and_their_place_is_kept(tmp_path):
    path = save(tmp_path / "p.parquet", AT | {"demographics": [7, None]})
    found = problems.Problems()
    places, _ = table.read(path, found)
    assert [place["demographics"] for place in places] == [[], []]
    assert found.bad_rows == {0}


@pytest.mark.parametrize(
    ("id", "cells"),
    [
        (pa.array([[1]]), False),
        (LATE[:1], False),
        (pa.array([0.5]), True),
        (pa.array([-1]), True),
        (pa.array([None], pa.int64()), True),
        (pa.array([[1]]), True),
    ],
    ids=["lists", "late", "fractions", "negative", "no cell", "lists as cells"],
)
def test_ends_of_edges_that_cannot_be(tmp_path, id, cells):
    ends = {"origin": id, "destination": id, "weight": [1.0]}
    edges = save(tmp_path / "e.parquet", ends)
    known = edge_tables.ranked([0x85283473FFFFFFF] if cells else ["a"])
    with pytest.raises(ValueError, match=r"e\.parquet"):
        edge_tables.from_table(tmp_path / "g", edges, known, cells)


def test_columns_of_edges_that_cannot_be(tmp_path):
    ends = {"origin": ["a"], "destination": ["b"], "weight": [1.0]}
    twice = pa.table([*ends.values(), ["a"]], [*ends, "origin"])
    for columns in (twice, ends | {"kind": [[1]]}):
        edges = save(tmp_path / "e.parquet", columns)
        with pytest.raises(ValueError, match=r"e\.parquet"):
            edge_tables.from_table(tmp_path / "g", edges, edge_tables.ranked("ab"))


def test_files_of_vectors(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.zeros((2, 3), np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"(2, 3), }", b"(2, 3)(, "))
    with pytest.raises(ValueError, match=r"v\.npy"):
        vector.open_file.__wrapped__(str(path), "")
    for values in (LATE, pa.array([["a"], ["b"]])):
        path = save(tmp_path / "v.parquet", {"v": values})
        with pytest.raises(ValueError, match="lists of numbers"):
            vector.open_file.__wrapped__(str(path), "v")


def test_a_raster_whose_pixels_cannot_be_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(1, 40, 40)).astype(np.float32)
    path = tmp_path / "r.tif"
    geotiffs.write_raster(path, values)
    path.write_bytes(path.read_bytes()[:-3000])
    at = {"lat": 48.0245, "lon": 13.5245}
    like = rasters.Source("r", "column:r", metres=400.0, size=8, high=1.0)
    ((_, _, why),) = rasters.cut_files(like, [at | {"column:r": path.name}], tmp_path)
    assert why.startswith("file: raster r: ") and "r.tif" in why
    opened = rasters.Raster(rasters.Source("r", str(path), 400.0, size=8, high=1.0))
    with pytest.raises(ValueError, match=r"r\.tif"):
        list(opened.cut(np.array([at["lat"]]), np.array([at["lon"]])))


@pytest.mark.parametrize("geo", [[], {"primary_column": "none"}], ids=["list", "none"])
def test_geoparquet_that_names_no_column(tmp_path, geo):
    path = save(tmp_path / "g.parquet", AT, geo)
    with pytest.raises(ValueError, match=r"g\.parquet"):
        list(embed_table.batches(path, ("lat", "lon"), 9))


def test_a_vector_file_without_layers(tmp_path):
    path = tmp_path / "v.fgb"
    path.write_bytes(b"fgb\x03fgb\x01" + bytes(30))
    with pytest.raises(ValueError, match=r"v\.fgb"):
        list(embed_table.batches(path, ("lat", "lon"), 9))


def test_a_vocabulary_that_cannot_take_a_text(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    model = tokenizers.models.WordLevel({"a": 0}, unk_token="<unk>")
    tokenizers.Tokenizer(model).save(str(path))
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        tokenizer.load(path).encode("b")


@pytest.mark.parametrize(
    ("name", "values"),
    [("indptr", [0, 3, 1, 3]), ("indices", [1, 2, 2**31 - 1]), ("indices", [-1, 0, 1])],
    ids=["falling", "beyond", "negative"],
)
def test_arrays_of_a_graph_that_lead_beyond_it(tmp_path, name, values):
    graph.write(tmp_path / "g", [0, 1, 2], [1, 2, 0], [1.0, 2.0, 3.0], 3)
    path = tmp_path / "g" / f"{name}.npy"
    np.save(path, np.array(values, np.load(path).dtype))
    with pytest.raises(ValueError, match=r"indptr\.npy|none of 3 nodes"):
        graph.transpose(graph.read(tmp_path / "g"))
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00{(")
    with pytest.raises(ValueError, match=path.name):
        graph.read(tmp_path / "g")


@pytest.mark.parametrize("prefix", ["x", "\0", "bb"])
def test_merges_of_a_vocabulary_that_would_end_the_process(tmp_path, prefix):
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    model = tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    tokenizers.Tokenizer(model).save(str(path))
    assert tokenizer.load.__wrapped__(path).encode("ab") == [2]
    about = json.loads(path.read_text("utf-8"))
    about["model"]["continuing_subword_prefix"] = prefix
    path.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ValueError, match="is of no piece"):
        tokenizer.load.__wrapped__(path)
