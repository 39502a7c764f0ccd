# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Scores encoders of coordinates on MobCLIP's tasks: published and better protocol.

python benchmarks/mora.py --tasks=DIR [--peers=geoclip] [--students=DIR,...] [--seeds=5]
    [--out=mora.json]
python benchmarks/mora.py --tasks=DIR --quick      one seed, no trees under folds

A folder of tasks is described in unigeo_jax/evals/mora_tables.py; of a folder without
`level`s (one point a row) --level says what the rows are, where the name does not, as
china_county_edu does. --only=china_county_ leaves out what is none of the eleven. Those
that the folder lacks are listed with what they need. Needs the extra `boost`.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from unigeo_jax import distill
from unigeo_jax.evals import baselines, mora, mora_tables, peers

TASKS = flags.DEFINE_string("tasks", None, "Folder of labels.", required=True)
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


def read(folder: pathlib.Path) -> tuple[list, mora_tables.Cells | None]:
    """Labels of the entries wanted, and the cells."""
    default = {"level": LEVEL.value} if LEVEL.value else {}
    return mora_tables.read_folder(folder, default, ONLY.value)


def main(argv: list[str]) -> None:
    """Reads, embeds, scores, prints and writes."""
    del argv
    labels, cells = read(pathlib.Path(TASKS.value))
    embeds = encoders()
    tables = {
        one.name: {k: mora_tables.join(one, cells, e) for k, e in embeds.items()}
        for one in labels
    }
    options = mora.Options(
        seeds=1 if QUICK.value else SEEDS.value,
        boosted=not QUICK.value,
        report=lambda line: print(line, file=sys.stderr),
    )
    results = mora.run(tables, options)
    print(mora.table(results))
    print(mora_tables.lacking(results))
    pathlib.Path(OUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
