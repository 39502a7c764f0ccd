# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a config, resumes it, and prints the retrieval table at its end.

python launch/train.py --config=FILE.py[:arguments] [--workdir=DIR] [--config.KEY=VALUE]

Exit codes: 0 done, 1 error, 2 usage, 4 loss not finite, 75 stopped by a signal, saved.
"""

import pathlib
import sys

# Configs import each other as `configs.<name>`, from wherever the command is run.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "FILE.py[:arguments]", lock_config=True
)
AUTO = flags.DEFINE_bool(
    "distributed", False, "Several processes that find each other: TPU pods, SLURM."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; default runs/<config>."
)
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the datasets; default $UNIGEO_DATA_DIR, else the user's cache.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several processes."
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the job, with --coordinator."
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, with --coordinator."
)


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        if CONFIG.value is None:
            raise ValueError("--config=FILE.py is required: try configs/five_modal.py")
        _ = CONFIG.value.name  # raises if the file could not be loaded
    except (AttributeError, KeyError) as error:
        text = str(error).replace("\\n", "; ").replace("\\'", "").strip("'")
        sys.exit(fail(f"unknown config key {text}", 2))
    except (flags.Error, ValueError, OSError) as error:
        # What a config file raises comes as a quoted traceback; its last line says it.
        text = str(error).strip()
        sys.exit(fail(text.splitlines()[-1] if "Traceback" in text else text, 2))
    return rest


def fail(error: object, code: int) -> int:
    """Prints the error and returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return code


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    import jax

    from unigeo_jax import sharding, train, workdir
    from unigeo_jax.data import datasets

    folder = pathlib.Path(WORKDIR.value or f"runs/{CONFIG.value.name}")
    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir())
    workdir.compilation_cache(data_dir / ".xla")
    try:
        sharding.start_processes(
            COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, AUTO.value
        )
        train.fit(CONFIG.value, folder, data_dir)
    except workdir.Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(75)
    except FloatingPointError as error:
        sys.exit(fail(error, 4))
    except (ValueError, OSError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        sys.exit(fail(error, 1))


if __name__ == "__main__":
    app.run(main, flags_parser=read_flags)
