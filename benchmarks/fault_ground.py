# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What faults.py disturbs: tiny commands, what they give undisturbed, what is left."""

import collections
import json
import pathlib
import random
import re
import socket
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from benchmarks import fault_server
from unigeo_jax import workdir

STEPS, EVERY = 12, 3
CONFIG = "--config=configs/ablations.py:variant=pair_dsm_coords,tiny"
HEARTBEAT_S, WATCHDOG_S = 10, 4
NO_RECORD = r"report|\.lock|lock-|/\.|DATA_CARD|contact_sheet"


class Trial(NamedTuple):
    survived: bool  # the last run ended with the code it should, losing nothing
    equal: bool
    kills: int
    what: str
    seconds: float
    lost: int = 0  # checkpoints that were there and were not gone on from


class Ground(NamedTuple):
    """Where trials run, and what nobody disturbed gave."""

    server: fault_server.Server
    folder: pathlib.Path
    data_dir: pathlib.Path
    draw: random.Random
    straight: dict[str, Any]  # digests, and seconds that each command takes


def train_command(ground: Ground, run: pathlib.Path, *more: str) -> list[str]:
    command = ["launch/train.py", CONFIG, "--config.optim.name=adamw"]
    command += [f"--config.steps={STEPS}", f"--config.checkpoint.every={EVERY}"]
    return [*command, f"--workdir={run}", f"--data_dir={ground.data_dir}", *more]


def dataset_command(ground: Ground, out: pathlib.Path) -> list[str]:
    command = ["launch/make_dataset.py", f"--places={ground.folder / 'places.csv'}"]
    return [*command, f"--out={out}", "--name=mine", "--shard=64", "--workers=0"]


def export_command(ground: Ground, out: pathlib.Path) -> list[str]:
    command = ["launch/export.py", f"--workdir={ground.folder / 'straight'}"]
    return [*command, f"--out={out}", f"--data_dir={ground.data_dir}"]


def evaluate_command(ground: Ground, out: pathlib.Path) -> list[str]:
    command = ["launch/evaluate.py", f"--workdir={ground.folder / 'straight'}"]
    command += [f"--tasks={ground.folder / 'tasks'}", f"--out={out}", "--seeds=1"]
    command += ["--nobuiltin", "--gallery=200", "--splits=random"]
    return [*command, f"--data_dir={ground.data_dir}"]


def points_command(
    ground: Ground, run: pathlib.Path, point: str = "none", count: int = 1
) -> list[str]:
    """Training that is killed at a point that fault_points.py names."""
    log = run.with_name(run.name + ".points")
    killer = ["benchmarks/fault_points.py", str(run / "checkpoints"), str(log)]
    return [*killer, point, str(count), *train_command(ground, run)]


def write_inputs(ground: Ground, seed: int) -> None:
    """A table of places, and a folder with a task of evaluation."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform((-60, -180), (60, 180), (400, 2))
    rows = [
        f"{lat:.5f},{lon:.5f},A place of number {i}"
        for i, (lat, lon) in enumerate(spots)
    ]
    text = "\n".join(["lat,lon,text", *rows]) + "\n"
    (ground.folder / "places.csv").write_text(text, encoding="utf-8")
    tasks = ground.folder / "tasks"
    tasks.mkdir(exist_ok=True)
    rows = [f"{lat:.5f},{lon:.5f},{lat + lon / 9:.5f}" for lat, lon in spots[:150]]
    text = "\n".join(["lat,lon,height", *rows]) + "\n"
    (tasks / "heights.csv").write_text(text, encoding="utf-8")
    entry = {"name": "heights", "file": "heights.csv", "target": "height"}
    entry |= {"kind": "regression", "leaks": []}
    (tasks / "tasks.json").write_text(json.dumps([entry]), encoding="utf-8")


def once(ground: Ground, name: str, command: list[str]) -> None:
    """Runs a command undisturbed and keeps how long it took."""
    began = time.monotonic()
    child = ground.server.start(command)
    if child.wait(300):
        raise RuntimeError(f"{command}: {child.err()}")
    ground.straight[f"{name} seconds"] = time.monotonic() - began


def list_points(ground: Ground) -> list[tuple[str, int]]:
    """The points of an undisturbed run, and how often each is passed.

    Those passed once are left out: a number of files that saves seldom reach.
    """
    run = ground.folder / "points"
    once(ground, "points", points_command(ground, run))
    passed = run.with_name(run.name + ".points").read_text().splitlines()
    counts = collections.Counter(passed)
    return [(point, count) for point, count in counts.items() if count > 1]


def start_pair(
    ground: Ground,
    run: pathlib.Path,
    faults: tuple[dict[str, str], dict[str, str]] = ({}, {}),
    watchdog_s: int = WATCHDOG_S,
) -> list[fault_server.Child]:
    """Two processes of one job, each with the fault that is its own."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    job = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    job += [f"--heartbeat_s={HEARTBEAT_S}", f"--config.watchdog_s={watchdog_s}"]
    return [
        ground.server.start(
            train_command(ground, run, *job, f"--process_id={number}"), fault
        )
        for number, fault in enumerate(faults)
    ]


def told(run: pathlib.Path) -> list[tuple[int, Any]]:
    """(step, loss) of every line of metrics.jsonl; one that a kill has cut is none."""
    path, found = run / "metrics.jsonl", []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found.append((line["step"], line["loss"]))
    return found


def state_digest(run: pathlib.Path, step: int = STEPS) -> str:
    """Hash of all that a checkpoint holds, and of the losses logged up to it."""
    path = run.absolute() / "checkpoints" / str(step) / "default"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        # As numpy: two processes may have saved it, on devices that are not here.
        plain = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
            reader.metadata(path).item_metadata,
        )
        state = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=plain))
    return workdir.digest({"state": state, "told": np.array(told(run))})


def files_digest(folder: pathlib.Path, left_out: str = r"$^") -> str:
    """Hash of names and bytes of all files, but of those the pattern names."""
    found = {
        path.relative_to(folder).as_posix(): np.frombuffer(path.read_bytes(), np.uint8)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not re.search(left_out, path.as_posix())
    }
    return workdir.digest(found)


def results_digest(out: pathlib.Path) -> str:
    """An evaluation's results with hashes of its folds and predictions.

    But for the command that was given, which names the folder, and its seconds.
    """
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for key in ("command", "seconds"):
        del results["run"][key]
    parts = [files_digest(out / name) for name in ("folds", "predictions")]
    return "\n".join([json.dumps(results, sort_keys=True), *parts])


def half_written(out: pathlib.Path) -> list[str]:
    """What an evaluation shows to its readers that is not whole."""
    bad = []
    if (out / "results.json").exists():
        try:
            json.loads((out / "results.json").read_text(encoding="utf-8"))
        except ValueError:
            bad.append("results.json")
    page = out / "report.html"
    if page.exists() and not page.read_text("utf-8").endswith("</html>"):
        bad.append("report.html")
    return bad
