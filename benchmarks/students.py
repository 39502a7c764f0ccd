# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a distilled student keeps of its teacher on the tasks of `us_places`.

python benchmarks/students.py --workdir=TEACHER --student=DIR [--data_dir=DIR]

Ridge probes under blocked folds, three fold seeds, of the teacher's vectors at every
ZIP area and of the student's at the same coordinates. Prints R2 a task, their means and
the share kept, and writes --out with commit and seeds.

Read with care: the student was trained at these places (none of the labels was seen by
either); places between them are measured by the student's fidelity.json.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

WORKDIR = flags.DEFINE_string("workdir", None, "The teacher.", required=True)
STUDENT = flags.DEFINE_string("student", None, "Its student.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of the folds.", 1)
ROWS = flags.DEFINE_integer("rows", None, "Rows a task at most.")
OUT = flags.DEFINE_string("out", "runs/students", "Folder of the result.")


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import distill, workdir
    from unigeo_jax.evals import downstream, entries, labels, nodes

    data_dir = pathlib.Path(DATA_DIR.value) if DATA_DIR.value else None
    teacher, student = pathlib.Path(WORKDIR.value), pathlib.Path(STUDENT.value)
    names = workdir.read_about(student)["config"].taught_by
    places, _, step = distill.teacher_vectors(teacher, names, data_dir)
    taught = nodes.lookup(places.lat, places.lon, nodes.fuse(places, names))
    judged = [
        entries.Encoder("teacher", taught),
        entries.Encoder("student", distill.load(student)),
    ]
    data = workdir.read_about(teacher)["config"].data.name
    tasks = labels.us_places(data, data_dir, ROWS.value)
    options = downstream.Options(SEEDS.value, ("blocked",), ("linear",))
    width = places.z[names[0]].shape[1]
    scores, _ = downstream.run(tasks, judged, width, pathlib.Path(OUT.value), options)
    table = {
        name: {task: kinds["blocked"][name]["score"] for task, kinds in scores.items()}
        for name in next(iter(scores.values()))["blocked"]
    }
    mean = {name: float(np.mean(list(row.values()))) for name, row in table.items()}
    result = {"commit": workdir.commit(), "fold_seeds": SEEDS.value, "step": step}
    result |= {"blocked_r2": table, "mean": mean}
    result["share_kept"] = mean["student"] / mean["teacher"]
    workdir.write_json(pathlib.Path(OUT.value) / "students.json", result)
    print("blocked R2" + " " * 10 + "".join(f"{t[-18:]:>20}" for t in scores), "  mean")
    for name, row in table.items():
        cells = "".join(f"{value:20.3f}" for value in row.values())
        print(f"{name:<20}{cells}{mean[name]:7.3f}")
    print(f"the student keeps {result['share_kept']:.1%} of the teacher's mean")


if __name__ == "__main__":
    app.run(main)
