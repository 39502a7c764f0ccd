# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a config, resumes it, and prints the retrieval table at its end.

python launch/train.py --config=FILE.py[:arguments] [--workdir=DIR] [--config.KEY=VALUE]

A Python config is code: run those you trust. `--config_json=FILE` takes data only.

Exit codes: 0 done, 1 error, 2 usage, 3 too many bad records, 4 loss not finite, 5 hang
(this process or another one is stuck or dead), 75 stopped by a signal, saved. After 5
and 75 run it again.
"""

import os
import pathlib
import sys
import time
import traceback
from typing import Any

# Configs import each other as `configs.<name>`, from wherever the command is run.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging
from ml_collections import config_flags

from launch import errors, shared_config

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "FILE.py[:arguments]", lock_config=True
)
CONFIG_JSON = flags.DEFINE_string(
    "config_json", None, "Instead: a config as data, e.g. config.json of others' run."
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
HEARTBEAT_S = flags.DEFINE_integer(
    "heartbeat_s",
    60,
    "A process silent for so many seconds is dead, and the others end.",
    lower_bound=1,
)


JOIN_S = flags.DEFINE_integer(
    "join_s", 300, "So many seconds each process waits for all to join.", lower_bound=1
)


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    # Configs that describe a dataset of one's own look for it here, while flags are
    # still being read.
    for given, value in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, text = given.partition("=")
        if flag.lstrip("-") == "data_dir" and flag != "data_dir":
            os.environ["UNIGEO_DATA_DIR"] = text if equals else value
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        _ = config().name  # raises if the file could not be loaded
        for name, value in (("workdir", WORKDIR.value), ("data_dir", DATA_DIR.value)):
            if "://" in (value or ""):
                raise ValueError(
                    f"--{name}: got {value}; allowed: a folder; mount a bucket"
                    " (gcsfuse) and give its folder"
                )
    except errors.USAGE as error:
        errors.usage(error)
    return rest


def config() -> Any:
    """The config that the command line names.

    Raises:
      ValueError: none, or two.
    """
    if (CONFIG.value is None) == (CONFIG_JSON.value is None):
        raise ValueError(
            "--config=FILE.py is required: try configs/five_modal.py; for a config that"
            " is data: --config_json=FILE instead"
        )
    if CONFIG_JSON.value is not None:
        return shared_config.read(pathlib.Path(CONFIG_JSON.value))
    return CONFIG.value


def several() -> bool:
    """Whether this job has started and has more than one process."""
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def report(error: Exception, folder: pathlib.Path) -> int:
    """Prints what stopped the run in `folder` and returns the exit code."""
    import jax

    from unigeo_jax import watchdog

    code = errors.said(error, folder)
    if code is not None:
        return code
    traceback.print_exception(error)
    if not several():
        return 1
    ours = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")
    of_devices = isinstance(error, jax.errors.JaxRuntimeError)
    if not of_devices or str(error).startswith(ours):
        return 1
    return errors.fail(
        f"process {jax.process_index()} of {jax.process_count()}: the devices stopped"
        f" working together, most likely because another process died: see which log"
        f" ends first. The same command goes on from the newest checkpoint."
        f" ({str(error).splitlines()[0]})",
        watchdog.HANG,
    )


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    import jax

    from unigeo_jax import sharding, train, watchdog, workdir
    from unigeo_jax.data import datasets

    folder = pathlib.Path(WORKDIR.value or f"runs/{config().name}")
    data_dir = pathlib.Path(DATA_DIR.value or datasets.default_data_dir())
    workdir.compilation_cache(data_dir / ".xla")
    try:
        sharding.start_processes(
            COORDINATOR.value,
            NUM_PROCESSES.value,
            PROCESS_ID.value,
            AUTO.value,
            HEARTBEAT_S.value,
            JOIN_S.value,
        )
        if several():
            workdir.say(
                f"{jax.process_count()} processes; one that is dead ends the others"
                f" within {HEARTBEAT_S.value} s"
            )
        train.fit(config(), folder, data_dir)
    except workdir.Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(75)
    except FloatingPointError as error:
        sys.exit(errors.fail(error, 4))
    except Exception as error:
        code = report(error, folder)
        if not several():
            sys.exit(code)
        # The interpreter's own way out waits for all processes, and they for this one.
        # The end of process 0 ends the others: first they say what they have to say.
        time.sleep(2 if jax.process_index() == 0 else 0)
        watchdog.end(code)


if __name__ == "__main__":
    from unigeo_jax import host

    host.settle()
    app.run(main, flags_parser=read_flags)
