# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Chips in any CRS, photos joined by distance, points of GeoParquet."""

import numpy as np
import pytest

from tests.geotiffs import write_raster
from unigeo_jax.data import splits
from unigeo_jax.data.own import division, photos, problems, rasters, table

rasterio = pytest.importorskip("rasterio")
warp = pytest.importorskip("rasterio.warp")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3413"])
def test_chips_are_squares_on_the_ground_north_up_in_any_crs(crs, tmp_path):
    """A raster of latitudes and longitudes: its chip shows where its pixels lie."""
    lat, lon, n = 65.0, 20.0, 300
    x, y = (c[0] for c in warp.transform("EPSG:4326", crs, [lon], [lat]))
    step = 0.0002 if crs == "EPSG:4326" else 30.0
    to = rasterio.Affine(step, 0, x - step * n / 2, 0, -step, y + step * n / 2)
    column, row = np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5)
    xs, ys = rasters.apply(to, column.ravel(), row.ravel())
    lons, lats = warp.transform(crs, "EPSG:4326", xs, ys)
    values = np.stack([np.reshape(lats, (n, n)), np.reshape(lons, (n, n))])
    path = write_raster(
        tmp_path / "x.tif", values - [[[lat]], [[lon]]], crs=crs, transform=to
    )
    raster = rasters.Raster(rasters.Source("x", path, metres=600.0, size=20))
    ((chip, valid, why),) = raster.cut(np.array([lat]), np.array([lon]))
    assert why == "" and valid.all()
    north, east = rasters.metres_a_degree(np.array([lat]))
    offset = (np.arange(20) - 9.5) * 30.0
    np.testing.assert_allclose(chip[..., 0].mean(1) * north, -offset, atol=6)
    np.testing.assert_allclose(chip[..., 1].mean(0) * east, offset, atol=6)


def test_no_data_is_never_averaged_in_and_mostly_void_chips_are_absent(tmp_path):
    values = np.full((1, 400, 400), 100, np.int16)
    values[0, :, ::2] = -9999
    values[0, :150] = -9999
    path = write_raster(tmp_path / "x.tif", values, nodata=-9999)
    raster = rasters.Raster(rasters.Source("dsm", path, metres=640.0, size=16))
    x, y = [392_000.0] * 2, [5_317_500.0, 5_319_500.0]
    lon, lat = warp.transform("EPSG:32633", "EPSG:4326", x, y)
    inside, void = raster.cut(np.array(lat), np.array(lon))
    assert inside[2] == "" and set(inside[0][inside[1]].tolist()) == {100}
    assert void[2] == "nodata"


def test_photos_join_the_nearest_places():
    found = [("b.jpg", 0.0, 0.0001), ("a.jpg", 0.0, 0.0), ("far.jpg", 1.0, 1.0)]
    near = photos.join(np.array([0.0, 50.0]), np.array([0.0, 0.0]), found, 30.0, 2)
    assert near == [["a.jpg", "b.jpg"], []]


def test_geoparquet_points_are_places(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    points = [
        b"\x01\x01\x00\x00\x00" + np.array([7.5, i], "<f8").tobytes() for i in range(3)
    ]
    columns = {"geometry": points, "id": ["a", "b", "c"]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    rows, count = table.read(tmp_path / "p.parquet", problems.Problems())
    assert count == 3 and {(r["lat"], r["lon"]) for r in rows} == {
        (0.0, 7.5),
        (1.0, 7.5),
        (2.0, 7.5),
    }


def test_s2_cells_are_those_of_s2():
    s2sphere = pytest.importorskip("s2sphere")
    rng = np.random.default_rng(0)
    lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, 300)))
    lon = rng.uniform(-180, 180, 300)
    for level in (0, 4, 10, 20):
        found = splits.s2_cells(lat, lon, level)
        for at, cell in zip(zip(lat, lon, strict=True), found, strict=True):
            point = s2sphere.LatLng.from_degrees(*at)
            face, i, j, _ = s2sphere.CellId.from_lat_lng(point).to_face_ij_orientation()
            assert cell.tolist() == [face, i >> (30 - level), j >> (30 - level)]


def test_s2_cells_of_known_places():
    """Face, i and j at level 8, as the package s2sphere 0.2.5 gives them."""
    lat = [48.8584, -33.8568, 40.6892, 90.0, 0.0]
    lon = [2.2945, 151.2153, -74.0445, 0.0, 180.0]
    expected = [[2, 12, 121], [3, 232, 47], [4, 10, 174], [2, 128, 128], [3, 128, 127]]
    np.testing.assert_array_equal(splits.s2_cells(lat, lon, 8), expected)


def test_a_split_by_s2_holds_out_whole_cells():
    lat, lon = np.random.default_rng(0).uniform(0, 2, (2, 400))
    rows = [
        {"id": str(i), "lat": a, "lon": b}
        for i, (a, b) in enumerate(zip(lat, lon, strict=True))
    ]
    split, group = division.assign("s2:8", rows, (0.1, 0.1))
    assert {len(set(split[group == g])) for g in set(group)} == {1}
    assert set(split) == {"train", "val", "test"} and len(set(group)) > 20
    with pytest.raises(ValueError, match=r"allowed: .*s2:<level>"):
        division.groups("s2:31", rows)
