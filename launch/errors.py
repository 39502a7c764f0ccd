# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How commands end that cannot go on: one line on standard error and an exit code."""

import contextlib
import sys
from collections.abc import Iterator
from typing import NoReturn

from absl import flags

# What a wrong command line, config file or config key raises while flags are read.
USAGE = (AttributeError, KeyError, flags.Error, ValueError, OSError)


def fail(error: object, code: int) -> int:
    """Prints the error and returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return code


def usage(error: Exception) -> NoReturn:
    """Ends with exit code 2 and what was wrong with the command line."""
    text = str(error).strip()
    if isinstance(error, (AttributeError, KeyError)):
        text = text.replace("\\n", "; ").replace("\\'", "").strip("'")
        text = f"unknown config key {text}"
    elif "Traceback" in text:  # of a config file, quoted: its last line says it
        text = text.splitlines()[-1]
    sys.exit(fail(text, 2))


def no_arguments(argv: list[str]) -> None:
    """Ends with exit code 2 if anything but flags was given."""
    if len(argv) > 1:
        sys.exit(fail(f"unexpected arguments: {' '.join(argv[1:])}", 2))


def said(error: Exception, folder: object) -> int | None:
    """Prints an error that speaks for itself: 4 not finite, 3 too many bad, 1 other.

    That of a file already open, as of a disk that is full, names none: `folder`, where
    the command writes, is said in its place. Returns None, and prints nothing, for an
    error that needs its traceback.
    """
    import jax

    from unigeo_jax.data import datasets

    if isinstance(error, FloatingPointError):
        return fail(error, 4)
    if isinstance(error, datasets.TooManyBad):
        return fail(error, 3)
    expected = isinstance(error, ValueError | OSError)
    if expected and not isinstance(error, jax.errors.JAXTypeError):
        unnamed = isinstance(error, OSError) and error.errno and not error.filename
        return fail(f"{folder}: {error}" if unnamed else error, 1)
    return None


@contextlib.contextmanager
def of_training(folder: object) -> Iterator[None]:
    """Ends a command that writes to `folder` with the exit codes of launch/train.py.

    In one process.
    """
    from unigeo_jax import workdir

    try:
        yield
    except workdir.Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(75)
    except Exception as error:
        code = said(error, folder)
        if code is None:
            raise
        sys.exit(code)
