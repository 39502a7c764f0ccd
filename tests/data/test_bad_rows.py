# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A bad row among many is named, pictures are turned, photos join by distance."""

import io
import json

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.geotiffs import write_raster
from unigeo_jax.data import datasets, places
from unigeo_jax.data.own import photos, problems, rasters, table


def test_bad_rows_among_many_are_named_by_their_numbers(tmp_path):
    count, at = 30_000, np.random.default_rng(0).uniform(-80, 80, 30_000)
    lines = [f"p{i},{lat:.5f},{i % 360 - 180},fine" for i, lat in enumerate(at)]
    # A cell short, and not UTF-8: what follows keeps its numbers.
    lines[5] = "p5\xe9,10.0,20.0"
    lines[12_345] = "p12345,91.0,20.0,fine"
    lines[20_000] = "p19999,1.0,2.0,twin"
    lines[29_999] = "p29999,nan,2.0,last"
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["id,lat,lon,text", *lines]), "latin-1")
    found = problems.Problems()
    rows, read = table.read(path, found)
    named = {e["row"]: e["kind"] for e in found.examples}
    twin = {19_999, 20_000} & set(named)
    assert named == {
        5: "wrong number of cells",
        12_345: "lat and lon swapped?",
        29_999: "no position",
        twin.pop(): "duplicate id",
    }
    assert (read, len(rows)) == (count, count - 4)


def turned_jpeg(orientation):
    """Red left of blue, 40 x 20 pixels, to be turned by the viewer."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0], pixels[:, 20:, 2] = 220, 220
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("orientation", "red"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")]
)
def test_a_picture_is_turned_as_exif_asks(orientation, red):
    pixels, repaired = photos.decode(turned_jpeg(orientation))
    assert bool(repaired) == (orientation != 1)
    assert pixels.shape[:2] == ((20, 40) if red in ("left", "right") else (40, 20))
    half = {
        "left": pixels[:, :15],
        "right": pixels[:, -15:],
        "top": pixels[:15],
        "bottom": pixels[-15:],
    }
    assert {k for k, v in half.items() if v[..., 0].mean() > 180} == {red}


def test_a_place_whose_swapped_coordinates_lie_in_the_raster_is_dropped(tmp_path):
    pytest.importorskip("rasterio")
    values = np.ones((3, 400, 400), np.uint8)
    raster = write_raster(tmp_path / "rgb.tif", values)
    opened = rasters.Raster(rasters.Source("aerial", raster, metres=160.0, size=16))
    at = [(48.01 + i / 1e4, 13.55) for i in range(20)]
    at[7] = at[7][::-1]  # 13.55 N 48.01 E is a place too, in Yemen
    given = [{"row": i, "lat": a, "lon": b} for i, (a, b) in enumerate(at)]
    found = problems.Problems()
    kept = rasters.drop_swapped(given, [opened], found)
    assert [p["row"] for p in kept] == [i for i in range(20) if i != 7]
    assert [(e["row"], e["kind"]) for e in found.examples] == [
        (7, "lat and lon swapped?")
    ]


def test_geoparquet_of_another_crs_is_refused(tmp_path):
    point = b"\x01\x01\x00\x00\x00" + np.array([4e5, 5e6], "<f8").tobytes()
    column = {"crs": {"id": {"authority": "EPSG", "code": 32633}}}
    geo = {"primary_column": "geometry", "columns": {"geometry": column}}
    made = pa.table({"geometry": [point]})
    made = made.replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(made, tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"geometry in CRS 32633; allowed: WGS 84"):
        table.read(tmp_path / "p.parquet", problems.Problems())


def test_photos_of_a_table_join_the_places_near_them(tmp_path):
    """As Mapillary lists photos: a position and a file each."""
    for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        image = PIL.Image.new("RGB", (32, 16), colour)
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.save(tmp_path / "photos" / f"{name}.jpg")
    listed = ["id,lat,lon,street", "1,10.0001,20.0,red.jpg", "2,10.0,20.01,blue.jpg"]
    (tmp_path / "photos" / "list.csv").write_text("\n".join(listed))
    lines = ["id,lat,lon", *(f"p{i},{10 + i},20.0" for i in range(12))]
    (tmp_path / "places.csv").write_text("\n".join(lines))
    options = places.Options(
        photo_table=str(tmp_path / "photos" / "list.csv"),
        photo_m=50.0,
        street_px=(16, 32),
        split="random",
        overlap=True,
    )
    places.build(tmp_path / "places.csv", tmp_path / "sets", "ph", options, 0)
    seen = {}
    for split in ("train", "val", "test"):
        source, _ = datasets.load("ph", split, tmp_path / "sets")
        seen |= {source[n]["id"]: source[n]["street"] for n in range(len(source))}
    assert [k for k, v in seen.items() if v is not None] == ["p0"]
    assert seen["p0"][..., 0].mean() > 200  # the red one, 11 m away; blue is at 1 km


def test_a_large_photo_is_decoded_small_and_looks_the_same():
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    large = PIL.Image.fromarray(coarse).resize(
        (1600, 1200), PIL.Image.Resampling.BICUBIC
    )
    stream = io.BytesIO()
    large.save(stream, "JPEG", quality=95)
    whole, _ = photos.decode(stream.getvalue())
    small, _ = photos.decode(stream.getvalue(), (64, 128))
    assert whole.shape == (1200, 1600, 3) and small.shape[0] <= 300
    assert small.shape[0] >= 128 and small.shape[1] >= 256
    fitted = [photos.fit(p, 64, 128).astype(int) for p in (whole, small)]
    assert np.abs(fitted[0] - fitted[1]).mean() < 2
    with pytest.raises(photos.Unusable, match="damaged"):
        photos.decode(stream.getvalue()[:9000], (64, 128))


def test_a_link_leads_where_it_leads_and_not_out_of_the_folder(tmp_path):
    root, out = tmp_path / "images", tmp_path / "out"
    for folder in (root / "a", out):
        folder.mkdir(parents=True)
        (folder / "x.jpg").write_bytes(folder.name.encode())
    (root / "b").symlink_to(root / "a")
    (root / "away").symlink_to(out)
    (root / "y.jpg").symlink_to(root / "a" / "x.jpg")
    (root / "z.jpg").symlink_to(out / "x.jpg")
    for path in ("a/x.jpg", "b/x.jpg", "y.jpg", "b/../a/x.jpg", "a/./x.jpg"):
        assert photos.load(str(root), path) == b"a"
    for path in ("away/x.jpg", "z.jpg", "../out/x.jpg", "b/../../../out/x.jpg", "a/.."):
        with pytest.raises(photos.Unusable, match=r"folder of images|no such file"):
            photos.load(str(root), path)
    for path in ("a", "a/", "a/none.jpg", "a/x.jpg/x.jpg"):
        with pytest.raises(photos.Unusable, match="no such file"):
            photos.load(str(root), path)


def test_of_several_pictures_in_a_jpeg_the_first_is_taken_and_it_is_said():
    first, second = (PIL.Image.new("RGB", (32, 24), c) for c in ("red", "blue"))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    pixels, repaired = photos.decode(file.getvalue())
    assert repaired == ["several frames, first taken"]
    assert pixels.shape == (24, 32, 3) and pixels[0, 0, 0] > 200


def test_a_jpeg_with_a_colour_profile_is_kept_and_one_to_be_turned_is_not():
    image, file = PIL.Image.new("RGB", (32, 24), "red"), io.BytesIO()
    image.save(file, "JPEG", icc_profile=bytes(5000))
    assert photos.is_plain_jpeg(file.getvalue(), 24, 32)
    assert not photos.is_plain_jpeg(file.getvalue(), 32, 24)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image.save(file := io.BytesIO(), "JPEG", exif=exif, icc_profile=bytes(5000))
    assert not photos.is_plain_jpeg(file.getvalue(), 24, 32)
