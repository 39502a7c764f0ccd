# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs, killed, filled up or run twice: a sample of benchmarks/faults.py."""

import json
import pathlib
import resource
import shutil
import signal
import socket
import time

import pytest

from benchmarks import fault_server, faults
from unigeo_jax import checkpoint


@pytest.fixture(scope="module")
def ground(earth_tiny, tmp_path_factory):
    """A server of forks, and what an undisturbed run gave."""
    import random

    folder = tmp_path_factory.mktemp("ground")
    draw = random.Random(random.SystemRandom().random())
    with fault_server.Server(folder / "log") as server:
        ground = faults.Ground(server, folder, earth_tiny, draw, {})
        faults.once(ground, "train", faults.train_command(ground, folder / "straight"))
        ground.straight["state"] = faults.state_digest(folder / "straight")
        yield ground


def run(ground, folder, *more, fault=""):
    command = faults.train_command(ground, folder, *more)
    return ground.server.start(command, {"UNIGEO_FAULT": fault} if fault else {})


@pytest.mark.parametrize("kind", ["saving", "restoring"])
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(ground, tmp_path, kind):
    trial = faults.kill_training(ground, kind, tmp_path / "run")
    assert trial.survived, trial
    assert trial.equal, trial


def test_a_run_says_where_it_stands_and_where_its_time_went(ground):
    folder = ground.folder / "straight"
    child = run(ground, folder)  # again: nothing is left to train
    assert child.wait() == 0, child.err()
    assert "from step 12, example 192, sha256 " in child.out()
    assert "in 2 attempts: training" in child.out()
    line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < line["goodput"] < 1


def test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_end(
    ground, tmp_path
):
    folder = pathlib.Path(shutil.copytree(ground.folder / "straight", tmp_path / "run"))
    newest = folder / "checkpoints" / "12" / "default"
    victim = max(
        (p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    refused = run(ground, folder, "--config.checkpoint.fall_back=False")
    assert refused.wait() == 1
    assert str(victim) in refused.err()
    child = run(ground, folder)
    assert child.wait() == 0, child.err()
    assert f"step 12 is damaged: {victim}" in child.err()
    assert "going on from step 9" in child.err()
    assert "from step 9, example 144" in child.out()
    assert faults.state_digest(folder) == ground.straight["state"]
    assert (folder / "damaged" / "12.0").is_dir()


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(ground, tmp_path):
    folder = tmp_path / "run"
    child = run(ground, folder, fault="sleep@step:8+6")  # while step 6 is written
    wait_for(folder / "checkpoints" / "6")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (120_000, limits[1]))
    assert child.wait(60) == 1, child.err()
    assert "could not be written" in child.err()
    assert "newest whole step: 6" in child.err()
    assert checkpoint.newest_good(folder / "checkpoints", False) == (6, [])
    again = run(ground, folder)
    assert again.wait() == 0, again.err()
    assert faults.state_digest(folder) == ground.straight["state"]


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_second_job_in_a_workdir_is_refused_and_a_dead_one_is_no_obstacle(
    ground, tmp_path
):
    folder = tmp_path / "run"
    first = run(ground, folder, fault="sleep@step:4+120")
    wait_for(folder / "checkpoints" / "3")
    second = run(ground, folder)
    assert second.wait() == 1
    for words in ("in use by host", f"process {first.pid}, since", "remove"):
        assert words in second.err()
    assert first.kill() == -signal.SIGKILL
    third = run(ground, folder)
    assert third.wait() == 0, third.err()
    assert faults.state_digest(folder) == ground.straight["state"]


def test_a_second_sigterm_ends_the_run_at_once(ground, tmp_path):
    folder = tmp_path / "run"
    child = run(ground, folder, fault="sleep@step:4+60")
    wait_for(folder / "checkpoints" / "3")
    time.sleep(0.5)
    child.send(signal.SIGTERM)
    time.sleep(0.3)
    began = time.monotonic()
    child.send(signal.SIGTERM)
    assert child.wait(20) == -signal.SIGTERM
    assert time.monotonic() - began < 10


def test_a_process_whose_peer_never_joins_ends_and_says_so(ground, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    job = [f"--coordinator={address}", "--num_processes=2", "--process_id=0"]
    began = time.monotonic()
    child = run(ground, tmp_path / "run", *job, "--join_s=3")
    code = child.wait(90)
    assert time.monotonic() - began < 60
    assert code in (1, -signal.SIGABRT), child.err()
    assert "0 of 2" in child.err() or "task" in child.err(), child.err()
