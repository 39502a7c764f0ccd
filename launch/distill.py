# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Turns a trained run into a small encoder of coordinates alone, and says how good.

python launch/distill.py --workdir=TEACHER --out=DIR [--data_dir=DIR]
    [--config=FILE.py[:arguments]] [--config.KEY=VALUE]
python launch/distill.py --weights=FILE.pth --out=DIR

--out becomes a workdir like that of launch/train.py, with one tower named coords, and
fidelity.json: cosine and R2 to the teacher on places seen and held out, R2 by distance
to the nearest training place; domain.npz: where the student does not extrapolate. The
same command resumes. --weights takes MobCLIP's released surrogate instead.

Exit codes: as in launch/train.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging
from ml_collections import config_flags

from launch import errors

DEFAULT = pathlib.Path(__file__).resolve().parents[1] / "configs" / "distill.py"
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "FILE.py[:arguments]", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained run.")
WEIGHTS = flags.DEFINE_string("weights", None, "MobCLIP's surrogate, a .pth file.")
OUT = flags.DEFINE_string("out", None, "Folder of the student.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the datasets; default $UNIGEO_DATA_DIR, else the user's cache.",
)


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    if not any(word.startswith(("--config=", "-config=")) for word in argv):
        argv = [argv[0], f"--config={DEFAULT}", *argv[1:]]
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        _ = CONFIG.value.name  # raises if the file could not be loaded
        if (WORKDIR.value is None) == (WEIGHTS.value is None) or OUT.value is None:
            raise ValueError(
                "--out=DIR and --workdir=DIR or --weights=FILE are required"
            )
        if pathlib.Path(WORKDIR.value or "") == pathlib.Path(OUT.value or ""):
            raise ValueError("--out: got the teacher's folder; allowed: another one")
    except errors.USAGE as error:
        errors.usage(error)
    return rest


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    from unigeo_jax import distill, surrogate, workdir
    from unigeo_jax.data import datasets

    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir())
    workdir.compilation_cache(data_dir / ".xla")
    teacher, out = pathlib.Path(WORKDIR.value or ""), pathlib.Path(OUT.value or "")
    with errors.of_training(out):
        if WEIGHTS.value:
            surrogate.write_workdir(pathlib.Path(WEIGHTS.value), out, CONFIG.value)
        else:
            distill.run(teacher, out, CONFIG.value, data_dir)


if __name__ == "__main__":
    from unigeo_jax import host

    host.settle()
    app.run(main, flags_parser=read_flags)
