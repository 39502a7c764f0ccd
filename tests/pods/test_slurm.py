# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""SLURM: the batch script is run by bash, with fakes for srun and scontrol."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from tests import xla
from tests.pods.fakes import ODD, calls, dry, one_error, pods, wait_for

NODES = ["--nodes=2", "--config=c.py"]


def slurm(fake, *args, srun="true", verb="write"):
    """Writes the batch script with a fake srun of this text; returns its path."""
    (fake / "bin" / "srun").write_text(
        '#!/bin/bash\nprintf "%s\\n" "$@" >"$FAKE/srun"\n'
        f'env | grep ^JAX_LOCAL >"$FAKE/env"\n{srun}\n'
    )
    (fake / "bin" / "srun").chmod(0o755)
    workdir = fake / "shared" / "run"
    job = ["--nodes=2", f"--workdir={workdir}", "--config=c.py:tiny"]
    code, _, err = pods("slurm.py", verb, *job, *args)
    assert (code, err) == (0, "")
    return f"{workdir}.sbatch"


def batch(path, count=0):
    """Runs a batch script as sbatch would; returns its exit code."""
    environment = os.environ | {"SLURM_JOB_ID": "4711", "JAX_LOCAL_DEVICE_IDS": "7"}
    environment |= {"SLURM_RESTART_COUNT": str(count)} if count else {}
    process = subprocess.Popen(["bash", path], env=environment, start_new_session=True)
    try:
        return process.wait(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_batch_script_is_bash_that_starts_one_process_a_gpu(fake):
    path = slurm(fake, "--gpus-per-node=4", "--cpus-per-gpu=6", "--", ODD)
    subprocess.run(["bash", "-n", path], check=True)
    text = pathlib.Path(path).read_text()
    wanted = {"nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6"}
    wanted |= {"signal=TERM@120", "open-mode=append", "time=24:00:00"}
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {f"#SBATCH --{x}" for x in wanted} | {"#SBATCH --requeue"} < set(lines)
    assert batch(path) == 0
    words = (fake / "srun").read_text().splitlines()
    shared = [f"--workdir={fake / 'shared' / 'run'}", "--distributed", ODD]
    at = words.index("launch/train.py")
    assert words[at:] == ["launch/train.py", "--config=c.py:tiny", *shared]
    assert "--kill-on-bad-exit=0" in words[:at]
    assert (fake / "env").read_text() == ""  # JAX takes the GPU of SLURM_LOCALID
    assert calls(fake) == []


def test_one_process_a_node_is_told_to_take_all_its_gpus(fake):
    path = slurm(fake, "--processes=node", "--gpus-per-node=4", "--cpus-per-gpu=6")
    text = pathlib.Path(path).read_text()
    assert "#SBATCH --ntasks-per-node=1\n" in text
    assert "#SBATCH --cpus-per-task=24\n" in text
    assert batch(path) == 0
    assert (fake / "env").read_text() == "JAX_LOCAL_DEVICE_IDS=0,1,2,3\n"


@pytest.mark.parametrize(
    ("code", "count", "again"),
    [
        *((75, 0, True), (75, 2, True), (5, 0, True), (134, 0, True)),
        *((75, 3, False), (0, 0, False), (1, 0, False), (4, 0, False)),
    ],
)
def test_a_saved_or_hung_job_goes_back_into_the_queue(fake, code, count, again):
    path = slurm(fake, "--max-restarts=3", srun=f"exit {code}")
    assert batch(path, count) == code
    assert calls(fake) == ([["scontrol", "requeue", "4711"]] if again else [])


def test_a_signal_to_the_whole_job_leaves_the_script_alive_until_all_is_saved(fake):
    path = slurm(fake, srun='exec "$FAKE/train"')
    with (fake / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", path],
            env=os.environ | {"SLURM_JOB_ID": "4711"},
            stdout=log,
            start_new_session=True,
        )
        wait_for(fake / "log", "started")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 75
    assert "saved\nexit code 75, restart 0 of 20\n" in (fake / "log").read_text()
    assert calls(fake) == [["scontrol", "requeue", "4711"]]


def test_slurm_submits_stops_and_does_not_requeue_what_was_stopped(fake):
    path = slurm(fake, srun="exit 75", verb="submit")
    where = f"--workdir={path.removesuffix('.sbatch')}"
    assert calls(fake) == [["sbatch", "--parsable", path]]
    assert dry("slurm.py", "submit", *NODES, where) == [["sbatch", "--parsable", path]]
    assert dry("slurm.py", "stop", where) == [["scancel", "--signal=TERM", "JOB"]]
    assert dry("slurm.py", "delete", where) == [["scancel", "JOB"]]
    assert dry("slurm.py", "logs", where)[0][-1] == path.replace("sbatch", "log")
    assert pods("slurm.py", "stop", where)[0] == 0
    assert calls(fake)[1:] == [["scancel", "--signal=TERM", "4711"]]
    assert batch(path) == 75
    assert len(calls(fake)) == 2
    slurm(fake, srun="exit 75", verb="resume")
    assert batch(path) == 75
    assert [call[0] for call in calls(fake)[2:]] == ["sbatch", "scontrol"]


def test_a_dry_run_of_slurm_writes_nothing(fake):
    workdir = fake / "shared" / "run"
    dry("slurm.py", "submit", *NODES, f"--workdir={workdir}")
    dry("slurm.py", "write", *NODES, f"--workdir={workdir}")
    assert not workdir.parent.exists()
    code, _, err = pods("slurm.py", "stop", f"--workdir={workdir}")
    assert code == 1
    assert "run.job: No such file" in one_error(err)


TASKS = """
for p in 0 1; do
    env SLURM_STEP_NODELIST=127.0.0.1 SLURM_NTASKS=2 SLURM_PROCID=$p SLURM_LOCALID=$p \\
        "${@:4}" >"$FAKE/out$p" 2>"$FAKE/err$p" &
    eval "task$p=\\$!"
done
wait $task0 || exit $?
wait $task1
"""


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_tasks_of_a_slurm_step_find_each_other_and_one_writes(
    fake, earth_tiny, monkeypatch
):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        monkeypatch.setenv("JAX_COORDINATOR_PORT", str(s.getsockname()[1]))
    monkeypatch.setenv("XLA_FLAGS", xla.flags())
    config = "--config=configs/ablations.py:variant=pair_dsm_coords,tiny"
    flags = [f"--data_dir={earth_tiny}", "--config.optim.name=adamw"]
    path = slurm(fake, config, "--", *flags, "--config.steps=2", srun=TASKS)
    code = batch(path)
    assert code == 0, (fake / "err0").read_text() + (fake / "err1").read_text()
    assert "2 processes; one that is dead ends the others" in (
        (fake / "out0").read_text()
    )
    assert "2 devices, from step 0" in (fake / "out0").read_text()
    assert "parameters" not in (fake / "out1").read_text()
    lines = (fake / "shared" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    events = (fake / "shared" / "run" / "tensorboard").glob("events.*")
    assert len(list(events)) == 1
