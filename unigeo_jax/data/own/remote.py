# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and images behind an address (s3://, gs://, https://), through fsspec.

Rasters need nothing of this: rasterio opens such addresses itself.
"""

import hashlib
import os
import pathlib
import posixpath

from unigeo_jax import extras


def is_remote(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def fetch(address: str, folder: pathlib.Path) -> pathlib.Path:
    """Copy a table to `folder` and return where it lies."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / posixpath.basename(address)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with (
        extras.need("fsspec", "addresses").open(address, "rb") as source,
        open(scratch, "wb") as file,
    ):
        while data := source.read(1 << 20):
            file.write(data)
    os.replace(scratch, path)
    return path


def parent(address: str) -> str:
    """The folder of an address."""
    return address.rsplit("/", 1)[0]


def below(root: str, path: str) -> str:
    """Address of `path` below `root`; ValueError for one that is not."""
    parts = path.replace("\\", "/").split("/")
    if not path or path.startswith("/") or ".." in parts or is_remote(path):
        raise ValueError(f"{path!r} is not below {root}")
    return f"{root.rstrip('/')}/{path}"


def read(address: str, most: int) -> bytes:
    """Bytes of a file, at most one more than `most`.

    Raises:
      FileNotFoundError: it is not there. Whatever else goes wrong on the way ends the
        build, which then goes on where it was: an image is not bad for a bad network.
    """
    with extras.need("fsspec", "addresses").open(address, "rb") as file:
        return file.read(most + 1)


def fingerprint(path: str) -> str:
    """Tell files apart without reading all of a large one: size and three parts."""
    if not os.path.isfile(path):  # a VRT's parts, an address: only its name is known
        return path
    size, part = os.path.getsize(path), 1 << 20
    hashed = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for at in (0, size // 2, max(0, size - part)):
            file.seek(at)
            hashed.update(file.read(part))
    return hashed.hexdigest()
