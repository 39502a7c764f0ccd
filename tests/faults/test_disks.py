# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, read-only or slow, for real: small file systems in memory.

Where none can be mounted, a limit of the size of files is the full disk.
"""

import os
import re
import resource
import subprocess
import time

import pytest

from benchmarks import fault_ground, faults
from tests import small_models
from unigeo_jax import checkpoint
from unigeo_jax.data import datasets


def mounted(*arguments):
    ran = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return ran.returncode == 0


def unmount(folder):
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own in memory: four megabytes, or what `resized` says."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)):
        pytest.skip("nothing may be mounted here; the tests with a limit run")
    yield folder
    unmount(folder)


def resized(folder, size):
    assert mounted("-o", f"remount,size={size}", str(folder))


def free(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def start(ground, command, fault=""):
    return ground.server.start(command, {"UNIGEO_FAULT": fault})


def failed(child):
    """What it said in one line; it ended with code 1."""
    assert child.wait(120) == 1, child.err()
    said = [x for x in child.err().splitlines() if x.startswith("error: ")]
    assert len(said) == 1, child.err()
    return said[0]


def wait_for(path, seconds=120):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def goes_on(ground, run, step):
    """The same command, run again, ends as if nothing had been, without a loss."""
    kept = faults.Kept(run)
    kept.there = step
    child = start(ground, fault_ground.train_command(ground, run))
    assert child.wait(120) == 0, child.err()
    kept.after(child)
    assert (kept.lost, kept.from_steps) == (0, [step])
    assert fault_ground.state_digest(run) == ground.straight["state"]


def test_a_full_disk_ends_training_and_the_next_run_goes_on(ground, disk):
    run, others = disk / "run", disk / "others"
    command = fault_ground.train_command(ground, run)
    child = start(ground, command, fault="sleep@step:8+5")
    wait_for(run / "checkpoints" / "6")
    others.write_bytes(bytes(free(disk) - 200_000))  # a checkpoint takes 800,000
    said = failed(child)
    assert "No space left" in said and str(run) in said
    assert checkpoint.newest_good(run / "checkpoints", False) == (6, [])
    others.unlink()
    goes_on(ground, run, 6)


def test_a_folder_that_becomes_read_only_ends_training(ground, tmp_path):
    """Root may write where nobody may: for it the folder is mounted once more."""
    run = tmp_path / "run"
    kept = run / "checkpoints"
    command = fault_ground.train_command(ground, run)
    child = start(ground, command, fault="sleep@step:5+5")
    wait_for(kept / "3")
    if os.geteuid():
        kept.chmod(0o555)
    elif not mounted("--bind", str(kept), str(kept)):
        pytest.skip("root, and nothing may be mounted here")
    else:
        assert mounted("-o", "remount,bind,ro", str(kept))
    try:
        said = failed(child)
        again = failed(start(ground, command))
    finally:
        kept.chmod(0o755) if os.geteuid() else unmount(kept)
    for text in (said, again):
        assert str(kept) in text and re.search("Read-only|ermission denied", text)
    assert "step 6" in said and "newest whole step: 3" in said
    goes_on(ground, run, 3)


def test_training_goes_on_while_a_slow_disk_takes_a_checkpoint(ground, tmp_path):
    run = tmp_path / "run"
    command = fault_ground.train_command(ground, run)
    child = start(ground, command, fault="sleep@save.written:1+3")
    logged = 0
    while child.alive() and not (run / "checkpoints" / "3").exists():
        logged = max([logged, *(step for step, _ in fault_ground.told(run))])
        time.sleep(0.01)
    assert child.wait(120) == 0, child.err()
    assert logged == 6  # no step of the interval waits; the next save does
    assert fault_ground.state_digest(run) == ground.straight["state"]


@pytest.fixture(params=["small disk", "limit"])
def full(request, tmp_path):
    """(folder, start(ground, command) on too small a disk, make it large enough)."""
    if request.param == "small disk":
        folder = request.getfixturevalue("disk")
        resized(folder, "64k")
        yield folder, start, lambda: resized(folder, "64m")
        return

    def limited(ground, command):
        child = start(ground, command)
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (20_000, most))
        return child

    yield tmp_path, limited, lambda: None


def test_a_dataset_for_which_the_disk_is_too_small_is_none_until_it_is_built(
    ground, full
):
    folder, begin, enlarge = full
    if "dataset" not in ground.straight:
        faults.undisturbed(ground, "dataset")
    out = folder / "out"
    command = fault_ground.dataset_command(ground, out)
    child = begin(ground, command)
    said = failed(child)
    assert "Traceback" not in child.err()
    assert re.search("No space left|File too large", said), said
    with pytest.raises(ValueError, match="mine"):
        datasets.find("mine", out)
    enlarge()
    child = start(ground, command)
    assert child.wait(120) == 0, child.err()
    assert faults.records_digest(out) == ground.straight["dataset"]


def test_vectors_for_which_the_disk_is_too_small_are_no_file_until_all_are_there(
    ground, full, tmp_path
):
    folder, begin, enlarge = full
    model, out = small_models.write(tmp_path / "model", dim=64), folder / "out.parquet"
    command = ["launch/embed.py", f"--model={model}", f"--output={out}"]
    command += [f"--input={ground.folder / 'places.csv'}", "--rows=150"]
    child = begin(ground, command)
    said = failed(child)
    assert "Traceback" not in child.err()
    assert re.search("No space left|File too large", said), said
    assert not out.exists()
    enlarge()
    child = start(ground, command)
    assert child.wait(120) == 0, child.err()
    undisturbed = tmp_path / "undisturbed.parquet"
    command[2] = f"--output={undisturbed}"
    child = start(ground, command)
    assert child.wait(120) == 0, child.err()
    assert out.read_bytes() == undisturbed.read_bytes()
