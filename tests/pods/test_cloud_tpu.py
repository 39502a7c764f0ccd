# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cloud TPU queued resources: printed commands, resume from every state, real hosts."""

import shlex
import subprocess

import pytest

from launch.pods import commands
from tests.pods.fakes import (
    JOB,
    ODD,
    ROOT,
    TRAIN,
    calls,
    dry,
    one_error,
    pods,
    wait_for,
)

TPU = ["--name=pod", "--zone=us-west4-a"]
SIZE = ["--accelerator-type=v5e:4x4", "--spot"]


def remote(command):
    """Arguments of the script that an ssh command runs on the hosts."""
    assert command[-1].startswith("--command=")
    bash, flag, script, _, *args = shlex.split(command[-1].removeprefix("--command="))
    assert (bash, flag) == ("bash", "-c")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    return args


def ssh(worker="all"):
    return [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *(f"--worker={worker}", "--zone=us-west4-a"),
    ]


QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]
CREATE = [
    *(*QUEUED, "create", "pod", "--accelerator-type=v5litepod-16"),
    *("--runtime-version=v2-alpha-tpuv5-lite", "--node-id=pod", "--spot"),
    "--zone=us-west4-a",
]
DESCRIBE = [
    *(*QUEUED, "describe", "pod", "--format=value(state.state)"),
    "--zone=us-west4-a",
]
DELETE = [*QUEUED, "delete", "pod", "--force", "--quiet", "--zone=us-west4-a"]
FOLDER = ["--workdir=/tmp/gcsfuse/runs/a", "--distributed"]


def test_a_dry_run_of_cloud_tpu_prints_each_command_and_runs_none(fake):
    assert dry("cloud_tpu.py", "create", *TPU, *SIZE) == [CREATE, DESCRIBE]
    assert dry("cloud_tpu.py", "delete", *TPU) == [DELETE]

    idle, bundle, copy, install = dry("cloud_tpu.py", "install", *TPU)
    assert idle[:-1] == install[:-1] == ssh()
    assert bundle == ["git", "-C", str(ROOT), "bundle", "create", copy[5], "HEAD"]
    assert (copy[4], copy[6]) == ("scp", "pod:")
    assert remote(install) == ["unigeo_jax.bundle"]

    idle, mount, start = dry("cloud_tpu.py", "run", *TPU, *JOB, "--", ODD)
    assert idle[:-1] == mount[:-1] == start[:-1] == ssh()
    assert remote(idle) == []
    assert remote(mount) == ["bucket", "/tmp/gcsfuse"]
    assert remote(start) == ["../venv/bin/python", *TRAIN, *FOLDER, ODD]

    assert dry("cloud_tpu.py", "logs", *TPU) == [
        [*ssh("0"), "--command=tail -n 100 -F train.log"]
    ]
    (stop,) = dry("cloud_tpu.py", "stop", *TPU, "--grace-s=30")
    assert stop[:-1] == ssh()
    assert remote(stop) == ["30"]

    everything = dry("cloud_tpu.py", "resume", *TPU, *SIZE, *JOB, "--", ODD)
    assert everything[:4] == [DESCRIBE, DELETE, CREATE, DESCRIBE]
    assert everything[-1] == start
    assert calls(fake) == []


def test_several_slices_are_one_queued_resource_of_several_nodes():
    create, _ = dry("cloud_tpu.py", "create", *TPU, *SIZE, "--slices=4", "--project=p")
    assert {"--node-count=4", "--node-prefix=pod", "--project=p"} < set(create)
    assert not any(word.startswith("--node-id") for word in create)
    *_, start = dry("cloud_tpu.py", "run", *TPU, *JOB, "--slices=4")
    assert start[:6] == [*QUEUED, "ssh", "pod"]
    assert {"--node=all", "--worker=all"} < set(start)
    (log,) = dry("cloud_tpu.py", "logs", *TPU, "--slices=4")
    assert {"--node=0", "--worker=0"} < set(log)


def test_a_shared_folder_is_used_as_it_is():
    job = ["--workdir=/shared/runs/a", "--config=configs/five_modal.py:size=B"]
    commands_ = dry("cloud_tpu.py", "run", *TPU, *job)
    assert len(commands_) == 2  # nothing to mount
    assert "--workdir=/shared/runs/a" in remote(commands_[-1])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("v5litepod-256", "v5litepod-256"),
        ("v5e:2x4", "v5litepod-8"),
        ("v6e:16x16", "v6e-256"),
        ("v5p:2x2x2", "v5p-16"),
        ("v4:2x2x2", "v4-16"),
    ],
)
def test_a_topology_names_its_accelerator_type(text, kind):
    assert commands.accelerator("--accelerator-type", text) == kind


def verbs(fake):
    """The recorded calls of this computer, a word or two each."""
    own = [c for c in calls(fake) if c[0] in ("gcloud", "git") and "clone" not in c]
    return ["bundle" if c[0] == "git" else c[4] for c in own]


BRING = ["ssh", "bundle", "scp", "ssh", "ssh", "ssh", "ssh"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (
            "SUSPENDED WAITING_FOR_RESOURCES PROVISIONING ACTIVE",
            ["describe", "delete", "create", *["describe"] * 3, *BRING],
        ),
        ("FAILED ACTIVE", ["describe", "delete", "create", "describe", *BRING]),
        (
            "SUSPENDING SUSPENDED ACTIVE",
            ["describe", "describe", "delete", "create", "describe", *BRING],
        ),
        ("ABSENT ACTIVE", ["describe", "create", "describe", *BRING]),
        ("ACTIVE", ["describe", "describe", *BRING]),
    ],
)
def test_resume_brings_the_same_run_back_from_every_state(fake, states, expected):
    (fake / "states").write_text(states)
    code, _, err = pods(
        "cloud_tpu.py", "resume", *TPU, *SIZE, *JOB, "--poll-s=0", "--", ODD
    )
    try:
        assert (code, err) == (0, "")
        assert verbs(fake) == expected
        log = wait_for(fake / "home" / "train.log", "started")
        assert log.splitlines()[1:-1] == [*TRAIN, *FOLDER, ODD]
    finally:
        pods("cloud_tpu.py", "stop", *TPU)


def test_a_run_outlives_its_connection_is_not_started_twice_and_saves_when_stopped(
    fake,
):
    (fake / "states").write_text("ACTIVE")
    log = fake / "home" / "train.log"
    assert pods("cloud_tpu.py", "install", *TPU)[0] == 0
    assert pods("cloud_tpu.py", "run", *TPU, *JOB)[0] == 0
    try:
        wait_for(log, "started")
        for command in (["run", *JOB], ["install"]):
            code, _, err = pods("cloud_tpu.py", command[0], *TPU, *command[1:])
            assert code == 1
            assert "training still runs; stop it first" in err
        assert log.read_text().count("started") == 1
    finally:
        stopped = pods("cloud_tpu.py", "stop", *TPU)
    assert stopped[0] == 0
    assert log.read_text().endswith("saved\nexit code 75\n")
    assert pods("cloud_tpu.py", "stop", *TPU)[0] == 0  # there is nothing to stop
    mounts = [c for c in calls(fake) if c[0] == "gcsfuse"]
    assert [c[-2:] for c in mounts] == [["bucket", "/tmp/gcsfuse"]]


def test_a_command_that_fails_stops_the_rest_with_its_exit_code(fake):
    (fake / "states").write_text("SUSPENDED")
    (fake / "fail").write_text("9 queued-resources create")
    code, _, err = pods("cloud_tpu.py", "resume", *TPU, *SIZE, *JOB)
    assert code == 9
    assert "exit code 9 of gcloud compute tpus queued-resources create pod" in err
    assert verbs(fake) == ["describe", "delete", "create"]


def test_an_unreadable_state_is_not_taken_for_an_absent_resource(fake):
    (fake / "fail").write_text("3 describe")
    code, _, err = pods("cloud_tpu.py", "resume", *TPU, *SIZE, *JOB)
    assert code == 3
    assert one_error(err).endswith("PERMISSION_DENIED: no")
    assert verbs(fake) == ["describe"]


def test_a_resource_that_fails_while_it_is_waited_for_is_an_error(fake):
    (fake / "states").write_text("PROVISIONING FAILED")
    code, _, err = pods("cloud_tpu.py", "create", *TPU, *SIZE, "--poll-s=0")
    assert code == 1
    assert "pod is FAILED" in one_error(err)


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = pods("cloud_tpu.py", "delete", *TPU)
    assert (code, one_error(err)) == (127, "error: gcloud: not found on PATH")
