# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GKE through xpk: printed commands, resume, and the signal that makes it save."""

import shlex
import signal
import subprocess

from tests.pods.fakes import JOB, ODD, TRAIN, calls, dry, pods, wait_for

GKE = ["--cluster=big", "--zone=us-west4-a"]
XPK = ["--cluster=big", "--zone=us-west4-a"]


def test_a_dry_run_of_gke_prints_each_command_and_runs_none(fake):
    tpu = ["--tpu-type=v5e:4x4", "--slices=2"]
    create, attach = dry("gke.py", "create", *GKE, *tpu, "--spot", "--bucket=bucket")
    assert create[:3] == ["xpk", "cluster", "create"]
    assert {*XPK, "--tpu-type=v5litepod-16", "--num-slices=2", "--spot"} < set(create)
    assert attach[:4] == ["xpk", "storage", "attach", "unigeo"]
    assert {"--type=gcsfuse", "--bucket=bucket", "--mount-point=/gcs"} < set(attach)

    job = [*JOB, "--workload=job", *tpu]
    (run,) = dry("gke.py", "run", *GKE, *job, "--", ODD)
    assert run[:3] == ["xpk", "workload", "create"]
    flags = {"--storage=unigeo", "--max-restarts=20", "--workload=job"}
    assert {*XPK, *flags, "--restart-on-exit-codes=5,75,134"} < set(run)
    command = run[-1].removeprefix("--command=")
    subprocess.run(["bash", "-n", "-c", command], check=True)
    words = shlex.split(command)
    train = ["exec", "python", *TRAIN, "--workdir=/gcs/runs/a", "--distributed", ODD]
    assert words[words.index("&&") + 1 :] == train
    (ready,) = dry("gke.py", "run", *GKE, *job, "--image=image:1", "--", ODD)
    assert shlex.split(ready[-1].removeprefix("--command=")) == train
    assert "--docker-image=image:1" in ready

    credentials, log = dry("gke.py", "logs", *GKE, "--workload=job")
    assert credentials[:5] == [
        "gcloud",
        "container",
        "clusters",
        "get-credentials",
        "big",
    ]
    assert "--location=us-west4" in credentials
    assert log[:3] == ["kubectl", "logs", "--follow"]
    (labels,) = [word for word in log if word.startswith("--selector=")]
    assert "jobset.sigs.k8s.io/jobset-name=job" in labels
    assert "job-completion-index=0" in labels

    stop = ["xpk", "workload", "delete", *XPK, "--workload=job", "--force"]
    assert dry("gke.py", "stop", *GKE, "--workload=job") == [stop]
    assert dry("gke.py", "resume", *GKE, *job, "--", ODD) == [stop, run]
    assert dry("gke.py", "delete", *GKE) == [
        ["xpk", "cluster", "delete", *XPK, "--force"]
    ]
    assert calls(fake) == []


def test_resume_on_gke_deletes_the_workload_and_creates_the_same(fake):
    job = [*JOB, "--workload=job", "--tpu-type=v5litepod-16"]
    assert pods("gke.py", "run", *GKE, *job)[0] == 0
    assert pods("gke.py", "resume", *GKE, *job)[0] == 0
    first, gone, second = calls(fake)
    assert gone[:3] == ["xpk", "workload", "delete"]
    assert first == second
    (fake / "fail").write_text("4 workload delete")
    code, _, err = pods("gke.py", "resume", *GKE, *job)
    assert (code, len(calls(fake))) == (4, 4)
    assert "exit code 4 of xpk workload delete" in err


def test_the_signal_of_the_cluster_reaches_the_training_through_xpk(fake):
    """xpk runs `(COMMAND) & PID=$!` and sends SIGTERM to PID."""
    (run,) = dry("gke.py", "run", *GKE, *JOB, "--workload=w", "--tpu-type=v6e-8")
    command = run[-1].removeprefix("--command=")
    (fake / "bin" / "python").write_text(
        '#!/bin/bash\n[ "$1" = -m ] && exit 0\nexec "$FAKE/train" "$@"\n'
    )
    (fake / "bin" / "python").chmod(0o755)
    with (fake / "log").open("w") as log:
        wrapper = f"({command}) & PID=$!; trap 'kill -TERM $PID' TERM\n"
        wrapper += "while kill -0 $PID 2>/dev/null; do sleep 0.1; done; wait $PID"
        process = subprocess.Popen(["bash", "-c", wrapper], stdout=log)
        wait_for(fake / "log", "started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
    assert (fake / "log").read_text().endswith("saved\n")
