# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vector files in any CRS, polygons, cells and rasters: in, with vectors out."""

import json
import signal
import subprocess
import sys

import h3
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import test_embed_table
from unigeo_jax import embed_table, geometries, grids

geopandas = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")
Encoder = test_embed_table.Encoder
LAT, LON = np.linspace(-60, 70, 9), np.linspace(-170, 170, 9)


def frame(crs="EPSG:4326"):
    points = geopandas.points_from_xy(LON, LAT)
    names = [f"p{i}" for i in range(9)]
    made = geopandas.GeoDataFrame({"name": names}, geometry=points, crs="EPSG:4326")
    return made if crs == "EPSG:4326" else made.to_crs(crs)


def vectors(path):
    return np.stack(pq.read_table(path)["embedding"].to_numpy())


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:8857"])
@pytest.mark.parametrize("suffix", ["parquet", "gpkg", "geojson"])
def test_points_of_any_crs_keep_it_and_get_the_vectors_of_their_degrees(
    tmp_path, crs, suffix
):
    source, out = tmp_path / f"in.{suffix}", tmp_path / "out.parquet"
    places = frame(crs)
    if suffix == "parquet":
        places.to_parquet(source)
    else:
        places.to_file(source, engine="pyogrio")
    assert embed_table.run(Encoder(), source, out, rows=4) == 9
    np.testing.assert_allclose(
        vectors(out), Encoder().embed(lat=LAT, lon=LON), atol=1e-6
    )
    found = geopandas.read_parquet(out)
    kept = "EPSG:4326" if suffix == "geojson" and crs == "EPSG:4326" else crs
    assert found.crs.equals(kept, ignore_axis_order=True)
    assert found.geometry.geom_equals_exact(places.geometry, 1e-6).all()
    assert list(found.columns) == ["name", "geometry", "embedding"]
    about = json.loads(pq.read_schema(out).metadata[b"unigeo_jax"])
    assert about["sha256"] == "aa" and about["package_version"] == "1"


def test_a_file_without_a_crs_is_refused(tmp_path):
    bare = frame().set_crs(None, allow_override=True)
    bare.to_parquet(tmp_path / "in.parquet")
    with pytest.warns(UserWarning, match="crs"):
        bare.to_file(tmp_path / "in.gpkg", engine="pyogrio")
    for name in ("in.parquet", "in.gpkg"):
        with pytest.raises(ValueError, match="has no CRS"):
            embed_table.run(Encoder(), tmp_path / name, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out*"))


def test_a_polygons_vector_is_the_mean_over_its_area():
    box, high = shapely.box(10, 0, 20, 10), shapely.box(0, 0, 10, 80)
    for shape in (box, high):
        at = geometries.spread(shape, 4000)
        assert len(at) == 4000
        assert shapely.contains_xy(shape, at[:, 1], at[:, 0]).all()
    # Of an area on the sphere the mean sine of latitude is that of its two edges.
    assert abs(np.sin(np.deg2rad(at[:, 0])).mean() - np.sin(np.deg2rad(80)) / 2) < 1e-3
    np.testing.assert_array_equal(at[:64], geometries.spread(high, 64))


def test_polygons_with_holes_parts_and_slivers(tmp_path):
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(1, 1, 9, 9))
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(40, 0, 43, 1)])
    sliver = shapely.Polygon([(0, 0), (50, 50), (50, 50 + 1e-9)])
    at = geometries.spread(ring, 200)
    assert shapely.contains_xy(ring, at[:, 1], at[:, 0]).all()
    assert abs((geometries.spread(two, 2000)[:, 1] > 30).mean() - 0.75) < 0.01
    assert len(geometries.spread(sliver, 4)) >= 1
    shapes = geopandas.GeoDataFrame(geometry=[ring, two, sliver], crs="EPSG:4326")
    shapes.to_parquet(tmp_path / "in.parquet")
    embed_table.run(
        Encoder(), tmp_path / "in.parquet", tmp_path / "o.parquet", points=8
    )
    at = geometries.spread(two, 8)
    want = Encoder().embed(lat=at[:, 0], lon=at[:, 1]).mean(axis=0)
    np.testing.assert_allclose(vectors(tmp_path / "o.parquet")[1], want, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            shapely.LineString([(0, 0), (1, 1)]),
            "row 1.*LineString.*points and polygons",
        ),
        (None, "row 1: geometry is nothing"),
        (shapely.Point(), "row 1: geometry is nothing"),
        (shapely.Point(5, 95), "lat=95"),
        (shapely.box(0, 80, 5, 95), "a polygon spans"),
    ],
)
def test_bad_geometries_are_one_clear_error(tmp_path, shape, words):
    shapes = geopandas.GeoDataFrame(
        geometry=[shapely.Point(0, 0), shape], crs="EPSG:4326"
    )
    shapes.to_parquet(tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=words):
        embed_table.run(Encoder(), tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_h3_cells_are_those_whose_centres_lie_in_the_box(tmp_path):
    out = tmp_path / "out.parquet"
    assert grids.cells(Encoder(), (-180, -90, 180, 90), 1, out) == 842
    box, out = (170.0, -20.0, -165.0, 5.0), tmp_path / "pacific.parquet"
    count = grids.cells(Encoder(), box, 3, out, rows=50)
    found = pq.read_table(out)
    lat, lon = found["lat"].to_numpy(), found["lon"].to_numpy()
    assert count == len(set(found["h3"].to_pylist())) == len(found)
    assert (np.abs(lat + 7.5) < 12.5).all() and ((lon > 170) | (lon < -165)).all()
    area = sum(map(h3.cell_area, found["h3"].to_pylist()))
    km2 = 6371**2 * np.deg2rad(25) * (np.sin(np.deg2rad(5)) + np.sin(np.deg2rad(20)))
    assert abs(area / km2 - 1) < 0.03
    np.testing.assert_array_equal(vectors(out), Encoder().embed(lat=lat, lon=lon))


def interrupted(out, dtype):
    """A raster of 36 pixels, stopped at its last strip and made by a second call."""
    box = (178.0, -2.0, -179.0, 1.0)
    with pytest.raises(KeyboardInterrupt):
        grids.raster(Encoder(fail_at=3), box, 0.5, out, dtype, rows=12)
    assert not out.exists()
    again = Encoder()
    assert grids.raster(again, box, 0.5, out, dtype, rows=12) == 36
    assert again.calls == 1
    return out, box


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_raster_holds_the_vectors_of_its_pixels_centres(tmp_path, dtype):
    rasterio = pytest.importorskip("rasterio")
    out, box = interrupted(tmp_path / "out.tif", dtype)
    with rasterio.open(out) as file:
        values, (step, _, west, _, down, north, *_) = file.read(), file.transform
        assert file.crs.to_epsg() == 4326
        job = json.loads(file.tags()["unigeo_jax"])
        assert job["sha256"] == "aa"
        assert file.scales[0] == (1.0 if dtype == "float32" else 1 / 127)
    assert (step, west, down, north) == (0.5, 178.0, -0.5, 1.0)
    lat, lon = north + 4.5 * down, west + 5.5 * step
    want = embed_table.stored(Encoder().embed(lat=[lat], lon=[lon]), job)[0]
    np.testing.assert_array_equal(values[:, 4, 5], want)
    assert not list(tmp_path.glob("*part*"))
    with pytest.raises(ValueError, match="another model"):
        grids.raster(Encoder("bb"), box, 0.5, out, dtype, rows=12)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_zarr_store_holds_them_in_chunks_and_says_whose_they_are(tmp_path, dtype):
    zarr = pytest.importorskip("zarr")
    out, box = interrupted(tmp_path / "out.zarr", dtype)
    root = zarr.open_group(out, mode="r")
    array, lat, lon = root["embedding"], root["lat"][:], root["lon"][:]
    assert (array.shape, array.chunks, array.dtype) == ((6, 6, 4), (2, 6, 4), dtype)
    assert array.metadata.dimension_names == ("lat", "lon", "number")
    for attrs in (root.attrs, array.attrs):
        assert attrs["crs"] == "EPSG:4326"
        assert attrs["transform"] == [0.5, 0.0, 178.0, 0.0, -0.5, 1.0]
        job = attrs["unigeo_jax"]
        assert (job["model_id"], job["package_version"], job["sha256"]) == (
            *("m", "1", "aa"),
        )
    np.testing.assert_array_equal(lat, 1 - 0.5 * (np.arange(6) + 0.5))
    np.testing.assert_array_equal(lon, 178 + 0.5 * (np.arange(6) + 0.5))
    z_nd = Encoder().embed(lat=np.repeat(lat, 6), lon=np.tile(lon, 6))
    want = embed_table.stored(z_nd, job).reshape(6, 6, 4)
    np.testing.assert_array_equal(array[:], want)
    assert array.attrs.get("scale_factor") == (1 / 127 if dtype == "int8" else None)
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    with pytest.raises(ValueError, match="another model"):
        grids.raster(Encoder("bb"), box, 0.5, out, dtype, rows=12)
    assert grids.raster(Encoder(fail_at=1), box, 0.5, out, dtype, rows=12) == 36


KILLED = """
import os, pathlib, signal, sys
import zarr
from tests import test_embed_table
from unigeo_jax import grids

calls, whole = 0, zarr.Array.__setitem__
def mortal(self, at, value):
    global calls
    calls += self.name == "/embedding"
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, at, value)
zarr.Array.__setitem__ = mortal
out = pathlib.Path(sys.argv[1])
grids.raster(test_embed_table.Encoder(), (0, 0, 4, 4), 0.5, out, rows=8)
"""


def test_a_kill_while_zarr_is_written_leaves_no_store(tmp_path):
    zarr = pytest.importorskip("zarr")
    out, box = tmp_path / "out.zarr", (0, 0, 4, 4)
    command = [sys.executable, "-c", KILLED, str(out)]
    ran = subprocess.run(command, cwd=test_embed_table.ROOT, capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == [".out.zarr.part.zarr", "out.zarr.parts"]
    again = Encoder()
    assert grids.raster(again, box, 0.5, out, rows=8) == 64 and again.calls == 0
    assert np.isfinite(zarr.open_group(out, mode="r")["embedding"][:]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]


def test_what_lies_there_and_is_no_store_is_left_alone(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "mine").touch()
    with pytest.raises(ValueError, match="is there already"):
        grids.raster(Encoder(), (0, 0, 4, 4), 0.5, tmp_path / "out.zarr")
    assert (tmp_path / "out.zarr" / "mine").exists()


def test_cells_are_listed_in_bounded_pieces_and_none_is_lost(monkeypatch):
    box, resolution = (5.0, 40.0, 14.0, 47.0), 6
    corners = [(40.0, 5.0), (40.0, 14.0), (47.0, 14.0), (47.0, 5.0)]
    want = set(h3.polygon_to_cells(h3.LatLngPoly(corners), resolution))
    monkeypatch.setattr(grids, "CELLS", 1000)
    pieces = [batch["h3"].to_pylist() for batch in grids._cells(box, resolution)]
    found = [name for piece in pieces for name in piece]
    assert len(found) == len(want) > 10_000 and set(found) == want
    assert max(map(len, pieces)) < 2 * grids.CELLS and len(pieces) > 10


def test_the_finest_cells_of_a_large_box_come_at_once():
    first = next(grids._cells((-10.0, 40.0, 30.0, 60.0), 15))
    assert 1000 < len(first) < 2 * grids.CELLS


def test_boxes_and_sizes_that_are_none_are_refused(tmp_path):
    out = tmp_path / "out.tif"
    with pytest.raises(ValueError, match="south below north"):
        grids.cells(Encoder(), (0, 10, 5, 5), 3, out)
    with pytest.raises(ValueError, match="allowed: 0 to 15"):
        grids.cells(Encoder(), (0, 0, 5, 5), 16, out)
    with pytest.raises(ValueError, match="whole number"):
        grids.raster(Encoder(), (0, 0, 5, 5), 0.3, out)
    with pytest.raises(ValueError, match="float32, int8"):
        grids.raster(Encoder(), (0, 0, 5, 5), 0.5, out, "float16")
    with pytest.raises(ValueError, match=r"allowed: \.tif, \.tiff, \.zarr"):
        grids.raster(Encoder(), (0, 0, 5, 5), 0.5, tmp_path / "out.parquet")


def test_all_points_of_a_polygon_have_the_time_of_its_row(tmp_path):
    shapes = [shapely.box(0, 0, 1, 1), shapely.Point(5, 5), shapely.box(9, 9, 10, 10)]
    when = ["2021-01", None, "1999-01-01"]
    made = geopandas.GeoDataFrame({"time": when}, geometry=shapes, crs="EPSG:4326")
    made.to_file(tmp_path / "in.gpkg", engine="pyogrio")
    out = tmp_path / "out.parquet"
    enc = test_embed_table.Timed()
    assert embed_table.run(enc, tmp_path / "in.gpkg", out, points=7) == 3
    known = [[2021 + 14 / 366, 1], [0, 0], [1999, 1]]
    np.testing.assert_allclose(vectors(out)[:, :2], known, rtol=1e-6)
