# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sweeps variants of configs/ablations.py over seeds; compares their retrieval.

python launch/sweep.py                        the short runs, three seeds each
python launch/sweep.py --variants=five_modal  the main job, whole
python launch/sweep.py --quick --seeds=0      tiny towers, to see that it runs

Each run is one `launch/train.py` in its own folder under --out. A finished run is read,
not repeated, and one that was cut off goes on from its last checkpoint, so the same
command takes an interrupted sweep up. Prints means with the standard deviation over
seeds, and differences from the first variant with 95 % intervals of the paired seeds;
writes --out/sweep.json with commit, seeds and every run's figures, and a plot of each
variant's seeds, --out/sweep.html. With --jobs > 1 runs share the machine (Linux only)
and their times mean nothing.

Exit codes: 0 done, 1 a run failed, 2 usage.
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHORT = (
    *("all_to_all", "pivot_aerial", "pivot_street", "pivot_dsm", "pivot_text"),
    *("pivot_coords", "sigma_1", "sigma_4", "sigma_8", "depth_0", "depth_4", "depth_8"),
    *("satclip", "satclip40", "geoclip", "geoclip_low", "pair_aerial_coords"),
    *("only_aerial_text_coords", "only_aerial_dsm_text_coords", "eight"),
    *("hard_negatives", "tau_0.02", "tau_0.07", "masked_names", "batch_64"),
    *("batch_1024",),
)
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t, by the number of seeds
VARIANTS = flags.DEFINE_list(
    "variants", list(SHORT), "Of configs/ablations.py, or five_modal: the main job."
)
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each variant.")
JOBS = flags.DEFINE_integer(
    "jobs", 1, "Runs at a time, each on its share of the cores."
)
OUT = flags.DEFINE_string("out", "runs/sweep", "Folder of the runs and the result.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
QUICK = flags.DEFINE_bool("quick", False, "Tiny towers: to see that it runs.")
LACKING = {"recall@10": None, "median_km": None}  # without such a pair
COLUMNS = (
    *("near recall@1", "near recall@10", "test recall@1", "test recall@10"),
    *("test weakest@10", "test coords pairs@10", "test aerial pairs@10"),
    *("test aerial->coords@10", "test others->coords@10", "test others->coords km"),
    "seconds",
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
        with log.open("a") as out:
            ran = subprocess.run(command, stdout=out, stderr=out)
        if ran.returncode:
            raise ValueError(f"{folder}: exit code {ran.returncode}; see {log}")
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
        others = sorted({k.partition("->")[0] for k in pairs} - {"coords"})
        # Among few places chance is high: what few places have is in no mean.
        most = max(v["gallery"] for v in pairs.values())
        pairs = {k: v for k, v in pairs.items() if 2 * v["gallery"] >= most}
        for metric in ("recall@1", "recall@10", "block_oracle@10"):
            out[f"{split} {metric}"] = statistics.mean(
                v[metric] for v in pairs.values()
            )
        out[f"{split} weakest@10"] = min(v["recall@10"] for v in pairs.values())
        for name in ("coords", "aerial"):
            out[f"{split} {name} pairs@10"] = statistics.mean(
                v["recall@10"] for k, v in pairs.items() if name in k
            )
        found = pairs.get("aerial->coords", LACKING)
        out[f"{split} aerial->coords@10"] = found["recall@10"]
        out[f"{split} pairs@10"] = {k: v["recall@10"] for k, v in pairs.items()}
        ensemble = table.get(f"{'+'.join(others)}->coords", LACKING)
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


def show(table: dict[str, list[dict]]) -> None:
    """Prints a line a variant, its mean and standard deviation over seeds."""
    print("variant".ljust(14) + "".join(f" {name:>24}" for name in COLUMNS))
    for variant, found in table.items():
        cells = []
        for name in COLUMNS:
            scale = 1 if name.endswith(("km", "seconds")) else 100
            values = [scale * row[name] for row in found if row[name] is not None]
            if not values:
                cells.append(" -".rjust(25))
                continue
            spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f" {statistics.mean(values):.1f}{spread}".rjust(25))
        print(variant.ljust(14) + "".join(cells))


def against(table: dict[str, list[dict]]) -> dict[str, dict]:
    """Differences from the first variant, seed by seed: mean and 95 % half-width.

    The seeds of a pair start from the same places in the same order.
    """
    base = next(iter(table.values()))
    out: dict[str, dict] = {}
    for variant, found in list(table.items())[1:]:
        out[variant] = {}
        for name in COLUMNS:
            pairs = [
                (row[name], other[name]) for row, other in zip(found, base, strict=True)
            ]
            if len(pairs) not in T_95 or any(None in pair for pair in pairs):
                continue
            away = [a - b for a, b in pairs]
            half = T_95[len(away)] * statistics.stdev(away) / len(away) ** 0.5
            out[variant][name] = {"mean": statistics.mean(away), "half_width": half}
    return out


def page(table: dict[str, list[dict]]) -> str:
    """A dot a seed and a line from the least to the largest, of each variant."""
    from unigeo_jax.evals import charts

    parts = ["<!doctype html><meta charset=utf-8><title>Sweep</title>"]
    parts.append("<body style='font:14px sans-serif'><h1>Recall over seeds</h1>")
    for name in COLUMNS:
        points = {
            variant: [100 * row[name] for row in found if row[name] is not None]
            for variant, found in table.items()
        }
        if not name.endswith(("km", "seconds")) and any(points.values()):
            parts.append(f"<h2>{name}, %</h2>{charts.dots(points)}")
    return "".join(parts)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    variants, seeds = VARIANTS.value, SEEDS.value
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

    try:
        with concurrent.futures.ThreadPoolExecutor(JOBS.value) as pool:
            rows = dict(zip(runs, pool.map(one, runs), strict=True))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    table = {v: [rows[v, seed] for seed in seeds] for v in variants}
    show(table)
    out = pathlib.Path(OUT.value)
    commits = sorted({row["commit"] for found in table.values() for row in found})
    report = {"seeds": seeds, "commits": commits, "runs": table}
    report["against"] = against(table)
    for variant, found in report["against"].items():
        for name in ("test aerial->coords@10", "test others->coords@10"):
            if name in found:
                mean, half = (100 * found[name][k] for k in ("mean", "half_width"))
                print(f"{variant:28} {name:24} {mean:+.1f} +- {half:.1f}")
    (out / "sweep.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    (out / "sweep.html").write_text(page(table), "utf-8")
    print(f"recall in %, mean +- standard deviation over {len(seeds)} seeds; {out}")


if __name__ == "__main__":
    app.run(main)
