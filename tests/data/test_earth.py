# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The embedded dataset, its captions, and how datasets are found and read."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import (
    building,
    chunks,
    earth,
    earth_captions,
    earth_crops,
)
from unigeo_jax.modalities import dsm

ROOT = Path(__file__).parents[2]
SHAPES = {
    "aerial": (np.uint8, (36, 36, 3)),
    "night": (np.uint8, (16, 16, 1)),
    "dsm": (np.int16, (36, 36)),
    "street": (np.uint8, (48, 96, 3)),
    "landcover_fractions": (np.float32, (17,)),
    "climate": (np.float32, (6,)),
    "ndvi": (np.float32, (2,)),
    "demographics": (np.float32, (46,)),
    **{k: (np.int64, ()) for k in ("place", "cell", "h3", "node")},
    **{k: (np.int32, ()) for k in ("block", "landcover", "koppen")},
    **{k: (np.float64, ()) for k in ("lat", "lon")},
    "night_light": (np.float32, ()),
    "elevation_m": (np.float32, ()),
    "population_100km": (np.float32, ()),
}
TEXTS = {"text", "text_masked", "poi", "country", "continent"}


def run(code, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def loaded(earth_tiny):
    return {s: datasets.load("earth/tiny", s, earth_tiny) for s in splits.SPLITS}


@pytest.fixture(scope="module")
def records(loaded):
    return [record for source, _ in loaded.values() for record in source]


@pytest.fixture(scope="module")
def places():
    return earth_crops.Places()


def test_every_record_has_the_fields_types_and_shapes_of_the_contract(records):
    assert 0 < len(records) <= 512
    for record in records:
        assert set(record) == set(SHAPES) | TEXTS
        for name, (dtype, shape) in SHAPES.items():
            value = record[name]
            assert value.dtype == dtype, name
            assert value.shape == shape, name
        assert all(isinstance(record[name], str) for name in TEXTS)


def test_the_index_lists_the_records_in_their_order(loaded):
    for source, index in loaded.values():
        for name in building.INDEX:
            stored = np.array([record[name] for record in source])
            np.testing.assert_array_equal(stored, index[name])
            assert stored.dtype == index[name].dtype


def test_no_training_place_lies_in_a_held_out_block(loaded):
    block = {s: set(index["block"].tolist()) for s, (_, index) in loaded.items()}
    assert all(
        splits.split_of_block(b) == "train" for b in block["train"] | block["near"]
    )
    for held in ("val", "test"):
        assert all(splits.split_of_block(b) == held for b in block[held])
    cells = np.concatenate([index["cell"] for _, index in loaded.values()])
    assert len(np.unique(cells)) == len(cells)


def test_tiny_is_a_prefix_of_full_and_the_order_is_not_the_grid_s():
    full, tiny = earth.plan("full"), earth.plan("tiny")
    for split, anchor_i in tiny.items():
        np.testing.assert_array_equal(full[split][: len(anchor_i)], anchor_i)
        rank_i = np.argsort(np.argsort(full[split]))
        step = np.corrcoef(rank_i, np.arange(len(rank_i)))[0, 1]
        assert abs(step) < 0.1, split
    assert sum(map(len, full.values())) == 60_000


def test_crops_follow_the_index_rule_across_the_antimeridian_and_at_the_poles():
    image = np.arange(18 * 36).reshape(18, 36)
    lat_i = [0.0, 4.0, 90.0, -90.0, 61.0]
    lon_i = [0.0, 179.9, -180.0, 180.0, -179.0]
    found = earth_crops.crops(image, lat_i, lon_i, 6)
    for lat, lon, crop in zip(lat_i, lon_i, found, strict=True):
        row, col = int((90 - lat) // 10), int((lon + 180) // 10) % 36
        for r in range(6):
            for c in range(6):
                at = min(max(row + r - 3, 0), 17), (col + c - 3) % 36
                assert crop[r, c] == image[at]
    np.testing.assert_array_equal(
        earth_crops.crops(image, [5.0], [180.0], 4),
        earth_crops.crops(image, [5.0], [-180.0], 4),
    )


@pytest.mark.parametrize("lat", [0.0, 60.0, 80.0])
def test_a_crop_is_as_wide_in_degrees_as_tall_so_it_narrows_with_cos_lat(lat):
    rows, cols = np.mgrid[:1800, :3600]
    lats = earth_crops.crops(90 - (rows + 0.5) / 10, [lat], [7.0], 20)[0]
    lons = earth_crops.crops((cols + 0.5) / 10 - 180, [lat], [7.0], 20)[0]
    at = splits.unit_vectors(lats, lons)
    tall = np.arccos(at[0, 10] @ at[-1, 10])
    middle = np.abs(lats[:, 0] - lat).argmin()
    wide = np.arccos(at[middle, 0] @ at[middle, -1])
    assert wide / tall == pytest.approx(np.cos(np.deg2rad(lat)), rel=0.01)


def test_records_hold_the_pixels_of_the_sources(records):
    blue, height_m = earth_crops.raster("blue_marble.jpg"), earth_crops.surface()
    for record in records[::37]:
        lat, lon = record["lat"], record["lon"]
        row, col = int((90 - lat) * 15), int((lon + 180) * 15)
        np.testing.assert_array_equal(record["aerial"][18, 18], blue[row, col])
        row, col = int((90 - lat) * 12), int((lon + 180) * 12)
        assert record["dsm"][18, 18] == height_m[row, col]
        assert record["landcover_fractions"].sum() == pytest.approx(1)
        assert record["landcover_fractions"][record["landcover"]] > 0


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (64.4, -16.8),  # Iceland, Vatnajokull
        (67.2, -66.0),  # Canada, Penny ice cap
        (80.4, -73.9),  # Canada, Agassiz ice cap
        (-80.0, 90.0),  # Antarctica
    ],
)
def test_ice_outside_greenland_keeps_its_height(lat, lon):
    assert earth_crops.land_cover_fractions([lat], [lon])[0] == earth_crops.ICE
    kept = earth_crops.crops(earth_crops.surface(), [lat], [lon], 36)
    assert kept.min() > earth_crops.VOID_M
    mapped = earth_crops.crops(earth_crops.elevation(), [lat], [lon], 36)
    np.testing.assert_array_equal(kept, mapped)


def test_heights_under_greenland_s_ice_are_void_and_their_tiles_absent():
    # 72.1 N 40.1 W on the ice; 64.4 N 16.9 W in Iceland; 45.9 N 7.6 E in the Alps
    anchor_i = np.array([218_208, 191_463, 131_714])
    (columns,) = chunks.stream("earth_chunks", [anchor_i], workers=0)
    ice, *others = columns["dsm"]
    assert (ice == dsm.VOID).all()
    assert dsm.read({"dsm": ice}, None) is None
    assert all(dsm.read({"dsm": tile}, None) is not None for tile in others)
    assert np.isnan(columns["elevation_m"]).tolist() == [True, False, False]
    assert not any(np.equal(columns["elevation_m"], earth_crops.VOID_M))


def test_the_three_rendered_views_differ_from_each_other(records):
    views = np.stack([r["street"].reshape(3, 16, 96, 3) for r in records])
    same = (views[:, 0] == views[:, 1]).all((1, 2, 3))
    assert same.mean() < 0.3


def test_what_is_counted_around_a_place_agrees_with_every_distance(records, places):
    at_j = splits.unit_vectors(places.lat, places.lon)
    for record in records[::61]:
        dot_j = at_j @ splits.unit_vectors(record["lat"], record["lon"])
        km_j = splits.EARTH_RADIUS_KM * np.arccos(np.clip(dot_j, -1, 1))
        expected = []
        for km in (25, 100):
            expected += [places.population[km_j <= km].sum(), (km_j <= km).sum()]
        np.testing.assert_allclose(record["demographics"][:4], np.log1p(expected), 1e-5)
        assert record["population_100km"] == pytest.approx(expected[2], rel=1e-6)
        nearest = int(km_j.argmin())
        assert (record["text"] == "") == (km_j[nearest] > 200)
        if record["text"]:
            first = f"{places.names[nearest]} {earth_captions.distance(km_j[nearest])} "
            assert record["text"].startswith(first)


def test_bearings_point_the_way_a_compass_does():
    zurich, bern, oslo = (47.37, 8.54), (46.95, 7.45), (59.91, 10.75)
    names = [
        earth_captions.compass(float(earth_crops.bearings(*a, *b)))
        for a, b in (
            (zurich, bern),
            (bern, zurich),
            (zurich, oslo),
            ((0, 179), (0, -179)),
        )
    ]
    assert names == ["SW", "NE", "N", "E"]


def test_captions_give_no_coordinate_and_no_height_away(records):
    telltale = re.compile(
        r"[\u00b0\u2032\u2033]|\d+\.\d{4,}|-\d+\.\d+|\d[\d.]*\s*[NSEW]\b"
        r"|(?i:\b(elevation|altitude|sea level|latitude|longitude|coordinate))"
    )
    texts = [r[k] for r in records for k in ("text", "text_masked") if r[k]]
    assert len(texts) > 800
    found = [m.group() for text in texts if (m := telltale.search(text))]
    assert found == []


def test_masked_captions_hold_no_proper_name(records):
    words = {w for r in records for w in re.findall(r"[^\W\d]+", r["text_masked"])}
    fixed = "place city km people within places nearest has thousand million almost no"
    assert words <= {*fixed.split(), *earth_captions.COMPASS}
    assert all(bool(r["text"]) == bool(r["text_masked"]) for r in records)


def test_a_caption_starts_with_what_tells_the_place_apart(records, places):
    names = {c["name"] for c in earth_captions.countries().values()}
    captions = [r["text"].split("\n") for r in records if r["text"]]
    for caption in captions:
        assert re.search(r" \d+ km [NSEW]{1,2}$", caption[0])
        assert names & set(caption[1:3])
        assert len(caption) >= 6


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "1 thousand"), (1249, "1.2 thousand"), (37_400_000, "37 million")],
)
def test_counts_are_rounded_to_two_digits(number, words):
    assert earth_captions.rounded(number) == words


def test_worker_processes_make_the_same_records_as_this_one():
    jobs = [np.array([5, 90_000]), np.array([7]), np.array([230_741, 1, 2])]
    here = list(chunks.stream("earth_chunks", jobs, workers=0))
    there = list(chunks.stream("earth_chunks", jobs, workers=2))
    for a, b in zip(here, there, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_worker_that_dies_ends_the_build_with_an_error(capfd):
    with pytest.raises(RuntimeError, match="worker 0 of 1 ended before chunk 0"):
        list(chunks.stream("earth_chunks", [np.array([10**7])], workers=1))
    assert "IndexError" in capfd.readouterr().err


def test_two_processes_that_build_at_once_both_get_the_finished_dataset(tmp_path):
    code = (
        "import sys; from unigeo_jax.data import datasets;"
        "s, i = datasets.load('earth/tiny', 'val');"
        "print(len(s), s[len(s) - 1]['place'], 'tensorflow' in sys.modules)"
    )
    both = [run(code, UNIGEO_DATA_DIR=str(tmp_path)) for _ in range(2)]
    ended = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0], ended
    assert ended[0][0] == ended[1][0]
    assert ended[0][0].split()[0::2] == ["96", "False"]
    assert sum("building" in err for _, err in ended) == 1
    left = {p.name for p in (tmp_path / "earth").iterdir()}
    assert left == {"tiny", ".lock-tiny"}


def test_a_half_built_dataset_is_ignored_and_removed(tmp_path, loaded):
    folder = tmp_path / "earth" / "tiny" / earth.version()
    scratch = tmp_path / "earth" / ".building-tiny"
    for path in (folder, scratch / "deep"):
        path.mkdir(parents=True)
        (path / "dataset_info.json").write_text("{")
    source, _ = datasets.load("earth/tiny", "test", tmp_path)
    assert not scratch.exists()
    reference, _ = loaded["test"]
    assert source[3]["text"] == reference[3]["text"]
    np.testing.assert_array_equal(source[3]["street"], reference[3]["street"])


@pytest.mark.parametrize(
    ("name", "split", "fields", "message"),
    [
        (
            "venus",
            "train",
            None,
            r"'venus' not found: allowed are earth, planet, us_.*\(now: earth",
        ),
        ("../earth", "train", None, "not found"),
        ("earth/huge", "train", None, "'huge', allowed full, tiny"),
        ("earth/tiny", "dev", None, "'dev', allowed .*near"),
        ("earth/tiny", "val", ["lat", "sound"], r"\['sound'\], allowed .*aerial"),
    ],
)
def test_what_does_not_exist_is_named_with_what_is_allowed(
    earth_tiny, name, split, fields, message
):
    with pytest.raises(ValueError, match=message):
        datasets.load(name, split, earth_tiny, fields)


def test_only_the_asked_fields_are_decoded_and_they_are_the_same(loaded, earth_tiny):
    fields = ("lat", "dsm", "text")
    some, _ = datasets.load("earth/tiny", "near", earth_tiny, fields)
    assert tuple(some[5]) == fields
    for name in fields:
        np.testing.assert_array_equal(some[5][name], loaded["near"][0][5][name])
    assert some[-1]["lat"] == some[len(some) - 1]["lat"]
    with pytest.raises(IndexError):
        some[len(some)]


def test_a_dataset_of_another_name_is_read_from_its_folder(
    earth_tiny, tmp_path, loaded
):
    folder = datasets.find("earth/tiny", earth_tiny)
    for name in ("1.0.0", "1.0.10", "1.0.9"):
        shutil.copytree(folder, tmp_path / "mine" / name)
    assert datasets.find("mine", tmp_path).name == "1.0.10"
    source, _ = datasets.load("mine", "val", tmp_path)
    assert source[0]["text"] == loaded["val"][0][0]["text"]
    (tmp_path / "mine" / "1.0.10" / "index-val.npz").unlink()
    with pytest.raises(ValueError, match=r"index-val\.npz is missing"):
        datasets.load("mine", "val", tmp_path)


def test_a_corrupt_record_is_named_and_the_others_are_read(earth_tiny, tmp_path):
    folder = tmp_path / "mine" / "1.0.0"
    shutil.copytree(datasets.find("earth/tiny", earth_tiny), folder)
    (path,) = folder.glob("earth-test.array_record*")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    source, _ = datasets.load("mine", "test", tmp_path)
    messages = []
    for number in range(len(source)):
        try:
            source[number]
        except ValueError as error:
            messages.append(str(error))
    assert 0 < len(messages) < len(source)
    assert all(re.match(r"dataset mine, split test, record \d+ ", m) for m in messages)


def test_a_damaged_image_is_missing_and_the_rest_of_its_record_is_kept(
    earth_tiny, monkeypatch
):
    from tensorflow_datasets.proto import tf_example_pb2

    source, _ = datasets.load("earth/tiny", "test", earth_tiny)
    example = tf_example_pb2.Example.FromString(source._raw[0])
    values = example.features.feature["aerial"].bytes_list.value
    values[0] = values[0][:60] + bytes(20) + values[0][80:]
    whole = source[0]
    monkeypatch.setattr(source, "_raw", [example.SerializeToString()])
    damaged = source[0]
    assert damaged["aerial"] is None
    np.testing.assert_array_equal(damaged["street"], whole["street"])
    assert damaged["text"] == whole["text"]
