# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Serves a page: the world coloured by a model's vectors; click for what is alike.

python launch/explore.py --model=NAME [--port=8000] [--cell_deg=1]

For this machine only (127.0.0.1); the page loads nothing from the network. A model with
a text tower is asked by words too. Exit codes: 0 ended by Ctrl-C, 1 error, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

MODEL = flags.DEFINE_string("model", None, "Folder or name of a model.", required=True)
PORT = flags.DEFINE_integer("port", 8000, "0: one that is free.", 0, 65_535)
CELL_DEG = flags.DEFINE_float("cell_deg", 1.0, "Side of a pixel of the map.")


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    import unigeo_jax
    from unigeo_jax import explore

    try:
        world = explore.World(unigeo_jax.load(MODEL.value), CELL_DEG.value)
        server = explore.server(world, PORT.value)
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    app.run(main)
