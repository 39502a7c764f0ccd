# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that go on with other devices and processes, or that two processes leave."""

import json
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from benchmarks import fault_ground
from benchmarks.fault_ground import EVERY
from configs import ablations
from tests import xla
from unigeo_jax import modalities
from unigeo_jax.data import datasets, pipeline

SPOILED = 2  # in this step process 1 of two has an input that is not finite
END = 9  # the step at which the undisturbed run is looked at
STEPS = 100  # that are asked for: all runs are killed before
GRACE_S = 30.0
pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]


def start(ground, run, name, *, devices, processes=1, faults=("",)):
    """The processes of a job, recorded in `<run>.<name>`."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = run.with_name(f"{run.name}.{name}")
    spoil = f"{SPOILED if processes > 1 else 0}:1"
    _, *flags = fault_ground.train_command(ground, run, f"--config.steps={STEPS}")
    command = ["tests/faults/recorded.py", str(log), spoil, *flags]
    if processes > 1:
        command += [f"--coordinator=127.0.0.1:{port}", "--config.mesh.fsdp=2"]
        command += [f"--num_processes={processes}"]
    return log, [
        ground.server.start(
            command + [f"--process_id={number}"] * (processes > 1),
            {"XLA_FLAGS": xla.flags(devices), "UNIGEO_FAULT": fault},
        )
        for number, fault in zip(range(processes), [*faults, ""], strict=False)
    ]


def killed_after(saves, ground, run, name, **job):
    """The log of a job whose first process is killed when so many saves are done.

    The next has been copied and is about to be written.
    """
    fault = f"kill@save.copied:{saves + 1}"
    log, children = start(ground, run, name, faults=(fault,), **job)
    try:
        assert children[0].wait(240) == -signal.SIGKILL, children[0].err()
    finally:
        for child in children:
            child.kill()
    return log, children


def lines(log, key):
    return [x for x in map(json.loads, log.read_text().splitlines()) if key in x]


def digests(log, key):
    """{step: digest} of what was saved or restored; all processes tell the same."""
    found = {}
    for line in lines(log, key):
        assert found.setdefault(line[key], line["digest"]) == line["digest"]
    return found


def check_rows(log, rows, first):
    """Each process read its share of the global batches `rows`, from step `first`."""
    found = lines(log, "read")
    assert min(line["read"] for line in found if line["read"] != SPOILED) == first
    for line in (x for x in found if x["read"] in rows):
        mine = rows[line["read"]][line["process"] :: line["processes"]]
        assert line["rows"] == mine.tolist()


@pytest.fixture(scope="module")
def rows(earth_tiny):
    """The records of each global batch, by step, as one process reads them."""
    config = ablations.get_config("variant=pair_dsm_coords,tiny")
    config.steps = STEPS
    source, index = datasets.load(config.data.name, config.data.split, earth_tiny)
    read = pipeline.ReadPlaces(
        source, index["cell"], pipeline.readers(config.towers, modalities.get)
    )
    places = pipeline.positions(index, config)
    batches = pipeline.train_batches(
        read, places, data=config.data, start=0, process=(0, 1)
    )
    return {n: next(batches)["index"] for n in range(1, 40)}


@pytest.fixture(scope="module")
def pair(ground, tmp_path_factory):
    """Two processes, undisturbed until END; parameters are split over both."""
    run = tmp_path_factory.mktemp("pair") / "run"
    job = {"devices": 1, "processes": 2}
    return run, *killed_after(END // EVERY, ground, run, "log", **job)


@pytest.fixture(scope="module")
def stopped(ground, tmp_path_factory):
    """The same, until one of the two gets SIGTERM: its folder, log and last step."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    both, job = ["sleep@step:5+6"] * 2, {"devices": 1, "processes": 2}
    log, children = start(ground, run, "one", faults=both, **job)
    try:
        deadline = time.monotonic() + 240
        while max([0, *(step for step, _ in fault_ground.told(run))]) < 3:
            assert time.monotonic() < deadline, children[0].err()
            time.sleep(0.05)
        children[1].send(signal.SIGTERM)
        began = time.monotonic()
        assert [child.wait(120) for child in children] == [75, 75], children[1].err()
        assert time.monotonic() - began < GRACE_S + 6
    finally:
        for child in children:
            child.kill()
    (step,) = {x.err().rsplit("saved step ", 1)[1].strip() for x in children}
    return run, log, int(step)


def test_an_input_that_one_process_has_not_finite_is_skipped_by_both(pair, rows):
    run, log, children = pair
    check_rows(log, rows, 1)
    assert [(x["process"], x["same"]) for x in sorted_by(lines(log, "step"))] == [
        (0, True),
        (1, True),
    ]
    text = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["skips"] for x in text[:END]] == [0] + [1] * (END - 1)
    first = rows[SPOILED][1]  # of process 1
    said = f"step {SPOILED} was not finite and is skipped; process"
    assert f"{said} 0 of 2: all inputs finite; places" in children[0].err()
    assert f"{said} 1 of 2: inputs not finite of places [{first}]" in children[1].err()


def sorted_by(found):
    return sorted(found, key=lambda line: line["process"])


def test_sigterm_to_one_of_two_saves_one_step_and_resumes_bit_for_bit(
    ground, pair, stopped, rows, tmp_path
):
    straight, log, _ = pair
    before, one, step = stopped
    assert step < END
    run = tmp_path / "run"
    shutil.copytree(before, run)
    job = {"devices": 1, "processes": 2}
    saves = END // EVERY - step // EVERY
    again, _ = killed_after(saves, ground, run, "log", **job)
    assert digests(again, "restore") == {step: digests(one, "save")[step]}
    assert digests(again, "save")[END] == digests(log, "save")[END]
    assert fault_ground.told(run)[:END] == fault_ground.told(straight)[:END]
    check_rows(again, rows, step + 1)


def test_a_run_goes_on_with_any_number_of_devices_and_processes(
    ground, pair, stopped, rows, tmp_path
):
    """Two processes; one of 4 devices, of 2; two of 4 each; one of 1 device, of 8."""
    straight, _, _ = pair
    before, one, step = stopped
    run = tmp_path / "run"
    shutil.copytree(before, run)
    kept = digests(one, "save")
    for devices, processes in ((4, 1), (2, 1), (4, 2), (1, 1), (8, 1)):
        name = f"{processes}x{devices}"
        job = {"devices": devices, "processes": processes}
        log, _ = killed_after(1, ground, run, name, **job)
        assert digests(log, "restore") == {step: kept[step]}, name
        check_rows(log, rows, step + 1)
        kept = digests(log, "save")
        step = min(kept)
    assert step > END
    mine, theirs = (dict(fault_ground.told(x)) for x in (run, straight))
    finite = [x for x in range(1, END + 1) if x != SPOILED]
    np.testing.assert_allclose(
        *([losses[x] for x in finite] for losses in (mine, theirs)), rtol=1e-4
    )
