# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command line, run as users run it: whole runs, kills, processes, wrong input."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests import xla

ROOT = pathlib.Path(__file__).parents[1]
# Five towers of one layer each: what is compared does not depend on their depth.
SHALLOW = [
    f"--config.towers.{name}.net.depth=1"
    for name in ("aerial", "street", "dsm", "coords")
]


def start(folder, data_dir, *flags, devices=1, config="configs/five_modal.py:tiny"):
    environment = os.environ | {"XLA_FLAGS": xla.flags(devices)}
    command = [sys.executable, "launch/train.py", f"--config={config}", *flags]
    command += [f"--workdir={folder}", f"--data_dir={data_dir}"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, expected=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == expected, f"{out}\n{err}"
    return out, err


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder):
    return [line["loss"] for line in metrics(folder)]


def final_state(folder, step):
    with ocp.StandardCheckpointer() as reader:
        return reader.restore(
            (folder / "checkpoints" / str(step) / "default").absolute()
        )


@pytest.fixture(scope="module")
def finished(earth_tiny, tmp_path_factory):
    """A whole tiny run: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    out, _ = finish(start(folder, earth_tiny))
    return folder, out


def test_a_run_writes_what_the_contract_says(finished):
    folder, out = finished
    about = json.loads((folder / "config.json").read_text())
    assert about["config"]["towers"]["aerial"]["data"]["size"] == 32
    assert about["versions"]["jax"] == jax.__version__
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {
        "loss",
        "loss/aerial-coords",
        "temperature/aerial-coords",
        "examples_per_s",
    }
    assert wanted | {"data_wait_s", "grad_norm", "here/text"} <= lines[-1].keys()
    assert list((folder / "tensorboard").glob("events.*"))
    results = json.loads((folder / "eval" / "4.json").read_text())
    assert results.keys() == {"near", "val", "test"}
    for split in results.values():
        assert split["aerial->coords"]["gallery"] == 32
        assert 0 <= split["aerial->coords"]["recall@10"] <= 1
        assert "block_oracle@10" in split["aerial+dsm+street+text->coords"]
    assert "chance" in out
    assert str(folder) in out


def test_the_same_command_again_evaluates_the_finished_run(finished, earth_tiny):
    folder, _ = finished
    before = (folder / "eval" / "4.json").read_text()
    out, _ = finish(start(folder, earth_tiny))
    assert "from step 4" in out
    assert (folder / "eval" / "4.json").read_text() == before


def wait_for_step(folder, step):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.01)
    raise TimeoutError(f"step {step} did not come")


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_ends_with_the_same_bits(earth_tiny, tmp_path):
    flags = (
        *SHALLOW,
        "--config.steps=24",
        "--config.checkpoint.every=4",
        "--config.eval.gallery=16",
    )
    finish(start(tmp_path / "straight", earth_tiny, *flags))
    step = random.SystemRandom().randrange(9, 23)
    victim = start(tmp_path / "killed", earth_tiny, *flags)
    wait_for_step(tmp_path / "killed", step)
    victim.kill()
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL, f"killed at step {step}"
    out, _ = finish(start(tmp_path / "killed", earth_tiny, *flags))
    assert "from step 0" not in out, f"killed at step {step}"
    a, b = final_state(tmp_path / "straight", 24), final_state(tmp_path / "killed", 24)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert losses(tmp_path / "straight") == losses(tmp_path / "killed"), (
        f"killed at step {step}"
    )


@pytest.mark.slow
def test_a_terminated_run_saves_and_asks_to_be_run_again(earth_tiny, tmp_path):
    flags = ("--config.steps=4000", "--config.checkpoint.every=4000")
    small = "configs/ablations.py:variant=pair_dsm_coords,tiny"
    process = start(tmp_path / "run", earth_tiny, *flags, config=small)
    wait_for_step(tmp_path / "run", 3)
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, expected=75)
    step = int(err.rsplit("saved step ", 1)[1])
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_one_device_eight_devices_and_two_processes_give_one_loss_curve(
    earth_tiny, tmp_path
):
    flags = (*SHALLOW, "--config.steps=10", "--config.checkpoint.every=10")
    impls = [f"--config.loss.impl={name}" for name in ("plain", "ring", "tiled")]
    finish(start(tmp_path / "one", earth_tiny, *flags, impls[0]))
    sharded = *flags, impls[1], "--config.mesh.fsdp=2"
    finish(start(tmp_path / "eight", earth_tiny, *sharded, devices=8))
    job = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    job += [*flags, impls[2], "--config.loss.tile=5"]
    pair = [
        start(tmp_path / "two", earth_tiny, *job, f"--process_id={p}", devices=4)
        for p in range(2)
    ]
    for process in pair:
        finish(process)
    assert len(losses(tmp_path / "one")) == 10
    np.testing.assert_allclose(
        losses(tmp_path / "eight"), losses(tmp_path / "one"), rtol=1e-5
    )
    np.testing.assert_allclose(
        losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5
    )
    a = json.loads((tmp_path / "one" / "eval" / "10.json").read_text())
    b = json.loads((tmp_path / "two" / "eval" / "10.json").read_text())
    assert a["test"].keys() == b["test"].keys()


@pytest.mark.parametrize(
    ("flags", "config", "code", "parts"),
    [
        (["--config.stepz=3"], "configs/five_modal.py:tiny", 2, ["stepz"]),
        ([], "configs/five_modal.py:size=XXL", 2, ["XXL", "mini, S, B, L"]),
        (
            ["--config.data.name=mars"],
            "configs/five_modal.py:tiny",
            1,
            ["mars", "earth"],
        ),
        (
            ["--config.mesh.fsdp=3"],
            "configs/five_modal.py:tiny",
            1,
            ["fsdp=3", "devices"],
        ),
        (
            ["--config.dtype=float8"],
            "configs/five_modal.py:tiny",
            1,
            ["float8", "bfloat16"],
        ),
    ],
)
def test_wrong_input_gives_one_clear_error(
    earth_tiny, tmp_path, flags, config, code, parts
):
    folder = tmp_path / "run"
    _, err = finish(start(folder, earth_tiny, *flags, config=config), expected=code)
    for part in parts:
        assert part in err
    assert "Traceback" not in err
    assert not (folder / "checkpoints").exists() or not any(
        (folder / "checkpoints").iterdir()
    )


def test_a_workdir_of_another_config_is_refused_and_left_alone(finished, earth_tiny):
    folder, _ = finished
    before = (folder / "config.json").read_text()
    _, err = finish(start(folder, earth_tiny, "--config.optim.lr=0.5"), expected=1)
    assert "optim.lr: the workdir has 0.002, this command asks for 0.5" in err
    assert (folder / "config.json").read_text() == before


def test_what_does_not_change_the_run_may_differ(finished, earth_tiny, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    finish(
        start(folder, earth_tiny, "--config.eval.gallery=16", "--config.log_every=2")
    )


def test_a_workdir_that_cannot_be_made_is_refused(earth_tiny, tmp_path):
    (tmp_path / "file").write_text("")
    _, err = finish(start(tmp_path / "file" / "run", earth_tiny), expected=1)
    assert "error: --workdir" in err
    assert "Traceback" not in err
