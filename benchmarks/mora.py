# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Scores encoders of coordinates on MobCLIP's tasks: published and better protocol.

python benchmarks/mora.py --tasks=DIR [--peers=geoclip] [--students=DIR,...] [--seeds=5]
    [--out=mora.json]
python benchmarks/mora.py --tasks=DIR --quick      one seed, no trees under folds
python benchmarks/mora.py --country=us [--workdir=RUN] [--means=plain,population,area]
    counties and ZIP areas of the US, by ZIP areas: raw features of `us_places`, and the
    towers of a run at its nodes, mobility as it is, with its norm.

--vectors=FILE.parquet,... scores vectors of nodes, of any origin: columns cell (as in
cells.csv, or ZIP codes of five digits) and embedding. All are scored on the cells that
all of them have. --means: how vectors of cells become one of a county or city.
A folder of tasks is described in unigeo_jax/evals/mora_tables.py; of a folder without
`level`s (one point a row) --level says what the rows are, where the name does not, as
china_county_edu does. --only=china_county_ leaves out what is none of the eleven. Those
that the folder lacks are listed with what they need. Needs the extra `boost`.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from unigeo_jax import distill, workdir
from unigeo_jax.evals import (
    baselines,
    mora,
    mora_tables,
    mora_tasks,
    mora_us,
    nodes,
    peers,
)

TASKS = flags.DEFINE_string("tasks", None, "Folder of labels.")
COUNTRY = flags.DEFINE_enum("country", None, ["us"], "Labels of the package instead.")
WORKDIR = flags.DEFINE_string("workdir", None, "A run whose nodes are the cells.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
VECTORS = flags.DEFINE_list("vectors", [], "Parquet files of vectors of cells.")
ENCODERS = flags.DEFINE_list("encoders", [], "Take these only, by their names.")
MEANS = flags.DEFINE_list("means", ["plain"], "Of plain, population, area.")
flags.mark_flags_as_mutual_exclusive(["tasks", "country"], required=True)
LEVEL = flags.DEFINE_enum(
    "level", None, mora_tables.LEVELS, "Level of entries that state none."
)
ONLY = flags.DEFINE_string("only", "", "Take tasks whose name starts so.")
PEERS = flags.DEFINE_list("peers", [], "geoclip, or nothing.")
STUDENTS = flags.DEFINE_list(
    "students", [], "Folders that launch/distill.py wrote; MobCLIP's weights too."
)
SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds of the folds.", lower_bound=1)
OUT = flags.DEFINE_string("out", "mora.json", "File to write.")
QUICK = flags.DEFINE_bool("quick", False, "One seed, no trees under folds.")


def encoders() -> dict[str, baselines.Embed]:
    """The features of coordinates that need no training, and the peers asked for."""
    found = baselines.features(baselines.WIDE)
    if "geoclip" in PEERS.value:
        found["geoclip"] = peers.GeoClip().embed
    for folder in map(pathlib.Path, STUDENTS.value):
        found[f"student {folder.name}"] = distill.load(folder)
    return found


def of_nodes(cells: mora_tables.Cells) -> dict[str, np.ndarray]:
    """Vectors of the cells, a row each, NaN where there is none."""
    data_dir = pathlib.Path(DATA_DIR.value) if DATA_DIR.value else None
    found = {
        pathlib.Path(file).stem: mora_tables.read_vectors(pathlib.Path(file), cells)
        for file in VECTORS.value
    }
    if COUNTRY.value:
        for raw in nodes.raw("us_places", data_dir):
            found[raw.name] = np.asarray(raw.embed(cells.lat, cells.lon), np.float64)
    if WORKDIR.value:
        run = pathlib.Path(WORKDIR.value)
        towers = tuple(workdir.read_about(run)["config"].towers)
        places, *_ = distill.teacher_vectors(run, towers, data_dir)
        at = places.lat, places.lon
        sets = {"all towers": nodes.fuse(places, towers)}
        if others := [tower for tower in towers if tower != "mobility"]:
            sets["all but mobility"] = nodes.fuse(places, others)
        if "mobility" in towers:
            raw, *_ = distill.teacher_vectors(run, ("mobility",), data_dir)
            sets["mobility"] = raw.z["mobility"]
        for name, z_kd in sets.items():
            found[name] = mora_tables.at_cells(cells, *at, z_kd)
    return found


def chosen(found: dict) -> dict:
    """Those of --encoders, all without it."""
    return {k: v for k, v in found.items() if k in (ENCODERS.value or found)}


def tables() -> dict[str, dict[str, mora_tables.Joined]]:
    """{task: {encoder, with the mean it has: units with their vectors}}."""
    labels, cells = read(pathlib.Path(TASKS.value or ""))
    embeds: dict[str, baselines.Embed | np.ndarray] = chosen(encoders())
    if cells is not None:
        given = chosen(of_nodes(cells))
        keep_n = np.ones(len(cells.lat), bool)
        for z_nd in given.values():
            keep_n &= np.isfinite(z_nd).all(1)
        cells = mora_tables.subset(cells, keep_n)
        embeds |= {name: z_nd[keep_n] for name, z_nd in given.items()}
    elif WORKDIR.value or VECTORS.value:
        raise ValueError("--workdir, --vectors: allowed: with a cells.csv in --tasks")
    found: dict[str, dict[str, mora_tables.Joined]] = {}
    for one in labels:
        of_task = found.setdefault(one.name, {})
        for mean in MEANS.value if one.level != "cell" else ["plain"]:
            weight = "" if mean == "plain" else mean
            for name, embed in embeds.items():
                label = f"{name}/{mean}" if weight else name
                of_task[label] = mora_tables.join(one, cells, embed, weight)
    return found


def read(folder: pathlib.Path) -> tuple[list, mora_tables.Cells | None]:
    """Labels of the entries wanted, and the cells."""
    if COUNTRY.value:
        labels, cells = mora_us.read()
        return [one for one in labels if one.name.startswith(ONLY.value)], cells
    default = {"level": LEVEL.value} if LEVEL.value else {}
    return mora_tables.read_folder(folder, default, ONLY.value)


def main(argv: list[str]) -> None:
    """Reads, embeds, scores, prints and writes."""
    del argv
    options = mora.Options(
        seeds=1 if QUICK.value else SEEDS.value,
        boosted=not QUICK.value,
        report=lambda line: print(line, file=sys.stderr),
    )
    results = mora.run(tables(), options)
    print(mora.table(results))
    print(mora_tasks.lacking(results))
    pathlib.Path(OUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
