# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets of other makes become tables of places; hostile archives are refused."""

import gzip
import io
import json
import re
import tarfile
import tracemalloc

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.geotiffs import write_raster
from unigeo_jax.data import datasets, places
from unigeo_jax.data.own import foreign, patch_folders, problems, rasters


def picture(colour=(200, 10, 10), kind="JPEG"):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (24, 16), colour).save(stream, kind)
    return stream.getvalue()


def bomb():
    """A PNG of 144 million pixels in 18 kB."""
    stream = io.BytesIO()
    PIL.Image.new("1", (12_000, 12_000)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            else:
                member.type, member.linkname = data
                archive.addfile(member)


def convert(kind, source, out, **options):
    foreign.convert(kind, source, out, foreign.Options(**options))
    return (
        pq.read_table(out / "places.parquet").to_pylist(),
        json.loads((out / "report.json").read_text()),
    )


def test_webdataset_keeps_positions_texts_and_the_images_of_their_names(tmp_path):
    members = []
    for i in range(3):
        about = {"location": {"latitude": 10 + i, "lng": 20.5}, "people": i, "odd": [1]}
        members += [
            (f"./part/{i:03d}.jpg", picture()),
            (f"./part/{i:03d}.street.0.png", picture(kind="PNG")),
            (f"./part/{i:03d}.street.1.jpg", picture()),
            (f"./part/{i:03d}.json", json.dumps(about).encode()),
            (f"./part/{i:03d}.txt", f"a place {i}".encode()),
        ]
    write_tar(tmp_path / "train-000.tar", members[:10])
    write_tar(tmp_path / "train-001.tar.gz", members[10:], "w:gz")
    rows, report = convert("webdataset", tmp_path, tmp_path / "out")
    assert [(r["lat"], r["lon"], r["people"]) for r in rows] == [
        (10.0, 20.5, 0.0),
        (11.0, 20.5, 1.0),
        (12.0, 20.5, 2.0),
    ]
    assert rows[1]["text"] == "a place 1" and not report["bad_rows"]
    assert (tmp_path / "out" / rows[0]["aerial"]).read_bytes() == picture()
    streets = rows[0]["street"].split(";")
    assert [s[-4:] for s in streets] == [".png", ".jpg"]


def test_hostile_members_are_refused_and_nothing_is_written_outside(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    about = json.dumps({"lat": 1, "lon": 2}).encode()
    write_tar(
        source / "a.tar",
        [
            ("../../evil.jpg", picture()),
            ("/abs.jpg", picture()),
            ("link.jpg", (tarfile.SYMTYPE, "/etc/passwd")),
            ("pipe.jpg", (tarfile.FIFOTYPE, "")),
            ("good.jpg", picture()),
            ("good.json", about),
            ("huge.png", bomb()),
            ("huge.json", about),
            ("none.jpg", b"no image"),
            ("none.json", b"[1, 2]"),
        ],
    )
    rows, report = convert("webdataset", source, tmp_path / "deep" / "out")
    said = {e["what"]: e["kind"] for e in report["examples"] if "what" in e}
    assert said["../../evil.jpg"] == said["/abs.jpg"] == "member outside of the archive"
    assert said["link.jpg"] == said["pipe.jpg"] == "member that is a link or a device"
    kinds = {e["kind"] for e in report["examples"]}
    assert "more than 64000000 pixels" in kinds and "no JSON object" in kinds
    assert [bool(r["aerial"]) for r in rows] == [True, False, False]
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"a.tar", "places.parquet", "report.json"} | {
        rows[0]["aerial"].split("/")[-1]
    }


def refusal(folder):
    """What is said of archives that are refused, and the memory it took, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".+") as error:
            convert("webdataset", folder, folder / "out")
        return str(error.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("{}.jpg", 5), ("part/{}", 5), ("{}.jpg", 70)],
    ids=["read", "of no name that is read", "too large to be read"],
)
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path, name, megabytes
):
    path, data = tmp_path / "bomb.tar.gz", bytes(megabytes * 10**6)
    with (
        gzip.open(path, "w") as file,
        tarfile.open(fileobj=file, mode="w") as archive,
    ):
        for number in range(140 // megabytes):
            member = tarfile.TarInfo(name.format(number))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    del data
    assert path.stat().st_size < 200_000
    said, peak = refusal(tmp_path)
    assert "more than 200 times the archive" in said
    assert peak < 40e6, peak
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def header(kind, size):
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("data", "zeros", "said"),
    [
        (header(tarfile.XHDTYPE, 10**8), 10**8, "a header of more than"),
        (header(tarfile.GNUTYPE_LONGNAME, 10**8), 10**8, "a header of more than"),
        (header(tarfile.CHRTYPE, 0), 10**4, "nothing of webdataset"),
        (header(tarfile.REGTYPE, 10**6), 10, "unexpected end"),
        (b"GIF89a", 2000, "truncated header|invalid header|bad checksum"),
    ],
    ids=["pax", "long name", "nothing", "cut", "no tar"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_headers_that_lie_are_refused_before_memory_is_taken(
    tmp_path, data, zeros, said, zipped
):
    data = data + bytes(zeros)
    (tmp_path / "a.tar").write_bytes(gzip.compress(data, 1) if zipped else data)
    del data
    got, peak = refusal(tmp_path)
    assert re.search(said, got), got
    assert peak < 20e6, peak


def test_headers_within_headers_and_damaged_archives_are_refused(tmp_path):
    text = b"12 a=bcdefg\n"
    one = header(tarfile.XHDTYPE, len(text)) + text + bytes(512 - len(text))
    write_tar(tmp_path / "whole.tar", [("1.json", b"{}"), ("1.jpg", picture())])
    packed = gzip.compress((tmp_path / "whole.tar").read_bytes())
    (tmp_path / "whole.tar").unlink()
    bad = [one * 900, packed[:-20], packed[:40] + b"\xff\xff" + packed[42:]]
    for number, data in enumerate(bad):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.tar").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.tar"):
            convert("webdataset", folder, tmp_path / "out")


@pytest.mark.parametrize(
    "text",
    [
        *("[]", '""', '[["a", 1]]', "[" * 10**5, "NaN", "", '{"lat": "\\ud800"}'),
        '{"lat": 1, "lon": 2, "a": 1' + "0" * 400 + "}",
        '{"lat": 1' + "0" * 400 + ', "lon": 2}',
        '{"lat": 1, "lon": 2, "text": "\\ud800", "\\ud800": 3}',
        '{"lat": 1, "lon": 2, "text": "' + "x" * 2_000_000 + '"}',
    ],
    ids=range(11),
)
def test_one_odd_json_costs_no_more_than_its_own_sample(tmp_path, text):
    whole = b'{"lat": 1, "lon": 2, "text": "here", "a": 7}'
    members = [("1.json", text.encode()), ("2.json", whole)]
    write_tar(tmp_path / "a.tar", members)
    rows, _ = convert("webdataset", tmp_path, tmp_path / "out")
    assert len(rows) == 2
    assert (rows[1]["lat"], rows[1]["lon"], rows[1]["text"]) == (1.0, 2.0, "here")


def test_a_sample_of_any_number_of_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_OF_SAMPLE", 100_000)
    write_tar(tmp_path / "a.tar", [(f"1.{i}.jpg", bytes(40_000)) for i in range(3)])
    with pytest.raises(ValueError, match="sample 1 has more than 100000 bytes"):
        convert("webdataset", tmp_path, tmp_path / "out")


def test_parquet_of_hugging_face_becomes_a_dataset(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split, count in (("train", 30), ("validation", 6), ("test", 6)):
        columns = {
            "image": [{"bytes": picture(), "path": "x.jpg"}] * count,
            "Latitude": np.linspace(10, 20, count),
            "Longitude": np.linspace(0, 5, count),
            "caption": [f"{split} {i}" for i in range(count)],
        }
        pq.write_table(pa.table(columns), data / f"{split}-00000-of-00001.parquet")
    rows, _ = convert("parquet", data, tmp_path / "out")
    assert {r["split"] for r in rows} == {"train", "val", "test"}
    options = places.Options(split="column", aerial_px=16, overlap=True)
    table = tmp_path / "out" / "places.parquet"
    places.build(table, tmp_path / "sets", "hf", options, 0)
    source, _ = datasets.load("hf", "val", tmp_path / "sets")
    assert len(source) == 6 and source[0]["text"].startswith("validation")
    assert source[0]["aerial"].shape == (16, 16, 3)
    assert abs(source[0]["aerial"][..., 0].mean() - 200) < 5


def patch(root, name, east):
    """A patch of three bands of 10, 20 and 60 m in a folder of its own."""
    rasterio = pytest.importorskip("rasterio")
    folder = root / name
    folder.mkdir(parents=True)
    for band, pixels in (("B02", 120), ("B05", 60), ("B01", 20)):
        step = 1200 / pixels
        to = rasterio.Affine(step, 0, 390_000 + east, 0, -step, 5_320_000)
        values = np.full((1, pixels, pixels), int(band[1:]) * 100, np.uint16)
        values[0, : pixels // 2] += 7
        write_raster(folder / f"{name}_{band}.tif", values, transform=to)
    return folder


def test_patches_of_bigearthnet_become_chips_of_all_bands(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    for i in range(14):
        name = f"S2A_MSIL2A_20170717T113321_{i}_87"
        folder = patch(tmp_path / "in" / "tile", name, 3000 * i)
        about = {"labels": ["Pastures", "Mixed forest"], "acquisition_date": "x"}
        (folder / f"{name}_labels_metadata.json").write_text(json.dumps(about))
    (tmp_path / "in" / "broken").mkdir()
    (tmp_path / "in" / "broken" / "x_B02.tif").write_bytes(b"nothing")
    out = tmp_path / "out"
    rows, report = convert("bigearthnet", tmp_path / "in", out)
    assert len(rows) == 14 and report["counts"][0][3] == 1
    assert rows[0]["time"] == "2017-07-17"
    assert rows[0]["text"] == "Pastures, Mixed forest"
    with rasterio.open(out / rows[0]["s2"]) as file:
        bands = file.read()
    assert bands.shape == (3, 120, 120)
    assert bands[:, 0, 0].tolist() == [107, 207, 507]
    source = rasters.Source("s2", "column:s2", metres=640.0, size=32)
    options = places.Options(
        sources=(source,), split="random", shares=(0.2, 0.2), overlap=True
    )
    folder = places.build(out / "places.parquet", tmp_path / "sets", "ben", options, 0)
    loaded, _ = datasets.load("ben", "train", tmp_path / "sets")
    chip = loaded[0]["s2"]
    assert chip.shape == (32, 32, 3) and chip[:2].mean((0, 1)).tolist() == [
        *(107, 207, 507)
    ]
    assert chip[-2:].mean((0, 1)).tolist() == [100, 200, 500]
    about = json.loads((folder / "statistics.json").read_text())
    assert about["fields"]["s2"]["channels"] == 3


def test_a_place_whose_own_raster_is_missing_is_masked_with_its_row(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    warp = pytest.importorskip("rasterio.warp")
    to = rasterio.Affine(10, 0, 390_000, 0, -10, 5_320_000)
    values = np.ones((2, 40, 40), np.int16)
    write_raster(tmp_path / "a.tif", values, transform=to)
    write_raster(tmp_path / "nowhere.tif", values, crs=None)
    (lon,), (lat,) = warp.transform("EPSG:32633", "EPSG:4326", [390_200], [5_319_800])
    files = ["a.tif"] * 12 + ["gone.tif", "nowhere.tif", "../a.tif", ""]
    lines = [f"p{i},{lat + i / 1e6},{lon},{f}" for i, f in enumerate(files)]
    (tmp_path / "t.csv").write_text("\n".join(["id,lat,lon,chip", *lines]))
    source = rasters.Source("x", "column:chip", metres=160.0, size=16)
    options = places.Options(sources=(source,), split="random", overlap=True)
    folder = places.build(tmp_path / "t.csv", tmp_path / "sets", "own", options, 0)
    found = json.loads((folder / "report.json").read_text())["problems"]
    assert {e["row"] for e in found["examples"]} == {12, 13, 14}
    about = json.loads((folder / "statistics.json").read_text())
    assert sum(about["fields"]["x"]["present"].values()) == 12


def test_samples_of_geobench_lie_where_their_attribute_says_and_it_is_never_run(
    tmp_path,
):
    h5py = pytest.importorskip("h5py")
    rasterio = pytest.importorskip("rasterio")
    from tests import pth_files

    to = rasterio.Affine(10.0, 0.0, 390_000.0, 0.0, -10.0, 5_320_000.0)
    crs = rasterio.crs.CRS.from_epsg(32633)
    for i in range(3):
        about = {"02 - Blue_2017-07-17": {"transform": to, "crs": crs}}
        with h5py.File(tmp_path / f"id_{i}.hdf5", "w") as file:
            file["02 - Blue_2017-07-17"] = np.full((64, 64), i, np.int16)
            file["03 - Green_2017-07-17"] = np.full((64, 64), i + 10, np.int16)
            file["label"] = np.zeros((64, 64), np.int16)
            file.attrs["pickle"] = str(pth_files.pickle.dumps(about))
    parts = {"train": ["id_0", "id_1"], "valid": ["id_2"], "test": []}
    (tmp_path / "default_partition.json").write_text(json.dumps(parts))
    rows, _ = convert("geobench", tmp_path, tmp_path / "out")
    assert [r["split"] for r in rows] == ["train", "train", "val"]
    assert rows[0]["time"] == "2017-07-17"
    (lon,), (lat,) = rasterio.warp.transform(crs, "EPSG:4326", [390_320], [5_319_680])
    assert abs(rows[2]["lat"] - lat) < 1e-6 and abs(rows[2]["lon"] - lon) < 1e-6
    with rasterio.open(tmp_path / "out" / rows[2]["chip"]) as file:
        assert file.read()[:, 5, 5].tolist() == [2, 12]


def test_a_sample_without_a_position_needs_a_table_of_positions(tmp_path):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("rasterio")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["B1"] = np.zeros((8, 8), np.uint8)
    found = problems.Problems()
    assert not list(patch_folders.geobench(tmp_path, tmp_path / "x", found))
    assert found.examples[0]["what"] == "a.hdf5: no CRS"
    table = tmp_path / "at.csv"
    table.write_text("id,lat,lon\na,48.5,9.25\n")
    (row,) = patch_folders.geobench(
        tmp_path, tmp_path / "x", problems.Problems(), positions=table
    )
    assert abs(row["lat"] - 48.5) < 1e-9 and abs(row["lon"] - 9.25) < 1e-9
