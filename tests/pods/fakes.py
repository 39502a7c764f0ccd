# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that stand for the cloud, and what tests ask of the pod scripts.

The fake `gcloud` answers with the states of a file, and runs what is sent to a host in
a folder of the test, so the remote scripts run for real.
"""

import json
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
ODD = """--config.name=a 'b' "c" $HOME"""  # must arrive as it is
JOB = ["--workdir=gs://bucket/runs/a", "--config=configs/five_modal.py:size=B"]
TRAIN = ["launch/train.py", "--config=configs/five_modal.py:size=B"]

# Records its command line; $FAKE holds what it answers.
FAKE = f"""#!{sys.executable}
import json, os, pathlib, shutil, subprocess, sys
here = pathlib.Path(os.environ["FAKE"])
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (here / "calls").open("a") as log:
    log.write(json.dumps([name, *words]) + "\\n")
for line in (here / "fail").read_text().splitlines():
    code, _, text = line.partition(" ")
    if text in " ".join([name, *words]):
        print("some detail\\nPERMISSION_DENIED: no", file=sys.stderr)
        sys.exit(int(code))
home = here / "home"
if "describe" in words:
    first, *rest = (here / "states").read_text().split()
    (here / "states").write_text(" ".join(rest or [first]))
    if first == "ABSENT":
        print("ERROR: NOT_FOUND: Resource 'pod' was not found", file=sys.stderr)
        sys.exit(1)
    print(first)
elif "scp" in words:
    shutil.copy(words[words.index("scp") + 1], home)
elif "ssh" in words:
    command = words[-1].removeprefix("--command=")
    done = subprocess.run(
        ["bash", "-c", command], cwd=home, env=os.environ | {{"HOME": str(home)}}
    )
    sys.exit(done.returncode)
elif name == "git" and "bundle" in words:
    pathlib.Path(words[-2]).write_text("bundle")
elif name == "git":
    (home / words[-1]).mkdir()
elif words[:3] == ["-m", "uv", "venv"]:
    (home / "venv/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(here / "train", home / "venv/bin/python")
elif name == "mountpoint":
    sys.exit(not (here / "mounted").exists())
elif name == "gcsfuse":
    (here / "mounted").touch()
elif name == "sbatch":
    print("4711;cluster")
"""
# Stands for the training: says what it was given, and saves on SIGTERM.
TRAINING = """#!/bin/bash
printf '%s\\n' "$PWD" "$@"
trap 'echo saved; exit 75' TERM
echo started
while :; do sleep 0.05; done
"""


def pods(script, *args):
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch" / "pods" / script), *args],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def dry(script, *args):
    """The commands of a dry run, parsed as a shell would."""
    code, out, err = pods(script, args[0], "--dry-run", *args[1:])
    assert (code, err) == (0, "")
    return [shlex.split(line) for line in out.splitlines()]


def calls(fake):
    path = fake / "calls"
    return (
        [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    )


def remote(command):
    """Arguments of the script that an ssh command runs on the hosts."""
    assert command[-1].startswith("--command=")
    bash, flag, script, _, *args = shlex.split(command[-1].removeprefix("--command="))
    assert (bash, flag) == ("bash", "-c")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    return args


def wait_for(path, text):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and text in path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise TimeoutError(f"{path} has no {text}")


def one_error(err):
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: "), err
    return lines[0]
