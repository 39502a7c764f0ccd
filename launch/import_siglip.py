# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a SigLIP or SigLIP 2 file, says what it is, and writes it in either layout.

python launch/import_siglip.py --weights=FILE_OR_FOLDER --out=DIR [--layout=huggingface]

FILE: .npz of big_vision, .safetensors or .safetensors.index.json of Hugging Face. DIR
gets model.safetensors and config.json, which `--config.init.siglip=DIR` reads as well
as the file itself; with --layout=huggingface transformers does. Exit codes: 0 done, 1
the file does not fit, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from launch import errors

WEIGHTS = flags.DEFINE_string("weights", None, "File or folder.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
LAYOUT = flags.DEFINE_enum(
    "layout", "big_vision", ["big_vision", "huggingface"], "Names and shapes of --out."
)


def say(sizes: dict) -> None:
    """Prints one line a tower."""
    for side, one in sizes.items():
        what = f"width {one.width}, {one.depth} layers, {one.heads} heads, MLP"
        what += f" {one.hidden}"
        if side == "img":
            grid = f"{one.grid[0]}x{one.grid[1]}"
            pixels = f"{one.grid[0] * one.patch}x{one.grid[1] * one.patch} pixels"
            what += f", patch {one.patch}, "
            what += f"NaFlex table {grid}" if one.naflex else pixels
        else:
            what += f", {one.vocab:,} tokens, length {one.length}, {one.dim} numbers"
        print(f"{'image' if side == 'img' else 'text'}: {what}")


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    from unigeo_jax.siglip import convert, files

    try:
        weights = files.open_weights(WEIGHTS.value)
        say(convert.convert(weights, pathlib.Path(OUT.value), LAYOUT.value))
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"in {OUT.value}: model.safetensors config.json ({LAYOUT.value})")


if __name__ == "__main__":
    app.run(main)
