# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Shards, records and images that are damaged for real: masked, counted, or named."""

import builtins
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from ml_collections import ConfigDict

from unigeo_jax.data import datasets, images, memo, order, pipeline
from unigeo_jax.data.own import shards
from unigeo_jax.modalities import aerial

ROOT = pathlib.Path(__file__).parents[2]
PLACES, SHARD = 60, 20
FIELDS = {
    "aerial": shards.Field("image", (16, 16, 3)),
    "text": shards.Field("text"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of three shards, an image and a text a place."""
    folder = tmp_path_factory.mktemp("data") / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    planned = shards.plan("mine", {"train": PLACES}, SHARD)
    sizes = []
    for shard in planned:
        rows = range(shard.start, shard.stop)
        pixels = rng.integers(0, 255, (len(rows), 16, 16, 3), np.uint8)
        columns = {
            "aerial": [images.encode_png(p) for p in pixels],
            "text": [f"place {row}".encode() for row in rows],
        }
        size, end = shards.write(folder / shard.file, FIELDS, [columns])
        end()
        sizes.append(size)
    shards.finish(folder, "mine", "1.0.0", FIELDS, planned, sizes, description="d")
    lat = np.linspace(-50, 50, PLACES)
    index = {
        "lat": lat,
        "lon": lat,
        "cell": np.arange(PLACES),
        "block": np.arange(PLACES),
    }
    np.savez(folder / "index-train.npz", **index)
    return folder.parents[1]


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "data") / "mine" / "1.0.0"


def shard_file(folder, number):
    return sorted(folder.glob("*.array_record*"))[number]


def unreadable(folder):
    source, _ = datasets.load("mine", "train", folder.parents[1])
    bad = set()
    for number in range(PLACES):
        try:
            source[number]
        except datasets.BadRecord:
            bad.add(number)
    return bad


def harm_records(folder, shard, count):
    """Flips one byte in each of `count` records of a shard; returns their numbers."""
    path = shard_file(folder, shard)
    bad = before = unreadable(folder)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 50, len(data), len(data) // 200 + 1):
        data[at] ^= 1
        path.write_bytes(data)
        now = unreadable(folder)
        if len(now) == len(bad) + 1:
            bad = now
        else:  # in the same record, or where the file's own index stands
            data[at] ^= 1
            path.write_bytes(data)
        if len(bad) == len(before) + count:
            return bad - before
    raise AssertionError(f"{len(bad)} records of {path} are bad")


def harm_first(folder):
    """Flips a byte so that record 0, and no other, cannot be read."""
    path = shard_file(folder, 0)
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if unreadable(folder) == {0}:
            return
    raise AssertionError("no byte is that of record 0 alone")


def harm_image(folder, number, harm=lambda data: data[: len(data) // 2]):
    """Rewrites a shard with one image cut in half: the record itself is whole."""
    path = shard_file(folder, number // SHARD)
    from array_record.python import array_record_module as module

    reader = module.ArrayRecordReader(str(path))
    records = list(reader.read([*range(SHARD)]))
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example.FromString(records[number % SHARD])
    values = example.features.feature["aerial"].bytes_list.value
    values[0] = harm(values[0])
    records[number % SHARD] = example.SerializeToString()
    reader.close()
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def batches(folder, workers=0, max_bad=0.001, steps=16, cache_mb=0):
    source, index = datasets.load("mine", "train", folder.parents[1])
    source = memo.if_small(source, cache_mb)
    readers = [("aerial", aerial, {"size": 16, "shift": 0})]
    read = pipeline.ReadPlaces(source, index["cell"], readers)
    places = order.BatchOrder(
        index["lat"], index["lon"], batch=8, steps=steps, seed=0, fraction=0.0, size=1
    )
    data = ConfigDict({"threads": 1, "prefetch": 1, "workers": workers, "skip": ()})
    data.max_bad = max_bad
    return list(
        pipeline.train_batches(read, places, data=data, start=0, process=(0, 1))
    )


def masked(found):
    """Numbers of the places without an image, by step."""
    return [b["index"][~b["here"]["aerial"]].tolist() for b in found]


def test_bad_records_and_images_are_masked_the_same_on_every_run(folder, capfd):
    bad = harm_records(folder, 0, 1) | harm_records(folder, 1, 1) | {41}
    harm_image(folder, 41)
    first, second = batches(folder), batches(folder)
    assert masked(first) == masked(second)
    assert {n for step in masked(first) for n in step} == bad
    err = capfd.readouterr().err
    for number in bad:  # each named once a run, with its file
        lines = [x for x in err.splitlines() if f"record {number} of" in x]
        assert len(lines) == 2, err
        assert str(shard_file(folder, number // SHARD)) in lines[0]


def test_a_bad_first_record_is_masked_in_a_run_that_keeps_records_in_memory(folder):
    harm_first(folder)
    harm_image(folder, 41)
    source, _ = datasets.load("mine", "train", folder.parents[1])
    assert isinstance(memo.if_small(source, 64), memo.Memo)
    # Its size is that of the first record that is whole, not of a damaged one.
    assert memo.if_small(source, 60 * 16 * 16 * 3 / 2**20) is source
    kept = batches(folder, cache_mb=64)
    assert masked(kept) == masked(batches(folder))
    assert {n for step in masked(kept) for n in step} == {0, 41}


def test_a_source_of_which_nothing_can_be_read_is_not_kept_in_memory(folder):
    for number in range(3):
        path = shard_file(folder, number)
        path.write_bytes(path.read_bytes()[:64])
    source, _ = datasets.load("mine", "train", folder.parents[1])
    assert memo.if_small(source, 64) is source


def test_records_that_are_read_one_by_one_leave_out_what_is_bad(folder, capfd):
    (bad,) = harm_records(folder, 1, 1)
    source, _ = datasets.load("mine", "train", folder.parents[1])
    texts = [r["text"] for r in datasets.readable(source, range(PLACES))]
    assert texts == [f"place {n}" for n in range(PLACES) if n != bad]
    assert f"record {bad} of" in capfd.readouterr().err


def test_the_other_places_of_a_batch_are_what_they_were(made, folder):
    (bad,) = harm_records(folder, 0, 1)
    for a, b in zip(batches(made / "mine" / "1.0.0"), batches(folder), strict=True):
        keep = b["index"] != bad
        np.testing.assert_array_equal(a["index"], b["index"])
        np.testing.assert_array_equal(a["x"]["aerial"][keep], b["x"]["aerial"][keep])
        assert not b["x"]["aerial"][~keep].any()


def test_above_the_budget_the_run_stops_and_names_files(folder):
    harm_records(folder, 0, 11)
    with pytest.raises(datasets.TooManyBad) as error:
        batches(folder)
    assert "11 of 60 records" in str(error.value)
    assert str(shard_file(folder, 0)) in str(error.value)
    assert "allowed: 10 (config.data.max_bad=0.001)" in str(error.value)
    assert len(batches(folder, max_bad=0.25)) == 16


def test_a_dataset_of_which_nothing_can_be_read_is_no_dataset_without_a_modality(
    folder,
):
    for shard in range(PLACES // SHARD):
        path = shard_file(folder, shard)
        path.write_bytes(path.read_bytes()[:64])
    source, _ = datasets.load("mine", "train", folder.parents[1])
    with pytest.raises(datasets.TooManyBad, match=f"none of {PLACES}.*array_record"):
        pipeline.check_modalities(source, [("aerial", aerial, {})], "mine")


@pytest.mark.parametrize("how", ["tail", "empty", "no records"])
def test_a_shard_that_is_cut_is_too_much_and_is_named(folder, how):
    path = shard_file(folder, 1)
    data = path.read_bytes()
    path.write_bytes(
        {"tail": data[: len(data) // 2], "empty": b"", "no records": data[:64]}[how]
    )
    with pytest.raises(datasets.TooManyBad, match="array_record-00001"):
        batches(folder)


def test_a_file_that_is_missing_or_forbidden_is_never_skipped(folder, monkeypatch):
    path = shard_file(folder, 1)
    path.rename(path.with_name("away"))
    with pytest.raises(OSError, match="array_record-00001"):
        batches(folder, max_bad=1.0)
    path.with_name("away").rename(path)
    if os.geteuid():
        path.chmod(0)
        with pytest.raises(OSError):
            batches(folder, max_bad=1.0)


def test_a_lack_of_memory_is_not_taken_for_a_bad_record(folder):
    large = images.encode_png(np.zeros((5_000, 5_000, 3), np.uint8))
    harm_image(folder, 41, lambda _: large)
    source, _ = datasets.load("mine", "train", folder.parents[1])
    now = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    most = now * resource.getpagesize() + 2**26
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        with pytest.raises(MemoryError):
            source[41]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert source[41]["aerial"].shape == (5_000, 5_000, 3)


def test_a_half_read_index_is_an_error_that_names_it(folder):
    path = folder / "index-train.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="index-train"):
        datasets.load("mine", "train", folder.parents[1])


def test_an_index_of_other_arrays_is_refused(folder):
    path = folder / "index-train.npz"
    with np.load(path) as arrays:
        index = dict(arrays)
    for other in (
        {k: v for k, v in index.items() if k != "lat"},
        index | {"lat": index["lat"].astype("S9")},
        index | {"lat": index["lat"][:, None]},
        index | {"lat": np.float64(1)},
    ):
        np.savez(path, **other)
        with pytest.raises(ValueError, match="index-train"):
            datasets.load("mine", "train", folder.parents[1])
    np.savez(path, **index)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("text", b"no array")
    with pytest.raises(ValueError, match="index-train"):
        datasets.load("mine", "train", folder.parents[1])


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"featuresDict": 1, "splits": 1}'])
def test_descriptions_of_a_dataset_that_are_none_are_refused(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="mine"):
        datasets.load("mine", "train", folder.parents[1])


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_class_that_features_name_is_not_imported(folder, key, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "harm.py").write_text("import builtins\nbuiltins.harmed = True\n")
    path = folder / "features.json"
    about = json.loads(path.read_text("utf-8"))
    inner = about["featuresDict"]["features"]["text"]
    del inner["pythonClassName"]
    inner[key] = "harm.Feature"
    if key == "type":
        inner["content"] = ""
        about = inner
    path.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"'harm\.Feature'; allowed: tensorflow_datasets"
    ):
        datasets.load("mine", "train", folder.parents[1])
    assert not hasattr(builtins, "harmed")


def read_until(made, sign):
    """Reads on after a signal to the worker: exit code, its number, what was said."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.loader", str(made), sign],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (said, number), rest = ran.stdout.split(" "), ran.stderr
    assert said == sign and number.strip().isdigit(), ran.stdout + rest
    return ran.returncode, int(number), rest, time.monotonic() - began


def test_a_loader_worker_that_is_killed_is_an_error_not_an_end(made):
    code, _, err, _ = read_until(made, "SIGKILL")
    assert code in (1, 5)
    said = err.lower()
    assert "worker process" in said or "watchdog: the reader has stood" in said


def test_a_loader_worker_that_is_stopped_is_ended_by_the_watchdog(made):
    """It says that the data are what does not come, and leaves no process behind."""
    code, worker, err, seconds = read_until(made, "SIGSTOP")
    assert code == 5, err
    assert re.search(r"watchdog: the reader has stood in step \d+ for \d+ s", err)
    assert "budget.py" in err and "its own data do not come" in err
    assert seconds < 60
    path = pathlib.Path(f"/proc/{worker}/status")
    deadline = time.monotonic() + 20
    while path.exists() and "State:\tZ" not in path.read_text():
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)
