# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes an image tower and the text tower of a run for Hugging Face transformers.

python launch/export_siglip.py --workdir=RUN --out=DIR [--image=street]

DIR gets config.json and model.safetensors; `SiglipModel.from_pretrained(DIR)` (NaFlex:
Siglip2Model) computes what the towers compute, and logits at the temperature of that
pair. Exit codes: 0 done, 1 the run has no such towers, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
IMAGE = flags.DEFINE_string("image", "aerial", "Image tower: its name in the config.")
TEXT = flags.DEFINE_string("text", "text", "Text tower: its name in the config.")
LAYOUT = flags.DEFINE_enum(
    "layout", "huggingface", ["huggingface", "big_vision"], "Names and shapes of --out."
)


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import trained
    from unigeo_jax.siglip import convert
    from unigeo_jax.siglip import trained as siglip

    folder, out = pathlib.Path(WORKDIR.value), pathlib.Path(OUT.value)
    try:
        run = trained.restore(folder)
        path = folder / f"checkpoints/{run.step}"
        weights = siglip.towers_of(
            run.config, run.params, IMAGE.value, TEXT.value, path
        )
        convert.convert(weights, out, LAYOUT.value)
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"step {run.step} of {folder}: {IMAGE.value} and {TEXT.value} are in {out}")


if __name__ == "__main__":
    app.run(main)
