# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of training on a synthetic planet of a million places: flat, or not.

python benchmarks/planet.py [--places=1000000] [--steps=200] [--batch=128] [--quick]

Builds `planet/PLACES` in --data_dir if it is not there, trains launch/train.py with
configs/own.py on it (mini towers, batch --batch) and reads the resident memory of its
processes (private and shared pages) at every 20th step. Writes --out: the megabytes by
step and `growth_mb`, what step --steps has above step 20.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from benchmarks import protocol

PLACES = flags.DEFINE_integer("places", 1_000_000, "Places of the planet.", 256)
STEPS = flags.DEFINE_integer("steps", 200, "Steps, a multiple of 20.", 40)
BATCH = flags.DEFINE_integer("batch", 128, "Places a step.", 8)
TOWERS = flags.DEFINE_string(
    "towers",
    "aerial+street+dsm+text+poi+demographics+coords",
    "Towers, parted by +; with mobility memory includes the table of all nodes.",
)
DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of the datasets.")
OUT = flags.DEFINE_string("out", "runs/planet_memory.json", "Result.")
QUICK = flags.DEFINE_bool("quick", False, "2,000 places, two towers, 60 steps.")
EVERY = 20


def resident_mb(pid: int) -> float:
    """Resident memory of a process and all below it, in MB."""
    total = 0.0
    status = pathlib.Path(f"/proc/{pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    total += int(found[1]) / 1024 if found else 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("utf-8").split():
            total += resident_mb(int(child))
    return total


def watch(command: list[str], data_dir: str, metrics: pathlib.Path) -> dict[int, float]:
    """Run a training; {step: MB} at every step that it logs."""
    environment = os.environ | {"UNIGEO_DATA_DIR": data_dir}
    found: dict[int, float] = {}
    with subprocess.Popen(command, cwd=protocol.ROOT, env=environment) as run:
        while run.poll() is None:
            lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
            for line in lines[len(found) :]:
                try:
                    found[json.loads(line)["step"]] = resident_mb(run.pid)
                except (OSError, ValueError, KeyError):
                    break  # half a line, or the end of the run
            time.sleep(0.05)
    if run.returncode:
        sys.exit(f"error: training ended with {run.returncode}")
    return found


def main(argv: list[str]) -> None:
    del argv
    from unigeo_jax.data import datasets

    quick = QUICK.value
    places, steps = (2000, 60) if quick else (PLACES.value, STEPS.value)
    towers = "demographics+coords" if quick else TOWERS.value
    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir()).expanduser()
    name, began = f"planet/{places}", time.monotonic()
    folder = datasets.find(name, data_dir)
    seconds = time.monotonic() - began
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "launch/train.py", f"--workdir={scratch}/run"]
        command += [f"--config=configs/own.py:data={name},only={towers}"]
        command += [f"--data_dir={data_dir}", f"--config.steps={steps}"]
        command += [f"--config.log_every={EVERY}", f"--config.batch={BATCH.value}"]
        command += ["--config.eval.gallery=100", "--config.eval.batch=50"]
        command += [f"--config.checkpoint.every={steps}"]
        mb = watch(command, str(data_dir), pathlib.Path(scratch) / "run/metrics.jsonl")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    report = {"machine": protocol.machine(), "command": sys.argv, "quick": quick}
    report |= {"places": places, "build_s": round(seconds, 1), "folder_bytes": size}
    report |= {"batch": BATCH.value, "towers": towers.split("+"), "mb": mb}
    report["growth_mb"] = mb[steps] - mb[EVERY]
    protocol.write(pathlib.Path(OUT.value), report)
    for step, value in mb.items():
        print(f"step {step:5}: {value:8.0f} MB")
    print(f"{places:,} places, folder {size / 1e6:.0f} MB, built in {seconds:.0f} s")
    print(f"step {EVERY} to {steps}: {report['growth_mb']:+.0f} MB; {OUT.value}")


if __name__ == "__main__":
    app.run(main)
