# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs, killed, filled up or run twice: a sample of benchmarks/faults.py."""

import json
import pathlib
import re
import resource
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from benchmarks import fault_ground, faults
from unigeo_jax import checkpoint, sharding


def run(ground, folder, *more, fault=""):
    command = fault_ground.train_command(ground, folder, *more)
    return ground.server.start(command, {"UNIGEO_FAULT": fault} if fault else {})


@pytest.mark.parametrize("kind", ["saving", "restoring"])
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(ground, tmp_path, kind):
    survives(faults.killed(ground, kind, tmp_path / "run", 0))


def survives(trial):
    assert trial.survived, trial
    assert trial.equal, trial
    assert (trial.kills > 0, trial.lost) == (True, 0), trial


def test_a_save_killed_before_any_of_its_operations_loses_no_checkpoint(
    ground, tmp_path
):
    """One of all points, drawn at random; benchmarks/faults.py kills at each."""
    points = ground.straight["points"] = fault_ground.list_points(ground)
    names = {point for point, _ in points}
    assert len(names) >= 40
    for point in (
        *("os.mkdir N.tmp", "files 5", "open N.tmp/default.tmp/crc32.json"),
        *("os.rename N.tmp", "shutil.rmtree N", "os.rmdir N/default"),
    ):
        assert point in names
    number = ground.draw.randrange(len(points))
    survives(faults.killed(ground, faults.POINTS, tmp_path / "run", number))


def test_a_run_that_loses_its_checkpoints_is_found_out(ground, tmp_path):
    """What ends with the same bits, because it began again, is no survivor."""
    run = tmp_path / "run"
    kept = faults.Kept(run)
    command = fault_ground.train_command(ground, run)
    child = ground.server.start(command, {"UNIGEO_FAULT": "kill@save.copied:3"})
    assert child.wait() == -signal.SIGKILL
    kept.after(child)
    assert (kept.lost, kept.there) == (0, 6)
    shutil.rmtree(run / "checkpoints" / "6")
    child = ground.server.start(command)
    assert child.wait() == 0, child.err()
    kept.after(child)
    assert (kept.lost, kept.from_steps) == (1, [0, 3])
    assert fault_ground.state_digest(run) == ground.straight["state"]


@pytest.mark.slow
def test_a_killed_evaluation_shows_nothing_half_written_and_ends_the_same(
    ground, tmp_path
):
    whole = ground.folder / "whole evaluation"
    command = fault_ground.evaluate_command(ground, whole)
    fault_ground.once(ground, "evaluate.py", command)
    ground.straight["evaluate.py"] = fault_ground.results_digest(whole)
    survives(faults.killed(ground, "evaluate.py", tmp_path / "out", 1))


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
    assert fault_ground.state_digest(folder) == ground.straight["state"]
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
    assert fault_ground.state_digest(folder) == ground.straight["state"]


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
    assert fault_ground.state_digest(folder) == ground.straight["state"]


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


def test_a_run_that_diverges_ends_with_code_4_and_the_steps(ground, tmp_path):
    flags = ["--config.optim.lr=1e30", "--config.max_skips=3"]
    child = run(ground, tmp_path / "run", *flags)
    assert child.wait() == 4, child.err()
    found = re.search(
        r"error: loss or gradient not finite in steps (\d+) to (\d+)", child.err()
    )
    assert int(found[2]) - int(found[1]) == 2
    assert f"step {found[1]} was not finite and is skipped; process 0" in child.err()


def test_a_run_whose_records_are_mostly_damaged_ends_with_code_3(ground, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(ground.data_dir / "earth", data / "earth")
    (shard, *_) = sorted(data.rglob("*train*.array_record*"))
    harmed = bytearray(shard.read_bytes())
    for at in range(len(harmed) // 10, len(harmed) * 9 // 10, len(harmed) // 100):
        harmed[at] ^= 1  # in most, a record of its own
    shard.write_bytes(harmed)
    child = run(ground, tmp_path / "run", f"--data_dir={data}")
    assert child.wait() == 3, child.err()
    assert str(shard) in child.err() and "records cannot be read" in child.err()


RESTORE = """
import pathlib, sys
import jax, numpy as np
from unigeo_jax import checkpoint, sharding
everywhere = sharding.replicated(sharding.make_mesh()) if sys.argv[2] else None
shape = jax.ShapeDtypeStruct((16, 4), np.float32, sharding=everywhere)
saves = checkpoint.Checkpoints(pathlib.Path(sys.argv[1]))
print(saves.restore(1, {"w": shape})["w"].sum())
"""


def test_what_other_devices_saved_is_refused_without_a_target(ground, tmp_path, mesh):
    """Training always has one: `abstract` of train.prepare carries shardings."""
    x = np.arange(64, dtype=np.float32).reshape(16, 4)
    saves = checkpoint.Checkpoints(tmp_path / "checkpoints")
    saves.save(1, sharding.to_global({"w": x}, mesh))
    saves.close()
    script = tmp_path / "restore.py"
    script.write_text(RESTORE)
    command = [str(script), str(tmp_path / "checkpoints")]
    child = ground.server.start([*command, ""])
    assert child.wait() == 1
    assert "Topology mismatch" in child.err() and "provide a target" in child.err()
    child = ground.server.start([*command, "with one"])
    assert child.wait() == 0, child.err()
    assert float(child.out()) == x.sum()
