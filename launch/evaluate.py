# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Judges a trained workdir: retrieval, geolocation, probes beside honest baselines.

python launch/evaluate.py --workdir=DIR [--tasks=DIR ...] [--peers=geoclip] [--seeds=3]
    [--out=DIR]

Writes to --out (default <workdir>/evaluation): results.json, report.html, folds/ with a
hash each, and predictions/, one Parquet file a task with every out-of-fold prediction.
results.json: {"retrieval": {split: as in eval/<step>.json, with every subset of
modalities as a query}, "geolocation": {split: {query: ...}}, "downstream": {task:
{"random"|"blocked"|"region-<column>": {encoder: {"score", "std", "metric", "n",
...}}}}, "tasks", "folds", "efficiency", "cautions" (what must be said of the inputs),
"run"}. unigeo_jax/evals/downstream.py says what an entry holds. Scores whose label the
encoder's inputs reveal are marked: `leak`.
Of a run with times, probes and geolocation take coordinates of an unknown time.
Of a run with a mobility graph, labels at its nodes are also read from the mobility
tower and from the mean of all towers, with mobility and without.

Exit codes: 0 done, 1 error, 2 usage.
"""

import itertools
import os
import pathlib
import sys
import time

# Before NumPy: encoders are probed side by side, a core each. Threads of BLAS on top of
# that wait for each other: eigenvectors of 300 x 300 took 190 ms then, 7 ms without.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
TASKS = flags.DEFINE_multi_string("tasks", [], "Folders with tasks.json and CSVs.")
PEERS = flags.DEFINE_list("peers", [], "Encoders beside ours: geoclip.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of the folds.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "Where to write; default <workdir>/evaluation.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the datasets; default $UNIGEO_DATA_DIR, else the user's cache.",
)
PROBES = flags.DEFINE_list("probes", ["linear"], "Of linear, knn, mlp, lightgbm.")
SPLITS = flags.DEFINE_list("splits", ["random", "blocked", "region"], "Kinds of folds.")
BUFFER_KM = flags.DEFINE_float(
    "buffer_km",
    0.0,
    "Training rows so near a test row are dropped; not if random.",
    0.0,
)
ROWS = flags.DEFINE_integer("rows", None, "Rows a task at most, drawn at random.")
GALLERY = flags.DEFINE_integer(
    "gallery", 120_000, "Coordinates among which places are located.", 1
)
BUILTIN = flags.DEFINE_bool("builtin", True, "--nobuiltin: only the tasks of --tasks.")

RECALLS = (1, 5, 10, 20, 50, 100)
# What each tower's input reveals of a label, in the words of evals/labels.py.
REVEALS = {
    "aerial": ("satellite",),
    "street": ("satellite", "elevation"),  # rendered from the heights
    "dsm": ("elevation",),
    "text": ("text",),
    "poi": ("population", "text"),
    "demographics": ("demographics", "population"),
    "mobility": ("mobility",),
    "night": ("nightlights",),
    # Of the packaged encoder: maps, and photographs from everywhere.
    "vegetation": ("vegetation",),
    "landcover": ("landcover",),
    "geoclip": ("satellite", "vegetation"),
}


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        if WORKDIR.value is None:
            raise ValueError("--workdir=DIR is required: a folder that train.py wrote")
        if unknown := sorted(set(PEERS.value) - {"geoclip"}):
            raise ValueError(f"--peers: got {', '.join(unknown)}; allowed: geoclip")
    except (flags.Error, ValueError) as error:
        errors.usage(error)
    return rest


class Run:
    """A workdir brought back: its newest parameters, fresh ones, and how to embed."""

    def __init__(self, folder: pathlib.Path, data_dir: pathlib.Path) -> None:
        from unigeo_jax import galleries, sharding, trained, workdir
        from unigeo_jax.data import datasets

        self.about = workdir.read_about(folder)
        self.config = self.about["config"]
        self.cautions = datasets.cautions(self.config)
        towers = list(self.config.towers)
        if not {"coords", "mobility"} & {*towers}:
            raise ValueError(
                f"--workdir {folder}: towers {', '.join(towers)};"
                " allowed: a run that has a tower named coords or mobility"
            )
        mesh = sharding.make_mesh(**self.config.mesh)
        run = trained.restore(folder, data_dir, mesh)
        self.step, self.params, self.untrained = run.step, run.params, run.fresh()
        constants = sharding.place(run.constants, mesh)

        def embed(config):
            parts = (mesh, run.task, run.readers, data_dir, constants)
            return galleries.make(config, *parts)(self.params)

        # A student has nothing to be compared with.
        self.galleries = embed(self.config) if len(towers) > 1 else {}
        self.places = lambda: embed(galleries.of_all_places(self.config, data_dir))

    def embed_coords(self, params):
        """Returns (lat, lon) in degrees -> float32 (n, d), of a student as it says."""
        import jax
        import numpy as np

        from unigeo_jax import tasks

        embed = jax.jit(tasks.coordinates(self.config))

        def place(lat, lon):
            latlon = np.stack([lat, lon], -1).astype(np.float32)
            return np.asarray(embed(params, latlon))

        return place


def retrieve(galleries: dict) -> dict:
    """Every pair, and every subset of the other modalities together, of each split."""
    from unigeo_jax.evals import retrieval

    result = {}
    for split, places in galleries.items():
        names = list(places.z)
        subsets = [
            (query, target)
            for target in names
            for size in range(2, len(names))
            for query in itertools.combinations([x for x in names if x != target], size)
        ]
        if len(names) > 6:
            subsets = [s for s in subsets if len(s[0]) in (2, len(names) - 1)]
        result[split] = retrieval.run(*places, k=RECALLS, ensembles=subsets)
    return result


def locate(run: Run, galleries: dict, count: int) -> dict:
    """Places of each split among `count` land coordinates, by what is seen there."""
    import numpy as np

    from unigeo_jax.data import splits
    from unigeo_jax.data.datasets import earth_crops
    from unigeo_jax.evals import geolocation

    if not galleries or "coords" not in run.config.towers:
        return {}
    anchors = earth_crops.table("anchors.npz")
    lat, lon = anchors["lat"].astype(float), anchors["lon"].astype(float)
    order = np.argsort(splits.hash_places("geolocation", lat, lon))[:count]
    lat, lon = lat[order], lon[order]
    gallery_gd = geolocation.embed_all(run.embed_coords(run.params), lat, lon)
    return {
        split: geolocation.run(
            {name: z for name, z in places.z.items() if name != "coords"},
            places.here,
            *(places.lat, places.lon, gallery_gd, lat, lon),
        )
        for split, places in galleries.items()
        if len(places.z) > 1
    }


def look(run: Run, galleries: dict, data_dir: pathlib.Path) -> list[str]:
    """Pictures of the nearest neighbours among the places of the last split."""
    from unigeo_jax.data import datasets
    from unigeo_jax.evals import panels

    if not galleries:
        return []
    split, places = list(galleries.items())[-1]
    source, index = datasets.load(run.config.data.name, split, data_dir)
    row_n = panels.rows_of(places.lat, places.lon, index["lat"], index["lon"])

    def record(row: int) -> tuple:
        found = next(datasets.readable(source, [row_n[row]]), {})
        return found.get("aerial"), found.get("text") or ""

    return panels.neighbours(places.z, places.here, places.lat, places.lon, record)


def encoders(run: Run, tasks: list, data_dir: pathlib.Path) -> list:
    """Ours, the same untrained, and the peers asked for, with their union.

    `coords` and `untrained` are what a probe of coordinates is given: the unit vector
    and, the same for both, the fixed features of nn/fixed.py beside it. `coords_alone`
    and `untrained_alone` are the vectors without them. A student has no such second
    form.
    """
    from unigeo_jax.data import datasets
    from unigeo_jax.evals import baselines, entries, peers

    data, places = run.config.data, None
    if data.name:  # an imported student's training places are unknown
        _, index = datasets.load(data.name, data.split, data_dir)
        places = index["lat"], index["lon"]
    towers = run.config.get("taught_by") or run.config.towers
    saw = tuple(sorted({r for name in towers for r in REVEALS.get(name, ())}))
    found, forms = [], {}
    if "coords" in run.config.towers:
        ours, fresh = run.embed_coords(run.params), run.embed_coords(run.untrained)
        forms[""] = (ours, fresh)
        if run.config.task != "distillation":
            forms[""] = (baselines.beside(ours), baselines.beside(fresh))
            forms["_alone"] = (ours, fresh)
    for form, (trained, untrained) in forms.items():
        found.append(entries.Encoder(f"coords{form}", trained, saw, places))
        found.append(entries.Encoder(f"untrained{form}", untrained))
    found += at_nodes(run, tasks, saw, data_dir)
    if "geoclip" in PEERS.value:
        geoclip = peers.GeoClip().embed
        found.append(entries.Encoder("geoclip", geoclip))
        if "coords" in run.config.towers:
            found.append(entries.Encoder("union", baselines.union(geoclip)))
    return found


def at_nodes(run: Run, tasks: list, saw: tuple, data_dir: pathlib.Path) -> list:
    """Mobility, and means of towers with it and without, for labels at its nodes.

    Beside them, on us_places, what the towers were given, not encoded.
    """
    from unigeo_jax.data.datasets import us_flows
    from unigeo_jax.evals import nodes

    name = run.config.data.name
    if "mobility" not in run.config.towers:
        return []
    covered = nodes.covers(*nodes.located(name, data_dir))
    if not any(covered(task.lat, task.lon) for task in tasks):
        return []
    mark = us_flows.mark(run.config)
    found = nodes.encoders(nodes.join(run.places().values()), saw=saw, mark=mark)
    found = [encoder for encoder in found if encoder.name != "coords"]
    if name.split("/")[0] == "us_places":
        found += nodes.raw(name, data_dir)
    return found


def builtin(name: str, data_dir: pathlib.Path) -> list:
    """The tasks that need nothing but the repository, none with --nobuiltin."""
    from unigeo_jax.evals import labels

    if not BUILTIN.value:
        return []
    tiny = "/tiny" if name.endswith("/tiny") else ""
    own = name if name.split("/")[0] == "earth" else f"earth{tiny}"
    return [
        *labels.earth(own, data_dir, ROWS.value),
        *labels.us_places(f"us_places{tiny}", data_dir, ROWS.value),
    ]


def evaluate(folder: pathlib.Path, data_dir: pathlib.Path, out: pathlib.Path) -> None:
    """Does everything, saying how long each part took."""
    from unigeo_jax import workdir
    from unigeo_jax.evals import downstream, labels, report

    began = time.monotonic()

    def say(line: str) -> None:
        workdir.say(f"{time.monotonic() - began:6.0f} s  {line}")

    # Before the run is read: a fault in a user's folder is told at once.
    given = [t for path in TASKS.value for t in labels.read_folder(pathlib.Path(path))]
    run = Run(folder, data_dir)
    tasks = builtin(run.config.data.name, data_dir) + given
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--tasks: {', '.join(twice)} given twice; allowed: once")
    judged = encoders(run, tasks, data_dir)
    if "coords" not in run.config.towers:  # it has vectors at its nodes only
        ours = [e.covers for e in judged if e.covers][:1]
        tasks = [t for t in tasks if any(covers(t.lat, t.lon) for covers in ours)]
    say(f"step {run.step} of {folder}; {len(tasks)} tasks, {SEEDS.value} seeds")
    results = {"retrieval": retrieve(run.galleries)}
    say("retrieval done")
    results["geolocation"] = locate(run, run.galleries, GALLERY.value)
    say("geolocation done")
    results["downstream"], about = downstream.run(
        tasks,
        judged,
        run.config.dim,
        out,
        downstream.Options(
            seeds=SEEDS.value,
            kinds=tuple(SPLITS.value),
            probes=tuple(PROBES.value),
            buffer_km=BUFFER_KM.value,
            report=say,
        ),
    )
    results |= about | {"cautions": run.cautions}
    results["run"] = {
        "command": " ".join(["python", "launch/evaluate.py", *sys.argv[1:]]),
        "workdir": str(folder),
        "step": run.step,
        "trained_at_commit": run.about.get("commit"),
        "commit": workdir.commit(),
        "versions": run.about.get("versions"),
        "seeds": SEEDS.value,
        "seconds": round(time.monotonic() - began),
    }
    mapped = ("coords_alone", "untrained_alone", "geoclip")
    if run.config.task == "distillation":
        mapped = ("coords", "untrained", "geoclip")
    embeds = {e.name: e.embed for e in judged if e.name in mapped}
    seen = look(run, run.galleries, data_dir)
    report.write(out / "report.html", results, embeds, seen=seen)
    workdir.write_json(out / "results.json", report.plain(results))
    say(f"in {out}: results.json report.html folds/ predictions/")
    if tasks:
        workdir.say(report.table(results))


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    import jax

    from unigeo_jax import workdir
    from unigeo_jax.data import datasets

    folder = pathlib.Path(WORKDIR.value or "")
    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir())
    workdir.compilation_cache(data_dir / ".xla")
    try:
        evaluate(folder, data_dir, pathlib.Path(OUT.value or folder / "evaluation"))
    except (ValueError, OSError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        sys.exit(errors.fail(error, 1))


if __name__ == "__main__":
    app.run(main, flags_parser=read_flags)
