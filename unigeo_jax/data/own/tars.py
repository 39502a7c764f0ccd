# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Members of others' tar archives, read in a row; nothing is written anywhere.

All that an archive unpacks to is counted, be it read or passed over, and what its
headers claim is bounded before memory is taken for it.
"""

import gzip
import pathlib
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

from unigeo_jax.data.own import photos, problems

MOST_RATIO = 200  # of an archive's content to its size, and SPARE bytes
SPARE = 100_000
MOST_HEADER = 1_000_000  # bytes between the content of two files: names, attributes
PIECE = 2**20


class _Counted:
    """A stream that ends in a ValueError after `most` bytes.

    header: bytes that may be read yet before the next file's content, which tarfile
    keeps in memory whatever they claim to be; None while content is read.
    """

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._left = file, most
        self.header: int | None = MOST_HEADER

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(
                f"unpacks to more than {MOST_RATIO} times the archive;"
                " allowed: archives of images, which hardly compress"
            )
        if self.header is not None:
            self.header -= len(data)
            if self.header < 0:
                raise ValueError(f"a header of more than {MOST_HEADER} bytes")
        return data


def members(
    path: pathlib.Path, found: problems.Problems
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every member that may be read, of a .tar or .tar.gz.

    Members that are no plain file, lie outside of the archive's root or are larger than
    photos.MAX_BYTES are passed over and told to `found`.

    Raises:
      ValueError: a damaged archive, or one that unpacks to far more than it is.
    """
    try:
        with path.open("rb") as packed:
            zipped = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            file: Any = gzip.GzipFile(fileobj=packed) if zipped else packed
            most = MOST_RATIO * (path.stat().st_size + SPARE)
            stream = _Counted(file, most)
            opened: Any = {"fileobj": stream, "mode": "r|"}
            with tarfile.open(**opened) as archive:
                yield from _files(path, archive, stream, found)
    except (
        *(tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile),
        # A header that follows a header is read by recursion.
        *(RecursionError, OverflowError, ValueError),
    ) as error:
        raise ValueError(f"{path}: {error}") from error


def _files(
    path: pathlib.Path,
    archive: tarfile.TarFile,
    stream: _Counted,
    found: problems.Problems,
) -> Iterator[tuple[str, bytes]]:
    number = -1
    while (member := archive.next()) is not None:
        archive.members = []  # pyright: ignore (it would keep all)
        number += 1
        if member.isdir():
            continue
        why = _refusal(member)
        if why:
            found.add(number, path.name, why, problems.MASKED, member.name)
        file = archive.extractfile(member) if member.isreg() else None
        if file is not None:
            stream.header = None
            if why:
                while file.read(PIECE):
                    pass
            else:
                yield member.name, file.read()
            stream.header = MOST_HEADER


def _refusal(member: tarfile.TarInfo) -> str:
    """Why a member is not taken, "" if it is."""
    parts = pathlib.PurePosixPath(member.name).parts
    if not member.isreg():
        return "member that is a link or a device"
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        return "member outside of the archive"
    if not 0 <= member.size <= photos.MAX_BYTES:
        return f"member of more than {photos.MAX_BYTES} bytes"
    return ""
