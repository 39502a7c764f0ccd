# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes of a build: a shard is whole when it is said to be."""

import os

import pytest

from unigeo_jax.data.own import shards, workers

MAKER = """
import concurrent.futures, errno, os, time
import numpy as np
from unigeo_jax.data.own import shards

MODE, synced = os.environ["MODE"], []
fsync = os.fsync

def slow_or_full(file):
    synced.append(file)
    if MODE == "slow":
        time.sleep(0.2)
    if MODE == "full" and len(synced) == 3:
        raise OSError(errno.ENOSPC, "No space left on device")
    fsync(file)

os.fsync = slow_or_full
if MODE == "fast":  # a shard is whole before the next one is asked for
    submit = concurrent.futures.ThreadPoolExecutor.submit

    def wait(self, *given):
        future = submit(self, *given)
        future.result()
        return future

    concurrent.futures.ThreadPoolExecutor.submit = wait

class Maker:
    fields = {"lat": shards.Field("number")}

    def __init__(self, folder):
        self.folder, self.made = folder, []

    def notes(self):
        return {"made": len(self.made)}

    def chunks(self, shard):
        # No more than one waits for the disk.
        for file in self.made[:-2]:
            assert (self.folder / file).is_file(), file
        if MODE == "broken" and shard.number == 3:
            raise ValueError("shard 3 cannot be made")
        self.made.append(shard.file)
        yield {"lat": np.arange(shard.start, shard.stop)}
"""
PLANNED = shards.plan("mine", {"train": 14}, 2)


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "maker_of_test.py").write_text(MAKER, "utf-8")
    path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "made"
    folder.mkdir()

    def start(mode, count):
        monkeypatch.setenv("MODE", mode)
        told = []

        def done(shard, notes):
            assert (folder / shard.file).is_file()
            told.append(shard.file)

        found = workers.run("maker_of_test", folder, PLANNED, count, done)
        assert sorted(told) == [shard.file for shard in PLANNED] and len(found) == 7

    return folder, start


@pytest.mark.parametrize("mode, count", [("slow", 1), ("slow", 2), ("fast", 2)])
def test_every_shard_is_whole_when_it_is_said_to_be(run, mode, count):
    _, start = run
    start(mode, count)


@pytest.mark.parametrize(
    "mode, said", [("full", "No space left"), ("broken", "shard 3 cannot be made")]
)
def test_a_worker_that_fails_names_its_shard_and_what_was_whole_stays(
    run, capfd, mode, said
):
    folder, start = run
    lost = PLANNED[2 if mode == "full" else 3].file
    with pytest.raises(RuntimeError, match=f"worker 0 of 1 ended before {lost}"):
        start(mode, 1)
    assert said in capfd.readouterr().err
    assert not list(folder.glob(f".{lost}.*"))
    there = sorted(p.name for p in folder.glob("mine*-of-0000?"))
    assert there == [shard.file for shard in PLANNED[: 2 if mode == "full" else 3]]
    start("slow", 1)
