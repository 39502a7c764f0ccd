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


def said(error: Exception) -> int | None:
    """Prints an error that speaks for itself: 4 not finite, 3 too many bad, 1 other.

    Returns None, and prints nothing, for one that needs its traceback.
    """
    import jax

    from unigeo_jax.data import datasets

    if isinstance(error, FloatingPointError):
        return fail(error, 4)
    if isinstance(error, datasets.TooManyBad):
        return fail(error, 3)
    expected = isinstance(error, ValueError | OSError)
    if expected and not isinstance(error, jax.errors.JAXTypeError):
        return fail(error, 1)
    return None


@contextlib.contextmanager
def of_training() -> Iterator[None]:
    """Ends the command with the exit codes of launch/train.py, in one process."""
    from unigeo_jax import workdir

    try:
        yield
    except workdir.Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(75)
    except Exception as error:
        code = said(error)
        if code is None:
            raise
        sys.exit(code)
