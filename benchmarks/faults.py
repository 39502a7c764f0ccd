# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kills, stops and slows real runs at random; counts what survives bit for bit.

python benchmarks/faults.py [--quick] [--seed=0] [--out=FILE]

One process is killed with SIGKILL: while saving (at a named point of the save, or
milliseconds after one, and once before every single operation of a save on its files),
between saves, while restoring, in the evaluation that ends a training, in
launch/evaluate.py, while a dataset is built, while a model is exported. The same
command is run again until it ends by itself; then parameters, optimiser state, step,
logged losses, results, records or files are compared, bit for bit, with those of a run
that nobody disturbed. Training that is deterministic would give the same bits if every
checkpoint were lost: after each kill the run has to go on from the newest step that
was there, which must not be older than the steps it had logged allow. Two processes,
20 times each: one is killed, one is stopped (SIGSTOP), one is slow, in turns the first
and the second: the other one must end with its message in the stated time, or both
must go on.

The runs are real commands of launch/ on a tiny config, started as forks (see
fault_server.py). Prints a table; writes JSON.
"""

import argparse
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import fault_ground as ground_of
from benchmarks import fault_server, protocol
from benchmarks.fault_ground import EVERY, STEPS, Ground, Trial, once
from benchmarks.fault_pairs import PAIRS, disturb_peer
from unigeo_jax import checkpoint, goodput

SAVE_POINTS = (
    *("save.begin", "save.copied", "save.written", "save.merged", "save.summed"),
    "save.stored",
)
TRAINING = ("saving", "between saves", "restoring", "last evaluation")
POINTS = "points of a save"
FILES = ("evaluate.py", "dataset", "export")
KINDS = (*TRAINING, POINTS, *FILES)
Fault = dict[str, str] | float | pathlib.Path
Attempt = tuple[list[str], Fault]


class Kept:
    """Counts checkpoints that a run lost, by what its attempts print and leave.

    Lost is one that was there before an attempt and that it did not go on from; and
    one that is not there although the steps logged say that its save had ended: a save
    begins when the one before it is visible.
    """

    def __init__(self, run: pathlib.Path) -> None:
        self.run, self.there, self.lost = run, 0, 0
        self.from_steps: list[int | None] = []  # None: killed before it said so

    def after(self, child: fault_server.Child) -> None:
        said = re.search(r"from step (\d+), example", child.out())
        start = int(said[1]) if said else None
        self.from_steps.append(start)
        self.lost += start is not None and start != self.there
        names = (p.name for p in (self.run / "checkpoints").glob("*"))
        newest = max((int(name) for name in names if name.isdigit()), default=0)
        logged = max((step for step, _ in ground_of.told(self.run)), default=0)
        ended = ((logged - 1) // EVERY - 1) * EVERY
        self.lost += newest < max(self.there, ended)
        self.there = newest


def until_it_ends(
    ground: Ground,
    attempts: list[Attempt],
    command: list[str],
    after: Callable[[fault_server.Child], None] = lambda child: None,
) -> tuple[int, int, fault_server.Child]:
    """Runs each attempt with its fault, then `command`; `after` is told of every run.

    A fault is environment variables, or seconds to a kill, or a path: it is killed as
    soon as a file of that name, finished or not, is there. Returns how many were
    killed, the last exit code and the last run.
    """
    kills = 0
    for attempt, fault in attempts:
        child = ground.server.start(attempt, fault if isinstance(fault, dict) else {})
        if isinstance(fault, dict):
            code = child.wait(300)
        else:
            wait_for(fault, child)
            code = child.kill()
        kills += code == -signal.SIGKILL
        after(child)
    last = ground.server.start(command)
    code = last.wait(300)
    after(last)
    return kills, code, last


def wait_for(fault: float | pathlib.Path, child: fault_server.Child) -> None:
    if not isinstance(fault, pathlib.Path):
        time.sleep(fault)
        return
    while child.alive() and not [*fault.parent.glob(f"{fault.name}*")]:
        time.sleep(1e-4)


def seam(ground: Ground, kind: str) -> dict[str, str]:
    """Where a run of training is killed, drawn for a kind of fault."""
    saves, draw = STEPS // EVERY, ground.draw
    point, count, later = "restore", 1, draw.uniform(0.0005, 0.15)
    if kind == "saving":
        point, count = draw.choice(SAVE_POINTS), draw.randint(1, saves)
        later = draw.choice([0, draw.uniform(0.0005, 0.06)])
    elif kind == "between saves":
        point, count = "step", draw.randint(1, STEPS)
        later = draw.choice([0, draw.uniform(0.0005, 0.02)])
    elif kind == "last evaluation":  # it comes after the last rename
        point, count = "save.stored", saves
        later = draw.uniform(0, 0.8 * ground.straight["last evaluation seconds"])
    return {"UNIGEO_FAULT": f"kill@{point}:{count}" + (f"+{later:.4f}" * bool(later))}


def kill_training(ground: Ground, kind: str, run: pathlib.Path, number: int) -> Trial:
    """Kills a run of training at a seam, or before an operation of a save."""
    began, kept = time.monotonic(), Kept(run)
    plain = ground_of.train_command(ground, run)
    attempts: list[Attempt] = []
    if kind == POINTS:
        point, passages = ground.straight["points"][number]
        count = ground.draw.randint(1, passages)
        attempts += [(ground_of.points_command(ground, run, point, count), {})]
    if kind == "restoring":  # there has to be something to restore
        attempts += [(plain, seam(ground, "between saves"))]
    if kind in TRAINING:
        attempts += [(plain, seam(ground, kind))]
    kills, code, last = until_it_ends(ground, attempts, plain, kept.after)
    left = [*(run / "checkpoints").glob("*tmp*")]
    whole = checkpoint.newest_good(run / "checkpoints", False) == (STEPS, [])
    once_each = [step for step, _ in ground_of.told(run)] == [*range(1, STEPS + 1)]
    survived = code == 0 and whole and once_each and not left and not kept.lost
    survived = survived and kills == len(attempts)
    equal = survived and ground_of.state_digest(run) == ground.straight["state"]
    if kind == "last evaluation":
        same = ground_of.files_digest(run / "eval") == ground.straight["eval"]
        equal = equal and same
    what = f"{[a[0][3:5] if kind == POINTS else a[1] for a in attempts]}, went on from"
    what += f" {kept.from_steps}" + ("" if survived else last.err()[-2000:])
    seconds = time.monotonic() - began
    return Trial(survived, equal, kills, what, seconds, kept.lost)


def kill_files(ground: Ground, kind: str, out: pathlib.Path, number: int) -> Trial:
    """Kills what writes files at a random moment, some twice, then lets it end.

    An evaluation also in the moment in which its results or its page appear.
    """
    began, seen = time.monotonic(), []
    command, digest = MAKES[kind](ground, out), DIGESTS[kind]
    length, draw = ground.straight[f"{kind} seconds"], ground.draw
    moments: list[Fault] = [
        draw.uniform(0.02, length) for _ in range(draw.choice([1, 2]))
    ]
    if kind == "evaluate.py" and number % 2:
        moments[0] = out / ("report.html" if number % 4 == 1 else "results.json")
    kills, code, last = until_it_ends(
        ground,
        [(command, moment) for moment in moments],
        command,
        lambda child: seen.extend(ground_of.half_written(out)),
    )
    # An export that was whole before it was killed is not written again: code 1.
    whole = code == 0 or (kind == "export" and "is there already" in last.err())
    survived = whole and kills > 0 and not seen
    equal = survived and digest(out) == ground.straight[kind]
    what = f"{[*map(str, moments)]}, half-written: {seen}"
    what += "" if survived else last.err()[-2000:]
    return Trial(survived, equal, kills, what, time.monotonic() - began)


def records_digest(out: pathlib.Path) -> str:
    return ground_of.files_digest(out, ground_of.NO_RECORD)


MAKES = {
    "evaluate.py": ground_of.evaluate_command,
    "dataset": ground_of.dataset_command,
    "export": ground_of.export_command,
}
DIGESTS = {
    "evaluate.py": ground_of.results_digest,
    "dataset": records_digest,
    "export": records_digest,
}


def killed(ground: Ground, kind: str, run: pathlib.Path, number: int) -> Trial:
    """One trial; a run that ended before its kill is none and is drawn again."""
    work = disturb_peer if kind in PAIRS else kill_training
    work = kill_files if kind in FILES else work
    for _ in range(5):
        trial = work(ground, kind, run, number)
        if trial.kills:
            break
        shutil.rmtree(run, ignore_errors=True)
    return trial


def prepare(
    server: fault_server.Server, folder: pathlib.Path, seed: int, kinds: list[str]
) -> Ground:
    """Runs everything that is to be disturbed once, undisturbed."""
    ground = Ground(server, folder, folder / "data", random.Random(seed), {})
    ground_of.write_inputs(ground, seed)
    once(ground, "train", ground_of.train_command(ground, folder / "warm"))  # compiles
    straight(ground)
    if POINTS in kinds:
        ground.straight["points"] = ground_of.list_points(ground)
    for kind in (x for x in kinds if x in FILES):
        undisturbed(ground, kind)
    if {*kinds} & {*PAIRS}:
        # It compiles, which takes longer than trials are to wait for a peer.
        for child in ground_of.start_pair(ground, folder / "pair", watchdog_s=60):
            if child.wait(600):
                raise RuntimeError(child.err())
        ground.straight["pair"] = ground_of.state_digest(folder / "pair")
    return ground


def straight(ground: Ground) -> None:
    """Trains, and keeps what came of it."""
    run, kept = ground.folder / "straight", ground.straight
    once(ground, "train", ground_of.train_command(ground, run))
    kept["state"] = ground_of.state_digest(run)
    kept["eval"] = ground_of.files_digest(run / "eval")
    kept["last evaluation seconds"] = goodput.read(run)[-1]["eval"]


def undisturbed(ground: Ground, kind: str) -> None:
    """Makes files twice, and keeps what came of it."""
    warm, out = (ground.folder / f"{name}-{kind}" for name in ("warm", "straight"))
    for folder in (warm, out):
        once(ground, kind, MAKES[kind](ground, folder))
    ground.straight[kind] = DIGESTS[kind](out)
    if ground.straight[kind] != DIGESTS[kind](warm):
        raise RuntimeError(f"two undisturbed runs of {kind} differ")


def trials(ground: Ground, counts: dict[str, int]) -> dict[str, list[Trial]]:
    """Kinds take turns, so that a run that is cut short has some of all."""
    found: dict[str, list[Trial]] = {kind: [] for kind in counts}
    for number in range(max(counts.values())):
        for kind, count in counts.items():
            # Shares of a count over the longest one.
            if number * count // max(counts.values()) < len(found[kind]):
                continue
            if len(found[kind]) >= count:
                continue
            run = ground.folder / f"trial-{kind.replace(' ', '-')}-{number}"
            trial = killed(ground, kind, run, len(found[kind]))
            found[kind].append(trial)
            if trial.survived and trial.equal:
                shutil.rmtree(run, ignore_errors=True)
            else:
                print(f"{kind} {number}: {trial}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, list[Trial]]) -> list[dict[str, Any]]:
    rows = []
    for kind, those in found.items():
        seconds = [t.seconds for t in those] or [0.0]
        rows.append(
            {
                "fault": kind,
                "injected": sum(t.kills for t in those),
                "trials": len(those),
                "survived": sum(t.survived for t in those),
                "bit_equal": sum(t.equal for t in those),
                "checkpoints_lost": sum(t.lost for t in those),
                "median_s": float(np.median(seconds)),
                "max_s": max(seconds),
            }
        )
    return rows


def counts_of(ground: Ground, kinds: list[str], quick: bool) -> dict[str, int]:
    whole = {"saving": 80, "between saves": 40, "restoring": 30, "last evaluation": 10}
    whole |= {POINTS: len(ground.straight.get("points", ())), "evaluate.py": 20}
    whole |= {"dataset": 30, "export": 15} | dict.fromkeys(PAIRS, 20)
    return {kind: min(2, whole[kind]) if quick else whole[kind] for kind in kinds}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="two trials of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default="runs/faults.json")
    kinds = [*KINDS, *PAIRS]
    parser.add_argument("--kinds", nargs="*", default=kinds, choices=kinds)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with fault_server.Server(folder / "log") as server:
            ground = prepare(server, folder, options.seed, options.kinds)
            counts = counts_of(ground, options.kinds, options.quick)
            rows = table(trials(ground, counts))
            points = [point for point, _ in ground.straight.get("points", ())]
    columns = ("trials", "injected", "survived", "bit_equal", "checkpoints_lost")
    print(f"{'fault':18}" + "".join(f"{name:>{len(name) + 2}}" for name in columns))
    for row in rows:
        print(
            f"{row['fault']:18}"
            + "".join(f"{row[name]:{len(name) + 2}}" for name in columns)
            + f"   median {row['median_s']:.1f} s, longest {row['max_s']:.1f} s"
        )
    print(f"{time.monotonic() - began:.0f} s")
    report = {"rows": rows, "points": points, "quick": options.quick}
    protocol.write(options.out, report | {"machine": protocol.machine()})
    bad = [
        r
        for r in rows
        if not r["trials"] == r["survived"] == r["bit_equal"] or r["checkpoints_lost"]
    ]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
