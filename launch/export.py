# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the towers of a trained run as a model folder for `unigeo_jax.load`.

python launch/export.py --workdir=DIR --out=DIR [--format=jax,safetensors,onnx]

DIR gets a program a tower (CPU, CUDA, TPU), model.safetensors, config.json, a model
card (README.md) and ONNX of the coordinate encoders. No accelerator and no optimiser is
needed. Exit codes: 0 done, 1 error, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
FORMAT = flags.DEFINE_list("format", ["jax", "safetensors", "onnx"], "What to write.")
NAME = flags.DEFINE_string("name", "", "Id of the model; default: the config's name.")
LICENCE = flags.DEFINE_string("licence", "other", "Of the weights, for the card.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the datasets.")


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    import jax

    jax.config.update("jax_platforms", "cpu")
    from unigeo_jax import export

    out = pathlib.Path(OUT.value)
    data_dir = pathlib.Path(DATA_DIR.value) if DATA_DIR.value else None
    try:
        about = export.run(
            pathlib.Path(WORKDIR.value),
            out,
            FORMAT.value,
            data_dir,
            NAME.value,
            LICENCE.value,
        )
    except (ValueError, OSError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        sys.exit(errors.fail(error, 1))
    for name, why in about["left_out"].items():
        print(f"{name}: not exported: {why}")
    print(f"in {out}: {', '.join([*about['files'], 'config.json README.md'])}")


if __name__ == "__main__":
    app.run(main)
