# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kills, stops and slows real runs at random; counts what survives bit for bit.

python benchmarks/faults.py [--quick] [--seed=0] [--out=FILE]

One process, killed with SIGKILL 200 times: while saving (at a named point of the save,
or milliseconds after one), between saves, while restoring, while evaluating, while a
dataset is built, while a model is exported. The same command is run again until it ends
by itself; then parameters, optimiser state, step, logged losses, records or files are
compared, bit for bit, with those of a run that nobody disturbed. Two processes, 20
times each: one is killed, one is stopped (SIGSTOP), one is slow: the other one must end
with its message in the stated time, or both must go on.

The runs are real commands of launch/ on a tiny config, started as forks (see
fault_server.py). Prints a table; writes JSON.
"""

import argparse
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import orbax.checkpoint as ocp

from benchmarks import fault_server, protocol
from unigeo_jax import checkpoint, workdir

STEPS, EVERY = 12, 3
CONFIG = "--config=configs/ablations.py:variant=pair_dsm_coords,tiny"
SAVE_POINTS = (
    *("save.begin", "save.copied", "save.written", "save.merged", "save.summed"),
    "save.committed",
)
HEARTBEAT_S, WATCHDOG_S = 10, 4
KINDS = ("saving", "between saves", "restoring", "evaluation", "dataset", "export")
PAIRS = ("peer killed", "peer stopped", "peer slow")


class Trial(NamedTuple):
    survived: bool  # the last run ended with the code it should, losing nothing
    equal: bool
    kills: int
    what: str
    seconds: float


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
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    told = [[line["step"], line["loss"]] for line in lines]
    return workdir.digest({"state": state, "told": np.array(told)})


def files_digest(folder: pathlib.Path, left_out: str = r"$^") -> str:
    """Hash of names and bytes of all files, but of those the pattern names."""
    found = {
        path.relative_to(folder).as_posix(): np.frombuffer(path.read_bytes(), np.uint8)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not re.search(left_out, path.as_posix())
    }
    return workdir.digest(found)


def until_it_ends(
    ground: Ground, command: list[str], faults: list[dict[str, str] | float]
) -> tuple[int, int, fault_server.Child]:
    """Runs with each fault in turn (a seam, or seconds to a kill), then without any.

    Returns how many were killed, the last exit code and the last run.
    """
    kills = 0
    for fault in faults:
        child = ground.server.start(command, fault if isinstance(fault, dict) else {})
        if isinstance(fault, dict):
            code = child.wait(300)
        else:
            time.sleep(fault)
            code = child.kill()
        kills += code == -signal.SIGKILL
    last = ground.server.start(command)
    return kills, last.wait(300), last


def seam(kind: str, draw: random.Random) -> dict[str, str]:
    """Where a run of training is killed, drawn for a kind of fault."""
    saves = STEPS // EVERY
    if kind == "saving":
        point, count = draw.choice(SAVE_POINTS), draw.randint(1, saves)
        later = f"+{draw.uniform(0.0005, 0.06):.4f}" if draw.random() < 0.5 else ""
    elif kind == "between saves":
        point, count = "step", draw.randint(1, STEPS)
        later = f"+{draw.uniform(0.0005, 0.02):.4f}" if draw.random() < 0.5 else ""
    elif kind == "restoring":
        point, count, later = "restore", 1, f"+{draw.uniform(0.0005, 0.15):.4f}"
    else:
        point, count, later = "eval", 1, ""
    return {"UNIGEO_FAULT": f"kill@{point}:{count}{later}"}


def kill_training(ground: Ground, kind: str, run: pathlib.Path) -> Trial:
    began = time.monotonic()
    faults: list[dict[str, str] | float] = [seam(kind, ground.draw)]
    if kind == "restoring":  # there has to be something to restore
        faults = [seam("between saves", ground.draw), *faults]
    kills, code, last = until_it_ends(ground, train_command(ground, run), faults)
    left = [*(run / "checkpoints").glob("*tmp*")]
    whole = checkpoint.newest_good(run / "checkpoints", False) == (STEPS, [])
    survived = code == 0 and whole and not left
    equal = survived and state_digest(run) == ground.straight["state"]
    if kind == "evaluation":
        same = files_digest(run / "eval") == ground.straight["eval"]
        equal = equal and same
    what = json.dumps(faults) + ("" if survived else last.err()[-2000:])
    return Trial(survived, equal, kills, what, time.monotonic() - began)


def dataset_command(ground: Ground, out: pathlib.Path) -> list[str]:
    command = ["launch/make_dataset.py", f"--places={ground.folder / 'places.csv'}"]
    return [*command, f"--out={out}", "--name=mine", "--shard=64", "--workers=0"]


def export_command(ground: Ground, out: pathlib.Path) -> list[str]:
    command = ["launch/export.py", f"--workdir={ground.folder / 'straight'}"]
    return [*command, f"--out={out}", f"--data_dir={ground.data_dir}"]


NO_RECORD = r"report|\.lock|lock-|/\.|DATA_CARD|contact_sheet"


def kill_files(ground: Ground, kind: str, out: pathlib.Path) -> Trial:
    """Kills a build or an export at a random moment, some twice, then lets it end."""
    began = time.monotonic()
    make = dataset_command if kind == "dataset" else export_command
    length = ground.straight[f"{kind} seconds"]
    moments = [
        ground.draw.uniform(0.02, length) for _ in range(ground.draw.choice([1, 2]))
    ]
    kills, code, last = until_it_ends(ground, make(ground, out), [*moments])
    # An export that was whole before it was killed is not written again: code 1.
    whole = code == 0 or (kind == "export" and "is there already" in last.err())
    equal = whole and files_digest(out, NO_RECORD) == ground.straight[kind]
    what = json.dumps(moments) + ("" if whole else last.err()[-2000:])
    return Trial(whole, equal, kills, what, time.monotonic() - began)


def start_pair(
    ground: Ground, run: pathlib.Path, fault: dict[str, str], *more: str
) -> list[fault_server.Child]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    job = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", *more]
    job += [f"--heartbeat_s={HEARTBEAT_S}", f"--config.watchdog_s={WATCHDOG_S}"]
    return [
        ground.server.start(
            train_command(ground, run, *job, f"--process_id={number}"),
            fault if number else {},
        )
        for number in range(2)
    ]


def disturb_peer(ground: Ground, kind: str, run: pathlib.Path) -> Trial:
    """Process 1 of two is killed, stopped or slow from a random step on."""
    began = time.monotonic()
    step = ground.draw.randint(2, STEPS - 1)
    how = {"peer killed": "kill", "peer stopped": "stop", "peer slow": "sleep"}[kind]
    fault = {"UNIGEO_FAULT": f"{how}@step:{step}" + ("+2" if how == "sleep" else "")}
    pair = start_pair(ground, run, fault)
    codes, err = [], ""
    try:
        code = pair[0].wait(150)
        err = pair[0].err()
        if kind == "peer slow":
            codes = [code, pair[1].wait(60)]
        else:
            pair[1].kill()
    except TimeoutError:
        code = 0 if how != "sleep" else 1
        for child in pair:
            child.kill()
    if kind == "peer slow":
        survived = codes == [0, 0]
        equal = survived and state_digest(run) == ground.straight["pair"]
        return Trial(
            survived, equal, 1, f"{step} {err[-900:]}", time.monotonic() - began
        )
    said = re.search(
        r"watchdog: process 0 of 2|another process died|another task died", err
    )
    if not (code in (5, -signal.SIGABRT) and said):
        seconds = time.monotonic() - began
        return Trial(False, False, 1, f"{step}: {code} {err[-2000:]}", seconds)
    ended = time.monotonic() - began
    # Both are run again, and must end as if nothing had been.
    pair = start_pair(ground, run, {})
    codes = [child.wait(150) for child in pair]
    survived = codes == [0, 0]
    equal = survived and state_digest(run) == ground.straight["pair"]
    return Trial(
        survived, equal, 1, f"{step}: {'' if survived else pair[0].err()}", ended
    )


def prepare(server: fault_server.Server, folder: pathlib.Path, seed: int) -> Ground:
    """Runs everything once, undisturbed."""
    ground = Ground(server, folder, folder / "data", random.Random(seed), {})
    rng = np.random.default_rng(seed)
    rows = [
        f"{lat:.5f},{lon:.5f},A place of number {i}"
        for i, (lat, lon) in enumerate(rng.uniform((-60, -180), (60, 180), (400, 2)))
    ]
    text = "\n".join(["lat,lon,text", *rows]) + "\n"
    (folder / "places.csv").write_text(text, encoding="utf-8")
    kept = ground.straight
    once(ground, "train", train_command(ground, folder / "warm"))  # builds, compiles
    once(ground, "train", train_command(ground, folder / "straight"))
    kept["state"] = state_digest(folder / "straight")
    kept["eval"] = files_digest(folder / "straight" / "eval")
    for kind, make in (("dataset", dataset_command), ("export", export_command)):
        once(ground, kind, make(ground, folder / f"warm-{kind}"))
        once(ground, kind, make(ground, folder / kind))
        kept[kind] = files_digest(folder / kind, NO_RECORD)
        if kept[kind] != files_digest(folder / f"warm-{kind}", NO_RECORD):
            raise RuntimeError(f"two undisturbed runs of {kind} differ")
    pair = start_pair(ground, folder / "pair", {})
    for child in pair:
        if child.wait(300):
            raise RuntimeError(child.err())
    kept["pair"] = state_digest(folder / "pair")
    return ground


def once(ground: Ground, name: str, command: list[str]) -> None:
    began = time.monotonic()
    child = ground.server.start(command)
    if child.wait(300):
        raise RuntimeError(f"{command}: {child.err()}")
    ground.straight[f"{name} seconds"] = time.monotonic() - began


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
            work: Callable[[Ground, str, pathlib.Path], Trial]
            work = disturb_peer if kind in PAIRS else kill_training
            work = kill_files if kind in ("dataset", "export") else work
            run = ground.folder / f"trial-{kind.replace(' ', '-')}-{number}"
            trial = work(ground, kind, run)
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
                "median_s": float(np.median(seconds)),
                "max_s": max(seconds),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="two trials of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default="runs/faults.json")
    parser.add_argument("--kinds", nargs="*", default=[*KINDS, *PAIRS])
    options = parser.parse_args()
    whole = {"saving": 80, "between saves": 40, "restoring": 30, "evaluation": 10}
    whole |= {"dataset": 30, "export": 15} | dict.fromkeys(PAIRS, 20)
    counts = {kind: 2 if options.quick else whole[kind] for kind in options.kinds}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with fault_server.Server(folder / "log") as server:
            ground = prepare(server, folder, options.seed)
            rows = table(trials(ground, counts))
    print(f"{'fault':16}{'trials':>8}{'injected':>10}{'survived':>10}{'bit-equal':>11}")
    for row in rows:
        print(
            f"{row['fault']:16}{row['trials']:8}{row['injected']:10}"
            f"{row['survived']:10}{row['bit_equal']:11}"
            f"   median {row['median_s']:.1f} s, longest {row['max_s']:.1f} s"
        )
    print(f"{time.monotonic() - began:.0f} s")
    report = {"rows": rows, "quick": options.quick, "machine": protocol.machine()}
    protocol.write(options.out, report)
    bad = [r for r in rows if not r["trials"] == r["survived"] == r["bit_equal"]]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
