# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Judges the frozen image tower of a workdir on chips with classes or masks.

python launch/transfer.py --workdir=DIR --chips=FOLDER [--bands=red,green,blue]
    [--seeds=3] [--out=FILE]

Chips are GeoTIFFs as GEO-Bench lays them out (unigeo_jax/evals/chips.py). Classes of
chips are read by a logistic probe, masks by a linear head and by a light one of a 3 x 3
convolution; beside the trained tower stand the same tower untrained, the colours of the
same patches, and the commonest class. Scores are those of the test chips; the tower is
not trained further. Writes --out (default <workdir>/transfer.json): {"chips", "task",
"rows": {encoder: {probe: {"miou" or "macro_f1", "accuracy", "std", "n"}}}}.

Exit codes: 0 done, 1 error, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of a trained run.", required=True
)
CHIPS = flags.DEFINE_string("chips", None, "Folder of chips.", required=True)
BANDS = flags.DEFINE_list("bands", ["red", "green", "blue"], "Three bands, in order.")
TOWER = flags.DEFINE_string("tower", "aerial", "An image tower of the run.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of the heads.", 1)
OUT = flags.DEFINE_string("out", None, "Where to write.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As in launch/train.py.")
HIDDEN = 64  # of the light head


def towers(folder: pathlib.Path, data_dir: pathlib.Path) -> tuple[dict, int, int]:
    """{name: pictures -> vectors of patches}, side of a picture and of a patch."""
    import jax

    from unigeo_jax import modalities, trained

    run = trained.restore(folder, data_dir)
    tower = run.config.towers.get(TOWER.value)
    if tower is None or not isinstance(tower.net.get("patch"), int):
        raise ValueError(
            f"--tower {TOWER.value}: allowed: a tower of square patches;"
            f" towers: {', '.join(run.config.towers)}"
        )
    module = modalities.get(tower.module or TOWER.value)
    net = module.Encoder(dim=run.config.dim, **tower.net)

    def tokens(params):
        weights = {"params": params[TOWER.value]}

        @jax.jit
        def apply(image):
            _, state = net.apply(
                weights,
                image,
                capture_intermediates=lambda m, _: m.name == "Transformer",
                mutable=["intermediates"],
            )
            found = state["intermediates"]["Transformer"]["__call__"][0]
            rows = image.shape[1] // tower.net.patch
            columns = image.shape[2] // tower.net.patch
            patches = found[:, found.shape[1] - rows * columns :]
            return patches.reshape(len(image), rows, columns, -1)

        return apply

    found = {"trained": tokens(run.params), "untrained": tokens(run.fresh())}
    return found, tower.data["size"], tower.net.patch


def judge(folder: pathlib.Path, data_dir: pathlib.Path) -> dict:
    import numpy as np

    from unigeo_jax.evals import chips, dense

    if len(BANDS.value) != 3:
        raise ValueError(f"--bands: got {len(BANDS.value)}; allowed: 3")
    found = chips.read(pathlib.Path(CHIPS.value), BANDS.value)
    encoders, size, patch = towers(folder, data_dir)
    encoders["colours"] = dense.colours(patch)
    masks = found["train"].label.ndim == 3
    rows: dict = {}
    for name, tokens in encoders.items():
        z = {s: dense.lay(part.image, size, tokens) for s, part in found.items()}
        if not masks:
            rows[name] = {"logistic": dense.classify(z, found)}
            continue
        rows[name] = {}
        for probe, hidden in (("linear", 0), ("light", HIDDEN)):
            runs = [dense.segment(z, found, hidden, s) for s in range(SEEDS.value)]
            mean = {k: float(np.mean([run[k] for run in runs])) for k in runs[0]}
            std = float(np.std([run["miou"] for run in runs]))
            rows[name][probe] = mean | {"std": std, "n": runs[0]["n"]}
    rows["commonest class"] = {"none": dense.majority(found)}
    task = "segmentation" if masks else "classification"
    return {"chips": CHIPS.value, "task": task, "rows": rows}


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import workdir
    from unigeo_jax.data import datasets

    folder = pathlib.Path(WORKDIR.value)
    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir())
    try:
        result = judge(folder, data_dir)
        out = pathlib.Path(OUT.value or folder / "transfer.json")
        workdir.write_json(out, result)
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    for name, probes in result["rows"].items():
        for probe, score in probes.items():
            numbers = ", ".join(f"{k} {v:.3f}" for k, v in score.items() if k != "n")
            print(f"{name:16} {probe:9} {numbers}")
    print(f"in {out}")


if __name__ == "__main__":
    app.run(main)
