# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What mobility adds: probes of embeddings trained with and without the graph.

python benchmarks/mobility.py            three variants, three seeds, on `us_places`
python benchmarks/mobility.py --quick    tiny towers, one seed, `us_places/tiny`

Trains variants of configs/mobclip.py (a finished run is read, not repeated), embeds
every ZIP area and scores ridge probes under blocked folds: of each tower alone, of the
mean of all towers with and without mobility, beside raw features, coordinates,
harmonics and, with --peers=geoclip (`pip install --no-deps geoclip`), GeoCLIP. Prints
means and standard deviations over training seeds and writes --out/mobility.json with
commit and seeds.

Read with care: local flows are gravity-modelled from population, so mobility reveals
population and density; that is marked `leak`.
"""

import pathlib
import subprocess
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
VARIANTS = {"pivot": "", "all_to_all": "all_to_all", "without": "without_mobility"}
REVEALED = ("demographics", "mobility", "population", "satellite", "text")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of training.")
CHOSEN = flags.DEFINE_list("variants", list(VARIANTS), "Of pivot, all_to_all, without.")
OUT = flags.DEFINE_string("out", "runs/mobility", "Folder of the runs and the result.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
ROWS = flags.DEFINE_integer("rows", 6000, "Rows a task at most.")
PEERS = flags.DEFINE_list("peers", [], "geoclip, from its wheel.")
QUICK = flags.DEFINE_bool("quick", False, "Tiny towers, one seed.")


def trained(variant: str, seed: str) -> pathlib.Path:
    """Runs, or finishes, one training; returns its folder."""
    arg = ",".join(filter(None, [VARIANTS[variant], "tiny" if QUICK.value else ""]))
    tiny = "-tiny" if QUICK.value else ""
    folder = pathlib.Path(OUT.value) / f"{variant}{tiny}-seed{seed}"
    command = [sys.executable, str(ROOT / "launch" / "train.py")]
    command += [f"--config={ROOT}/configs/mobclip.py:{arg}", f"--workdir={folder}"]
    command += [f"--config.seed={seed}"]
    command += [f"--data_dir={DATA_DIR.value}"] if DATA_DIR.value else []
    began = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    print(f"{folder}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return folder


def embedded(folder: pathlib.Path) -> Any:
    """Unit vectors of every place of every split, by tower."""
    from unigeo_jax import distill, workdir

    data_dir = pathlib.Path(DATA_DIR.value) if DATA_DIR.value else None
    towers = tuple(workdir.read_about(folder)["config"].towers)
    return distill.teacher_vectors(folder, towers, data_dir)[0]


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import workdir
    from unigeo_jax.data.datasets import us_flows
    from unigeo_jax.evals import downstream, entries, labels, nodes, peers

    seeds = SEEDS.value[:1] if QUICK.value else SEEDS.value
    data = "us_places/tiny" if QUICK.value else "us_places"
    found, width = nodes.raw(data, DATA_DIR.value), 128
    for variant in CHOSEN.value:
        for seed in seeds:
            places = embedded(trained(variant, seed))
            width = places.z["coords"].shape[1]
            prefix = f"{variant} {seed}: "
            found += nodes.encoders(places, prefix, REVEALED, us_flows.MARK)
    if "geoclip" in PEERS.value:
        found.append(entries.Encoder("geoclip", peers.GeoClip().embed))
    tasks = labels.us_places(data, DATA_DIR.value, ROWS.value)
    out = pathlib.Path(OUT.value)
    options = downstream.Options(seeds=1, kinds=("blocked",), probes=("linear",))
    scores, _ = downstream.run(tasks, found, width, out, options)
    table = averaged(scores, seeds)
    result = {"commit": workdir.commit(), "seeds": seeds, "blocked_r2": table}
    result["cautions"] = [us_flows.MODELLED, us_flows.SHARED_OUT]
    workdir.write_json(out / "mobility.json", result)
    show(table)
    print("\n".join(result["cautions"]))


def averaged(scores: dict, seeds: list[str]) -> dict:
    """{task: {encoder: {"mean", "std", "scores"}}}, training seeds put together."""
    table: dict[str, dict] = {}
    for task, kinds in scores.items():
        rows: dict[str, list] = {}
        for name, entry in kinds["blocked"].items():
            variant, _, what = name.partition(": ")
            head, _, seed = variant.rpartition(" ")
            grouped = f"{head}: {what}" if what and seed in seeds else name
            rows.setdefault(grouped, []).append(entry["score"])
        table[task] = {
            name: {
                "mean": float(np.mean(values)),
                "std": float(np.std(values)),
                "scores": values,
            }
            for name, values in rows.items()
            if None not in values
        }
    return table


def show(table: dict) -> None:
    names = list(dict.fromkeys(name for rows in table.values() for name in rows))
    print("blocked R2, mean ± sd over training seeds")
    print(" " * 36 + "".join(f"{task[-18:]:>20}" for task in table))
    for name in names:
        cells = [rows.get(name) for rows in table.values()]
        texts = [f"{c['mean']:.3f} ± {c['std']:.3f}" if c else "-" for c in cells]
        print(f"{name:<36}" + "".join(f"{text:>20}" for text in texts))


if __name__ == "__main__":
    app.run(main)
