# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the towers of a trained run as a model folder for `unigeo_jax.load`.

python launch/export.py --workdir=DIR --out=DIR [--format=jax,safetensors,onnx]
python launch/export.py --model=earth --out=DIR --format=onnx

--model is a model folder, or a model of the package, to write in other formats; its
name and licence stay. --out gets a program a tower (CPU, CUDA, TPU), model.safetensors,
config.json, a model card (README.md) and ONNX of the coordinate encoders. No
accelerator and no optimiser is needed. Exit codes: 0 done, 1 error, 2 usage.
"""

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
MODEL = flags.DEFINE_string("model", None, "Or folder or name of a model.")
OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
FORMAT = flags.DEFINE_list("format", ["jax", "safetensors", "onnx"], "What to write.")
NAME = flags.DEFINE_string("name", "", "Id of the model; default: the config's name.")
LICENCE = flags.DEFINE_string("licence", "other", "Of the weights, for the card.")
OF_RUNS = ("name", "licence", "data_dir")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the datasets.")


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    if (WORKDIR.value is None) == (MODEL.value is None):
        raise app.UsageError("--workdir of a run, or --model")
    if MODEL.value is not None and any(flags.FLAGS[n].present for n in OF_RUNS):
        raise app.UsageError(f"--{', --'.join(OF_RUNS)} are for --workdir")
    import jax

    jax.config.update("jax_platforms", "cpu")
    out = pathlib.Path(OUT.value)
    try:
        about = run(out)
    except (ValueError, OSError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        sys.exit(errors.fail(error, 1))
    for name, why in about.get("left_out", {}).items():
        print(f"{name}: not exported: {why}")
    print(f"in {out}: {', '.join([*about['files'], 'config.json README.md'])}")


def run(out: pathlib.Path) -> dict[str, Any]:
    from unigeo_jax import export, reexport

    if MODEL.value is not None:
        return reexport.run(MODEL.value, out, FORMAT.value)
    data_dir = pathlib.Path(DATA_DIR.value) if DATA_DIR.value else None
    folder, named = pathlib.Path(WORKDIR.value or ""), (NAME.value, LICENCE.value)
    return export.run(folder, out, FORMAT.value, data_dir, *named)


if __name__ == "__main__":
    app.run(main)
