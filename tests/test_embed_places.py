# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vector files in any CRS, polygons, cells and rasters: in, with vectors out."""

import json

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


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_raster_holds_the_vectors_of_its_pixels_centres(tmp_path, dtype):
    rasterio = pytest.importorskip("rasterio")
    out, box = tmp_path / "out.tif", (178.0, -2.0, -179.0, 1.0)
    with pytest.raises(KeyboardInterrupt):
        grids.raster(Encoder(fail_at=3), box, 0.5, out, dtype, rows=12)
    assert not out.exists()
    again = Encoder()
    assert grids.raster(again, box, 0.5, out, dtype, rows=12) == 36
    assert again.calls == 1
    with rasterio.open(out) as file:
        values, (step, _, west, _, down, north, *_) = file.read(), file.transform
        assert file.crs.to_epsg() == 4326
        job = json.loads(file.tags()["unigeo_jax"])
        assert job["sha256"] == "aa"
    assert (step, west, down, north) == (0.5, 178.0, -0.5, 1.0)
    lat, lon = north + 4.5 * down, west + 5.5 * step
    want = embed_table.stored(Encoder().embed(lat=[lat], lon=[lon]), job)[0]
    np.testing.assert_array_equal(values[:, 4, 5], want)
    assert not list(tmp_path.glob("*part*"))
    with pytest.raises(ValueError, match="another model"):
        grids.raster(Encoder("bb"), box, 0.5, out, dtype, rows=12)


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
