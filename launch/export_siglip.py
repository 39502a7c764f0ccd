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

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
IMAGE = flags.DEFINE_string("image", "aerial", "Image tower: its name in the config.")
TEXT = flags.DEFINE_string("text", "text", "Text tower: its name in the config.")
LAYOUT = flags.DEFINE_enum(
    "layout", "huggingface", ["huggingface", "big_vision"], "Names and shapes of --out."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        print(f"error: unexpected arguments: {' '.join(argv[1:])}", file=sys.stderr)
        sys.exit(2)
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import train
    from unigeo_jax.siglip import convert, trained

    folder, out = pathlib.Path(WORKDIR.value), pathlib.Path(OUT.value)
    try:
        config, params, step = train.restore_params(folder)
        weights = trained.towers_of(
            config, params, IMAGE.value, TEXT.value, folder / f"checkpoints/{step}"
        )
        convert.convert(weights, out, LAYOUT.value)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"step {step} of {folder}: {IMAGE.value} and {TEXT.value} are in {out}")


if __name__ == "__main__":
    app.run(main)
