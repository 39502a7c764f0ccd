# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What libraries raise of a damaged file, as the one error that commands tell."""

import contextlib
import errno
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
