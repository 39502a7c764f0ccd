# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the pod scripts share: arguments, checks of them, and running or printing lists.

Standard library only: these scripts run where nothing is installed.
"""

import argparse
import math
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Exit codes of launch/train.py after which the same command should run again: hang,
# saved after a signal, and JAX's own abort when a process fell silent.
AGAIN = (5, 75, 134)
MAX_RESTARTS = 20
# Cloud's name and cores a chip in that name, by generation.
TPU = {
    "v2": ("v2", 2),
    "v3": ("v3", 2),
    "v4": ("v4", 2),
    "v5e": ("v5litepod", 1),
    "v5p": ("v5p", 2),
    "v6e": ("v6e", 1),
}


class Failed(Exception):
    """A command failed; `code` is its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line; exit code 2."""

    def error(self, message: str) -> Any:
        self.exit(2, f"error: {message}\n")


class Shell(NamedTuple):
    """Runs commands given as lists; with `dry_run` it prints them and runs none."""

    dry_run: bool

    def run(self, command: list[str]) -> None:
        """Runs one command in the foreground.

        Raises:
          Failed: it could not be started or did not end with 0.
        """
        self.output(command, capture=False)

    def output(self, command: list[str], capture: bool = True) -> str:
        """Runs one command and returns what it printed; "" in a dry run.

        Raises:
          Failed: as in `run`; the message ends with the command's own last line.
        """
        if self.dry_run:
            print(shlex.join(command))
            return ""
        try:
            done = subprocess.run(command, capture_output=capture, text=True)
        except FileNotFoundError as error:
            raise Failed(f"{command[0]}: not found on PATH", 127) from error
        if done.returncode:
            said = (done.stderr or "").strip().splitlines()[-1:]
            raise Failed(
                ": ".join([f"exit code {done.returncode} of {head(command)}", *said]),
                done.returncode if done.returncode > 0 else 128 - done.returncode,
            )
        return done.stdout or ""


def head(command: list[str]) -> str:
    """A command's words up to its first flag, for messages."""
    first = next((i for i, x in enumerate(command) if x.startswith("-")), None)
    return shlex.join(command[:first])


def main(build: Callable[[], argparse.ArgumentParser]) -> None:
    """Parses the command line, runs the subcommand, exits with one line per error.

    What stands behind `--` goes to launch/train.py unchanged, as `args.rest`.
    """
    own, rest = split(sys.argv[1:])
    args = build().parse_args(own)
    args.rest = rest
    try:
        args.act(args, Shell(args.dry_run))
    except ValueError as error:
        sys.exit(_fail(error, 2))
    except Failed as error:
        sys.exit(_fail(error, error.code))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)
    return code


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before and behind `--`."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def job(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the training run."""
    parser.add_argument("--config", required=True, metavar="FILE[:ARGS]")
    parser.add_argument(
        "--workdir",
        required=True,
        help="gs://BUCKET/FOLDER, mounted by gcsfuse, or a folder all hosts share",
    )


def train(python: str, config: str, folder: str, rest: list[str]) -> list[str]:
    """The training command, to be run in the source tree of every host."""
    flags = [f"--config={config}", f"--workdir={folder}", "--distributed"]
    return [python, "launch/train.py", *flags, *rest]


def accelerator(flag: str, text: str) -> str:
    """Cloud's accelerator type of `v5litepod-16` or of `v5e:4x4`.

    Raises:
      ValueError: neither form, or an unknown generation.
    """
    kinds = {name: cores for name, cores in TPU.values()}
    found = re.fullmatch(r"(\w+)-([1-9]\d*)", text)
    if found and found[1] in kinds and int(found[2]) % kinds[found[1]] == 0:
        return text
    found = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*){1,2})", text)
    if found and found[1] in TPU:
        name, cores = TPU[found[1]]
        return f"{name}-{math.prod(map(int, found[2].split('x'))) * cores}"
    raise ValueError(
        f"{flag}: got {text!r}; allowed: a type such as v5litepod-16 of"
        f" {', '.join(kinds)}, or a topology such as v5e:4x4 of {', '.join(TPU)}"
    )


def place(workdir: str, mount: str) -> tuple[str | None, str]:
    """Bucket to mount, or None, and the folder that launch/train.py is given.

    It writes ordinary files: a bucket has to be mounted, by gcsfuse at `mount`.

    Raises:
      ValueError: neither gs://BUCKET/FOLDER nor an absolute folder.
    """
    if found := re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]+)/+(.*[^/])/*", workdir):
        return found[1], f"{mount}/{found[2]}"
    if workdir.startswith("/") and "://" not in workdir:
        return None, workdir
    raise ValueError(
        f"--workdir: got {workdir!r}; allowed: gs://BUCKET/FOLDER, or an absolute"
        " folder that all hosts share"
    )


def check_name(flag: str, text: str) -> None:
    """Raises ValueError unless `text` is a name that the cloud takes."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", text):
        raise ValueError(
            f"{flag}: got {text!r}; allowed: up to 40 of a-z, 0-9 and -, a letter first"
        )


def check_count(flag: str, count: int, least: int = 1) -> None:
    """Raises ValueError if there are too few."""
    if count < least:
        raise ValueError(f"{flag}: got {count}; allowed: {least} or more")


def check_zone(text: str) -> None:
    """Raises ValueError unless `text` looks like us-west4-a."""
    if not re.fullmatch(r"[a-z]+-[a-z]+\d+-[a-z]", text):
        raise ValueError(f"--zone: got {text!r}; allowed: a zone such as us-west4-a")
