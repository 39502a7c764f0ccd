# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the encoder of coordinates that comes with the package, as a workdir.

python launch/package.py --out=DIR [--config=FILE.py[:arguments]] [--config.KEY=VALUE]

Needs the weights in GeoCLIP's wheel (pip install --no-deps geoclip) and no dataset. The
same command resumes. What is in the package is made by three commands:

python launch/package.py --out=runs/packaged
python launch/evaluate.py --workdir=runs/packaged --peers=geoclip --splits=blocked
    --tasks=tasks
python launch/export.py --workdir=runs/packaged --out=unigeo_jax/models/earth
    --name=earth --format=jax,safetensors --licence=apache-2.0

`tasks` is a folder of labels as `--tasks` takes them (README.md): here houses of
California, weather stations and Chinese counties. Without it the card has the others.

Exit codes: as in launch/train.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging
from ml_collections import config_flags

from launch import errors

DEFAULT = pathlib.Path(__file__).resolve().parents[1] / "configs" / "packaged.py"
CONFIG = config_flags.DEFINE_config_file(
    "config", str(DEFAULT), "FILE.py[:arguments]", lock_config=True
)
OUT = flags.DEFINE_string("out", None, "Folder to make.", required=True)


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import earth_encoder
    from unigeo_jax.evals import peers

    with errors.of_training(OUT.value):
        earth_encoder.run(pathlib.Path(OUT.value), CONFIG.value, peers.GeoClip())


if __name__ == "__main__":
    from unigeo_jax import host

    host.settle()
    app.run(main)
