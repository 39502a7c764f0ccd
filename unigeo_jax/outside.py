# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged files: what libraries raise of them as one error, and what they let pass."""

import contextlib
import errno
import pathlib
import zipfile
from collections.abc import Iterator

# Of a place in a file, or of a name in it, that cannot be.
OF_FILES = (None, errno.EINVAL, errno.ENAMETOOLONG)


@contextlib.contextmanager
def refused(where: object) -> Iterator[None]:
    """Turns any error that reading a file raises into a ValueError that names it.

    Args:
      where: the file; put before a message that does not name it.

    Raises:
      ValueError: in place of every Exception but these.
      MemoryError, and OSError with a number: the system's (no such file, no right to
        it, a disk that fails), not of what the file holds (OF_FILES).
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in OF_FILES:
            raise
        if type(error) is ValueError and str(where) in str(error):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split())[:300]
        raise ValueError(f"{where}: cannot be read: {kind}{text}") from error


@contextlib.contextmanager
def zipped(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip whose members say of themselves that they fit into the file.

    Reading one makes room first for the bytes that its header tells.

    Raises:
      ValueError: a member that does not fit.
    """
    with zipfile.ZipFile(path) as archive:
        most = path.stat().st_size
        for member in archive.infolist():
            if member.compress_size > most:
                raise ValueError(
                    f"{path}: {member.filename} takes {member.compress_size} bytes;"
                    f" allowed: no more than the file's {most}"
                )
        yield archive
