# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Bad input to the pod scripts and to launch/train.py: one clear error each."""

import os
import subprocess
import sys

import jax
import pytest

from tests.pods.fakes import JOB, ROOT, calls, one_error, pods
from unigeo_jax import sharding

TPU = ["--name=pod", "--zone=us-west4-a"]
SIZE = ["--accelerator-type=v5e:4x4", "--spot"]
GKE = ["--cluster=big", "--zone=us-west4-a"]
NODES = ["--nodes=2", "--config=c.py"]


@pytest.mark.parametrize(
    ("script", "args", "parts"),
    [
        ("cloud_tpu.py", ["create", "--name=pod", *SIZE], ["--zone"]),
        ("cloud_tpu.py", ["create", "--name=pod", "--zone=here", *SIZE], ["'here'"]),
        (
            "cloud_tpu.py",
            ["create", "--name=Pod!", "--zone=us-west4-a", *SIZE],
            ["Pod"],
        ),
        (
            *("cloud_tpu.py", ["create", *TPU, "--accelerator-type=v9:4x4"]),
            ["'v9:4x4'", "v5e:4x4", "v5litepod-16"],
        ),
        ("cloud_tpu.py", ["resume", *TPU, *JOB, "--accelerator-type=v5e"], ["'v5e'"]),
        ("cloud_tpu.py", ["create", *TPU, "--accelerator-type=v5p-7"], ["'v5p-7'"]),
        ("cloud_tpu.py", ["create", *TPU, *SIZE, "--reserved"], ["--spot"]),
        ("cloud_tpu.py", ["logs", *TPU, "--slices=0"], ["--slices: got 0"]),
        (
            *("cloud_tpu.py", ["run", *TPU, "--config=c.py", "--workdir=runs/a"]),
            ["'runs/a'", "gs://BUCKET/FOLDER"],
        ),
        (
            *("cloud_tpu.py", ["run", *TPU, "--config=c.py", "--workdir=gs://bucket"]),
            ["'gs://bucket'", "gs://BUCKET/FOLDER"],
        ),
        ("cloud_tpu.py", ["launch", *TPU], ["launch"]),
        ("cloud_tpu.py", [], ["COMMAND"]),
        ("gke.py", ["create", *GKE, "--tpu-type=v5e:four"], ["--tpu-type", "four"]),
        ("gke.py", ["run", *GKE, *JOB, "--tpu-type=v6e-8"], ["--workload"]),
        (
            *("gke.py", ["run", *GKE, *JOB, "--tpu-type=v6e-8", "--workload=A"]),
            ["--workload: got 'A'"],
        ),
        ("slurm.py", ["submit", *NODES, "--workdir=gs://bucket/a"], ["gs://bucket/a"]),
        ("slurm.py", ["submit", *NODES, "--workdir=/a b"], ["'/a b'"]),
        (
            *("slurm.py", ["submit", *NODES, "--workdir=/a", "--time=soon"]),
            ["--time: got 'soon'"],
        ),
        (
            *("slurm.py", ["submit", *NODES, "--workdir=/a", "--partition=a\nb"]),
            ["--partition"],
        ),
        (
            "slurm.py",
            ["write", *NODES, "--workdir=/a", "--nodes=0"],
            ["--nodes: got 0"],
        ),
    ],
)
def test_bad_input_is_one_clear_error_and_exit_2(fake, script, args, parts):
    code, out, err = pods(script, *args)
    assert (code, out) == (2, "")
    for part in parts:
        assert part in one_error(err)
    assert calls(fake) == []


def test_jax_distributed_is_left_alone_where_nothing_asks_for_it():
    sharding.start_processes()
    assert not jax.distributed.is_initialized()
    with pytest.raises(ValueError, match="allowed: all three or none"):
        sharding.start_processes(coordinator="127.0.0.1:1")


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (["--distributed"], 1, "no TPU pod, SLURM step or other cluster"),
        (["--workdir=gs://bucket/a"], 2, "mount a bucket"),
        (["--heartbeat_s=0"], 2, "heartbeat_s"),
    ],
)
def test_launch_train_says_what_a_pod_run_lacks(tmp_path, flags, code, part):
    config = f"--config={ROOT}/configs/five_modal.py:tiny"
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch/train.py"), config, *flags],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
