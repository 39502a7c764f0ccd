# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Own tables and rasters become datasets: rows judged, splits apart, bytes the same."""

import csv
import dataclasses
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest

from tests.geotiffs import write_raster
from unigeo_jax.data import datasets, places
from unigeo_jax.data.own import division, problems, rasters

rasterio = pytest.importorskip("rasterio")
warp = pytest.importorskip("rasterio.warp")
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"size": 16, "metres": 160.0}


def positions(count, seed=0):
    """Latitudes and longitudes inside the raster of `write_raster`, 4 km a side."""
    at = np.random.default_rng(seed).uniform(300, 3700, (2, count))
    x, y = 390_000 + at[0], 5_320_000 - at[1]
    lon, lat = warp.transform("EPSG:32633", "EPSG:4326", x, y)
    return np.round(lat, 7), np.round(lon, 7)


def write_csv(path, rows, encoding="utf-8"):
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two rasters and a table of 120 places."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(1)
    write_raster(folder / "rgb.tif", rng.integers(1, 256, (3, 400, 400), np.uint8))
    slope = np.add.outer(np.arange(400), 2 * np.arange(400)).astype(np.float32)
    write_raster(folder / "dem.tif", slope[None], nodata=-9999.0)
    bands = rng.integers(1, 4000, (5, 400, 400), np.uint16)
    write_raster(folder / "five.tif", bands)
    lat, lon = positions(120)
    rows = [
        {"id": f"p{i}", "lat": a, "lon": b, "text": f"place {i}", "people": i}
        for i, (a, b) in enumerate(zip(lat, lon, strict=True))
    ]
    write_csv(folder / "places.csv", rows)
    return folder


def options(world, **more):
    sources = (
        rasters.Source("aerial", str(world / "rgb.tif"), **OPTIONS),
        rasters.Source("dsm", str(world / "dem.tif"), **OPTIONS),
        rasters.Source("five", str(world / "five.tif"), **OPTIONS),
    )
    given = {"sources": sources, "split": "blocked:0.01", "shard": 32}
    return places.Options(**given | {"demographics": ("people",)} | more)


def hashes(folder):
    """SHA-256 of every file that a user reads, reports with row numbers apart."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if not path.name.startswith("report")
    }


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return places.build(world / "places.csv", out, "mine", options(world), 0)


def test_records_hold_the_pixels_and_columns_of_the_place(built, world):
    source, index = datasets.load("mine", "train", built.parents[1])
    assert len(source) == len(index["lat"]) > 60
    with rasterio.open(world / "rgb.tif") as file:
        rgb = file.read()
    for number in range(5):
        record = source[number]
        assert record["text"] == f"place {record['id'][1:]}"
        assert record["demographics"] == [float(record["id"][1:])]
        at = [record["lon"]], [record["lat"]]
        x, y = warp.transform("EPSG:4326", "EPSG:32633", *at)
        # At 13.5 E the grid is turned by one degree: the middle tells the place.
        column, row = (x[0] - 390_000) / 10, (5_320_000 - y[0]) / 10
        heights = record["dsm"]
        exact = row - 0.5 + 2 * (column - 0.5)
        assert abs(heights[7:9, 7:9].mean() - exact) < 0.05
        near = rgb[
            :, int(row) - 12 : int(row) + 12, int(column) - 12 : int(column) + 12
        ]
        assert record["aerial"].shape == (16, 16, 3)
        assert abs(record["aerial"].mean() - near.mean()) < 20
        assert record["five"].shape == (16, 16, 5)


@pytest.mark.parametrize("early", [True, False])
def test_shuffled_rows_and_several_processes_give_the_same_bytes(
    built, world, tmp_path, early, monkeypatch
):
    monkeypatch.setattr(places, "LARGE", 0 if early else 10**9)
    lines = (world / "places.csv").read_text().splitlines()
    order = np.random.default_rng(3).permutation(len(lines) - 1) + 1
    shuffled = world / "shuffled" / "places.csv"
    shuffled.parent.mkdir(exist_ok=True)
    shuffled.write_text("\n".join([lines[0], *(lines[i] for i in order)]))
    again = places.build(shuffled, tmp_path, "mine", options(world), 2)
    assert again.name == built.name
    assert hashes(again) == hashes(built)


KILLED = """
import os, signal, sys
from launch import make_dataset
from unigeo_jax.data.own import shards, workers
from absl import app

writes, write_json = [], shards.write_json

def killed(path, value):
    if path.name.endswith(workers.NOTES):
        writes.append(path)
        if len(writes) == 3:  # the shard is there, what says that it is whole is not
            os.kill(os.getpid(), signal.SIGKILL)
    write_json(path, value)

shards.write_json = killed
app.run(make_dataset.main, sys.argv, flags_parser=make_dataset.read_flags)
"""


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(built, world, tmp_path):
    command = [sys.executable, "-c", KILLED, "--workers=0", "--name=mine"]
    command += [f"--places={world / 'places.csv'}", f"--out={tmp_path}"]
    for name, file in (("aerial", "rgb"), ("dsm", "dem"), ("five", "five")):
        command += [f"--raster={name}={world / file}.tif"]
        command += [f"--metres={name}=160", f"--size={name}=16"]
    command += ["--split=blocked:0.01", "--shard=32", "--demographics=people"]
    ran = subprocess.run(command, cwd=ROOT, timeout=100)
    assert ran.returncode == -signal.SIGKILL
    (kept,) = tmp_path.glob("mine/.making-*")
    whole = [p.with_suffix("").with_suffix("") for p in kept.glob("*.notes.json")]
    assert len(whole) == 2
    before = {path.name: path.stat().st_mtime_ns for path in whole}
    again = places.build(world / "places.csv", tmp_path, "mine", options(world), 0)
    assert hashes(again) == hashes(built)
    # They were kept, not made again.
    assert {n: (again / n).stat().st_mtime_ns for n in before} == before


def test_a_build_killed_before_its_last_rename_goes_on(built, world, tmp_path):
    shutil.copytree(built, tmp_path / "mine" / f".making-{built.name}")
    again = places.build(world / "places.csv", tmp_path, "mine", options(world), 0)
    assert hashes(again) == hashes(built)


def image_bytes(kind="JPEG", mode="RGB", size=(40, 30), **how):
    stream = io.BytesIO()
    PIL.Image.new(mode, size, how.pop("colour", None)).save(stream, kind, **how)
    return stream.getvalue()


def test_bad_rows_are_named_masked_or_dropped_and_the_rest_is_kept(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    files = {
        "good.jpg": image_bytes(),
        "cut.jpg": image_bytes()[:300],
        "cmyk.jpg": image_bytes(mode="CMYK"),
        "deep.png": image_bytes("PNG", "I;16"),
        "turned.jpg": image_bytes(exif=exif),
        "bomb.png": image_bytes("PNG", "1", (12_000, 12_000)),
        "text.jpg": b"no image at all",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path.parent / "outside.jpg").write_bytes(files["good.jpg"])
    paths = [*files, "missing.jpg", "../outside.jpg"]
    paths += ["good.jpg"] * (40 - len(paths))
    rows = [
        {"id": i, "lat": 10 + i, "lon": 20, "aerial": path, "text": "café"}
        for i, path in enumerate(paths)
    ]
    rows[20] |= {"lat": 152.1, "lon": 10}
    rows[21] |= {"lat": "north"}
    rows[22] |= {"id": 23}
    write_csv(tmp_path / "places.csv", rows, "latin-1")
    chosen = places.Options(split="random", aerial_px=32, overlap=True)
    out = tmp_path / "out"
    folder = places.build(tmp_path / "places.csv", out, "bad", chosen, 0)
    report = json.loads((folder / "report.json").read_text())["problems"]
    said = {(e["row"], e["kind"], e["done"]) for e in report["examples"]}
    assert {
        (1, "damaged", "masked"),
        (2, "CMYK, converted to RGB", "repaired"),
        (3, "more than 8 bits a channel; allowed: --raster", "masked"),
        (4, "turned as EXIF asks", "repaired"),
        (5, "more than 64000000 pixels", "masked"),
        (6, "no PNG/JPEG/WEBP/TIFF image", "masked"),
        (7, "no such file", "masked"),
        (8, "outside of the folder of images (--images)", "masked"),
        (20, "lat and lon swapped?", "dropped"),
        (21, "no position", "dropped"),
    } <= said
    assert ("id", "duplicate id", "dropped", 1) in map(tuple, report["counts"])
    assert (0, "not UTF-8, read as Latin-1", "repaired") in said
    records = {}
    for split in ("train", "val", "test"):
        source, _ = datasets.load("bad", split, out)
        records |= {source[n]["id"]: source[n] for n in range(len(source))}
    assert len(records) == 37
    masked = {key for key, record in records.items() if record["aerial"] is None}
    assert masked == {"1", "3", "5", "6", "7", "8"}
    assert records["0"]["aerial"].shape == (32, 32, 3)
    assert records["9"]["text"] == "café"


def test_too_many_bad_rows_are_refused_with_a_report(tmp_path):
    rows = [{"lat": 95 if i % 2 else 10, "lon": 170 - i} for i in range(60)]
    write_csv(tmp_path / "t.csv", rows)
    chosen = places.Options(split="random")
    with pytest.raises(problems.OverBudget, match=r"30 of 60 rows .* row 1, lat"):
        places.build(tmp_path / "t.csv", tmp_path / "out", "x", chosen, 0)
    assert "REFUSED" in (tmp_path / "out" / "x" / "report.txt").read_text()


def test_overlapping_chips_across_splits_are_refused(world, tmp_path):
    with pytest.raises(division.Leak, match=r"test-overlap: \d+ places"):
        chosen = options(world, split="random")
        places.build(world / "places.csv", tmp_path, "leak", chosen, 0)


def test_chips_that_leave_hardly_a_training_place_are_refused(world, tmp_path):
    (rgb, *_), wide = options(world).sources, {"metres": 1200.0, "size": 16}
    chosen = options(
        world, sources=(rgb, rasters.Source("dsm", str(world / "dem.tif"), **wide))
    )
    words = r"chips of dsm have 1200 m a side, so that \d+ of \d+ .*--metres dsm=METRES"
    with pytest.raises(ValueError, match=words):
        places.build(world / "places.csv", tmp_path, "wide", chosen, 0)
    chosen = dataclasses.replace(chosen, buffer_m=1200.0)
    folder = places.build(world / "places.csv", tmp_path, "wide", chosen, 0)
    assert (
        json.loads((folder / "report.json").read_text())["splits"]["dropped_by_buffer"]
        > 40
    )


def test_a_block_goes_to_one_split_and_the_buffer_keeps_training_away():
    lat, lon = np.random.default_rng(0).uniform(0, 1, (2, 600))
    rows = [
        {"id": str(i), "lat": a, "lon": b}
        for i, (a, b) in enumerate(zip(lat, lon, strict=True))
    ]
    split, group = division.assign("blocked:0.2", rows, (0.1, 0.1))
    assert {len(set(split[group == g])) for g in set(group)} == {1}
    assert set(split) == {"train", "val", "test"}
    assert division.leaks(lat, lon, split, 2000.0)["test-overlap"] > 0
    kept = ~division.buffer(lat, lon, split, 2000.0)
    assert kept.mean() > 0.5
    found = division.leaks(lat[kept], lon[kept], split[kept], 2000.0)
    assert found["test-overlap"] == found["val-overlap"] == 0


def test_time_splits_test_on_the_latest():
    rows = [{"id": str(i), "time": f"20{i:02d}-01-01", "row": i} for i in range(20)]
    split, _ = division.assign("time", rows, (0.1, 0.1))
    assert list(split) == ["train"] * 16 + ["val"] * 2 + ["test"] * 2


def test_a_raster_without_crs_or_places_is_refused(world, tmp_path):
    path = write_raster(tmp_path / "x.tif", np.ones((3, 8, 8), np.uint8), crs=None)
    with pytest.raises(ValueError, match="has no CRS"):
        rasters.Raster(rasters.Source("aerial", path))
    write_csv(tmp_path / "t.csv", [{"lat": 13.5 + i, "lon": 48} for i in range(9)])
    with pytest.raises(ValueError, match=r"none of 9 places lies in .*rgb.tif"):
        places.build(tmp_path / "t.csv", tmp_path, "x", options(world, demographics=()))


def test_the_config_takes_its_towers_from_the_dataset(built, monkeypatch, tmp_path):
    from configs import own

    monkeypatch.setenv("UNIGEO_DATA_DIR", str(built.parents[1]))
    config = own.get_config("data=mine,tiny")
    assert sorted(config.towers) == [
        *("aerial", "coords", "demographics", "dsm", "five", "text"),
    ]
    with pytest.raises(ValueError, match=r"got 'other'; allowed: .*mine"):
        own.get_config("data=other")
    with pytest.raises(ValueError, match="two or more"):
        own.get_config("data=mine,only=aerial")


def test_all_towers_of_the_dataset_trace_a_step(built, monkeypatch):
    from configs import own
    from unigeo_jax import modalities, sharding, tasks
    from unigeo_jax.data import pipeline

    monkeypatch.setenv("UNIGEO_DATA_DIR", str(built.parents[1]))
    config = own.get_config("data=mine")
    names = list(config["towers"])
    readers = pipeline.readers(config.towers, modalities.get)
    source, index = datasets.load("mine", "train", built.parents[1])
    pipeline.check_modalities(source, readers, "mine")
    read = pipeline.ReadPlaces(source, index["cell"], readers, built)
    batch = read.batch(np.arange(8), np.arange(8, dtype=np.uint64))
    assert all(here.all() for here in batch["here"].values())
    data_dir = built.parents[1]
    shared = pipeline.constants(config, modalities.get, data_dir, 1)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task = tasks.get("contrastive")(config, mesh)
    key = jax.random.key(0)
    params = jax.eval_shape(task.init, key, batch, shared)
    loss, _ = jax.eval_shape(task.loss_fn, params, batch, key, shared)
    assert loss.shape == () and set(params) == {*names, "log_tau"}


@pytest.mark.slow
def test_a_subset_of_the_towers_trains_and_evaluates(built, monkeypatch, tmp_path):
    from configs import own
    from unigeo_jax import train

    monkeypatch.setenv("UNIGEO_DATA_DIR", str(built.parents[1]))
    config = own.get_config("data=mine,tiny,only=aerial+five+coords")
    with config.unlocked():
        config.steps = 2
    state = train.fit(config, tmp_path / "run", built.parents[1])
    assert int(state.step) == 2
    tables = json.loads((tmp_path / "run" / "eval" / "2.json").read_text())
    assert set(tables) == {"val", "test"} and "five->coords" in tables["test"]
    import unigeo_jax
    from unigeo_jax import export

    data_dir, out = built.parents[1], tmp_path / "model"
    export.run(tmp_path / "run", out, ("jax", "safetensors"), data_dir)
    enc = unigeo_jax.load(out)
    source, _ = datasets.load("mine", "test", data_dir)
    z_nd = enc.embed(five=[source[0]["five"], source[1]["five"]])
    assert set(enc.info["modalities"]) == {"aerial", "coords", "five"}
    assert z_nd.shape == (2, 32)
    pictures = [source[n]["aerial"] for n in range(2)]
    assert config.towers.aerial.data.on_device  # in training; here they stay as given
    assert enc.embed(aerial=pictures).shape == (2, 32)
    at = {k: [float(source[0][k])] for k in ("lat", "lon")}
    assert enc.embed(**at).shape == (1, 32)


@pytest.mark.slow
def test_apache_beam_makes_the_same_bytes(built, world, tmp_path):
    pytest.importorskip("apache_beam")
    chosen = options(world, runner="DirectRunner")
    again = places.build(world / "places.csv", tmp_path, "mine", chosen, 0)
    assert again.name == built.name
    assert hashes(again) == hashes(built)


def test_without_apache_beam_a_runner_is_refused(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"--runner needs Apache Beam"):
        chosen = options(world, runner="DirectRunner")
        places.build(world / "places.csv", tmp_path, "mine", chosen, 0)
