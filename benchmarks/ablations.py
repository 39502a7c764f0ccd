# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains variants of the five-modal config over several seeds and compares retrieval.

python benchmarks/ablations.py             every variant, short runs, 3 seeds
python benchmarks/ablations.py --variants=all_to_all --steps=0   the main job, whole
python benchmarks/ablations.py --quick     tiny towers, one seed: a smoke test

Each run is one `launch/train.py` in its own folder under --out; finished runs are read,
not repeated. Prints the mean over the 20 ordered pairs with the standard deviation over
seeds, and writes --out/ablations.json with commit, seeds and every run's figures.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEFAULT = (
    "all_to_all,pivot_aerial,sigma_1,sigma_4,sigma_16,sigma_64,sigma_256,no_registers,"
    "no_cell_mask,no_hard_negatives,m2,sphere"
)
VARIANTS = flags.DEFINE_list("variants", DEFAULT.split(","), "Of configs/ablations.py.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds 0 to N-1.")
STEPS = flags.DEFINE_integer("steps", 180, "Steps of each run.")
OUT = flags.DEFINE_string("out", "runs/ablations", "Folder of the runs and the result.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
QUICK = flags.DEFINE_bool(
    "quick", False, "Tiny towers, one seed, two variants, 4 steps."
)


def train(variant: str, seed: int, steps: int, tiny: bool) -> pathlib.Path:
    """Runs or finishes one run; returns its folder."""
    size = "-tiny" if tiny else ""
    folder = pathlib.Path(OUT.value) / f"{variant}{size}-{steps}-seed{seed}"
    if (folder / "eval" / f"{steps}.json").exists():
        return folder
    config = f"{ROOT}/configs/ablations.py:variant={variant}{',tiny' if tiny else ''}"
    command = [sys.executable, str(ROOT / "launch" / "train.py"), f"--config={config}"]
    command += [
        f"--workdir={folder}",
        f"--config.seed={seed}",
        f"--config.steps={steps}",
    ]
    command += [f"--config.checkpoint.every={steps}"]
    command += [f"--data_dir={DATA_DIR.value}"] if DATA_DIR.value else []
    began = time.monotonic()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    print(f"{variant} seed {seed}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return folder


def figures(folder: pathlib.Path, steps: int) -> dict[str, float]:
    """Means by split over all ordered pairs and those with coords; the weakest."""
    results = json.loads((folder / "eval" / f"{steps}.json").read_text())
    out = {}
    for split, table in results.items():
        pairs = {k: v for k, v in table.items() if "->" in k and "+" not in k}
        coords = {k: v for k, v in pairs.items() if "coords" in k}
        for metric in ("recall@1", "recall@10"):
            out[f"{split} {metric}"] = statistics.mean(
                v[metric] for v in pairs.values()
            )
        out[f"{split} coords pairs recall@10"] = statistics.mean(
            v["recall@10"] for v in coords.values()
        )
        out[f"{split} weakest pair recall@10"] = min(
            v["recall@10"] for v in pairs.values()
        )
        out[f"{split} block oracle recall@10"] = statistics.mean(
            v["block_oracle@10"] for v in pairs.values()
        )
        ensemble = table.get("aerial+dsm+street+text->coords")
        if ensemble:
            out[f"{split} others->coords recall@10"] = ensemble["recall@10"]
            out[f"{split} others->coords median km"] = ensemble["median_km"]
    return out


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    steps, seeds, variants = STEPS.value, SEEDS.value, VARIANTS.value
    if QUICK.value:
        steps, seeds, variants = 4, 1, ["all_to_all", "pivot_aerial"]
    runs: dict[str, list[dict[str, float]]] = {}
    commits = set()
    for seed in range(seeds):
        for variant in variants:  # interleaved, so that a busy hour hits all variants
            folder = train(variant, seed, steps, QUICK.value)
            runs.setdefault(variant, []).append(figures(folder, steps))
            commits.add(json.loads((folder / "config.json").read_text())["commit"])
    columns = [
        "test recall@1",
        "test recall@10",
        "test coords pairs recall@10",
        "near recall@10",
    ]
    print(f"{steps} steps, {seeds} seeds, gallery 1,000; %, mean +- sd over seeds")
    print("variant".ljust(20) + "".join(c.rjust(30) for c in columns))
    for variant, rows in runs.items():
        cells = []
        for column in columns:
            values = [100 * row[column] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):.1f} +- {spread:.1f}".rjust(30))
        print(variant.ljust(20) + "".join(cells))
    out = pathlib.Path(OUT.value) / "ablations.json"
    report = {"steps": steps, "seeds": seeds, "commits": sorted(commits), "runs": runs}
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    app.run(main)
