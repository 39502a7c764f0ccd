# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains variants of the five-modal config over several seeds and compares retrieval.

python benchmarks/ablations.py                        runs of configs/ablations.py
python benchmarks/ablations.py --variants=five_modal  the main job, whole
python benchmarks/ablations.py --quick                tiny towers, one seed

Each run is one `launch/train.py` in its own folder under --out; a finished run is
read, not repeated. Prints means with the standard deviation over seeds and writes
--out/ablations.json with commit, seeds and every run's figures. With --jobs > 1 runs
share the machine (Linux only) and their times mean nothing.
"""

import concurrent.futures
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHORT = (
    *("all_to_all", "pivot_aerial", "sigma_0.5", "sigma_1", "sigma_2", "sigma_4"),
    *("sigma_8", "no_registers", "adamw", "hard_negatives", "m2", "sphere"),
)
VARIANTS = flags.DEFINE_list(
    "variants", list(SHORT), "Of configs/ablations.py, or five_modal: the main job."
)
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each variant.")
JOBS = flags.DEFINE_integer(
    "jobs", 1, "Runs at a time, each on its share of the cores."
)
OUT = flags.DEFINE_string("out", "runs/ablations", "Folder of the runs and the result.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
QUICK = flags.DEFINE_bool("quick", False, "Tiny towers, one seed, two variants.")
LACKING = {"recall@10": float("nan"), "median_km": float("nan")}  # of two modalities
COLUMNS = (
    *("near recall@1", "near recall@10", "test recall@1", "test recall@10"),
    *("test weakest@10", "test coords pairs@10", "test aerial pairs@10"),
    *("test others->coords@10", "test others->coords km", "seconds"),
)


def train(variant: str, seed: str, slot: int) -> dict:
    """Runs, or finishes, or just reads one run; returns its figures."""
    tiny = ",tiny" if QUICK.value else ""
    if variant == "five_modal":
        config = f"{ROOT}/configs/five_modal.py:{tiny.strip(',')}"
    else:
        config = f"{ROOT}/configs/ablations.py:variant={variant}{tiny}"
    folder = pathlib.Path(OUT.value) / f"{variant}{tiny.replace(',', '-')}-seed{seed}"
    if not finished(folder):
        command = [sys.executable, str(ROOT / "launch" / "train.py")]
        command += [
            f"--config={config}",
            f"--workdir={folder}",
            f"--config.seed={seed}",
        ]
        command += [f"--data_dir={DATA_DIR.value}"] if DATA_DIR.value else []
        if JOBS.value > 1:
            cores = sorted(os.sched_getaffinity(0))[slot :: JOBS.value]
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        began = time.monotonic()
        log = folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out)
        print(f"{folder}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures(folder)


def finished(folder: pathlib.Path) -> pathlib.Path | None:
    """The evaluation of the last step of the run in `folder`, if it got there."""
    about = folder / "config.json"
    if not about.exists():
        return None
    steps = json.loads(about.read_text())["config"]["steps"]
    path = folder / "eval" / f"{steps}.json"
    return path if path.exists() else None


def figures(folder: pathlib.Path) -> dict:
    """The columns of one run, recall as a fraction, plus commit, oracle and pairs."""
    path = finished(folder)
    if path is None:
        raise ValueError(f"{folder}: the run did not finish; see {folder}.log")
    results = json.loads(path.read_text())
    about = json.loads((folder / "config.json").read_text())
    out: dict = {"commit": about["commit"], "steps": about["config"]["steps"]}
    for split, table in results.items():
        pairs = {k: v for k, v in table.items() if "->" in k and "+" not in k}
        for metric in ("recall@1", "recall@10", "block_oracle@10"):
            out[f"{split} {metric}"] = statistics.mean(
                v[metric] for v in pairs.values()
            )
        out[f"{split} weakest@10"] = min(v["recall@10"] for v in pairs.values())
        for name in ("coords", "aerial"):
            out[f"{split} {name} pairs@10"] = statistics.mean(
                v["recall@10"] for k, v in pairs.items() if name in k
            )
        out[f"{split} pairs@10"] = {k: v["recall@10"] for k, v in pairs.items()}
        ensemble = table.get("aerial+dsm+street+text->coords", LACKING)
        out[f"{split} others->coords@10"] = ensemble["recall@10"]
        out[f"{split} others->coords km"] = ensemble["median_km"]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    steps = [0, *(row["step"] for row in rows)]
    out["seconds"] = sum(
        row["step_s"] * (row["step"] - before)
        for row, before in zip(rows, steps, strict=False)
    )
    return out


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    quick = ["all_to_all", "pivot_aerial"], ["0"]
    variants, seeds = quick if QUICK.value else (VARIANTS.value, SEEDS.value)
    # Interleaved, so that whatever else the machine does meets all variants.
    runs = [(variant, seed) for seed in seeds for variant in variants]
    free: queue.Queue[int] = queue.Queue()
    for slot in range(JOBS.value):
        free.put(slot)

    def one(run: tuple[str, str]) -> dict:
        slot = free.get()
        try:
            return train(*run, slot)
        finally:
            free.put(slot)

    with concurrent.futures.ThreadPoolExecutor(JOBS.value) as pool:
        rows = dict(zip(runs, pool.map(one, runs), strict=True))
    table = {v: [rows[v, seed] for seed in seeds] for v in variants}
    print("variant".ljust(14) + "".join(f" {name:>24}" for name in COLUMNS))
    for variant, found in table.items():
        cells = []
        for name in COLUMNS:
            scale = 1 if name.endswith(("km", "seconds")) else 100
            values = [scale * row[name] for row in found]
            spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f" {statistics.mean(values):.1f}{spread}".rjust(25))
        print(variant.ljust(14) + "".join(cells))
    out = pathlib.Path(OUT.value) / "ablations.json"
    commits = sorted({row["commit"] for found in table.values() for row in found})
    report = {"seeds": seeds, "gallery": 1000, "commits": commits, "runs": table}
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"recall in %, mean +- standard deviation over {len(seeds)} seeds; {out}")


if __name__ == "__main__":
    app.run(main)
