# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights files, read array by array: npz and safetensors, single or sharded.

Nothing in a file is ever executed: no pickle, no torch.load. Only names, shapes and
dtypes are read at first; an array is read when it is asked for and not kept.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from unigeo_jax import jsons, outside

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
ALLOWED = (
    "a .npz of big_vision, a .safetensors file, a .safetensors.index.json, or a folder"
    " that holds one of them"
)
# Larger arrays are read in pieces of so many bytes: what a piece is copied from is
# given back before the next one.
PIECE_BYTES = 2**26
Shape = tuple[int, ...]
_SAFETENSORS_FLOATS = ("F64", "F32", "F16", "BF16")


class Weights(NamedTuple):
    """A weights file: `shapes` by key, `read` one array as float32.

    about: what config.json beside the file says, {} without one.
    pieces: key -> (rows, values) that together make the array.
    """

    path: pathlib.Path
    shapes: dict[str, Shape]
    about: dict[str, Any]
    pieces: Callable[[str], Iterator[tuple[slice, np.ndarray]]]

    def read(self, key: str) -> np.ndarray:
        """Return one whole array, float32.

        Raises:
          ValueError: the file is damaged where this array stands, or a value is not
            finite.
        """
        out = np.empty(self.shapes[key], np.float32)
        for rows, values in self.pieces(key):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"weights {self.path}: {key}: holds NaN or Inf; allowed: finite"
                    " numbers"
                )
            if out.ndim:
                out[rows] = values
            else:
                out[()] = values
        return out


def open_weights(path: str | pathlib.Path) -> Weights:
    """Open a weights file or a folder that holds one; reads names and shapes only.

    Raises:
      ValueError: no such file, another kind of file (pickled ones are named as such),
        damaged, truncated, or holding something else than arrays of floats.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise ValueError(f"weights {path}: no such file; allowed: {ALLOWED}")
    if path.suffix in PICKLED:
        raise ValueError(
            f"weights {path}: {path.suffix} files can hold code and are never opened;"
            f" allowed: {ALLOWED}"
        )
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".safetensors":
        return _safetensors(path, [path])
    if path.name.endswith(".safetensors.index.json"):
        return _safetensors(path, _shards(path))
    raise ValueError(f"weights {path}: unknown kind of file; allowed: {ALLOWED}")


def _in_folder(folder: pathlib.Path) -> pathlib.Path:
    found = sorted(folder.glob("*.safetensors.index.json"))
    found = found or sorted([*folder.glob("*.safetensors"), *folder.glob("*.npz")])
    if len(found) != 1:
        names = (
            ", ".join(p.name for p in found or sorted(folder.iterdir())) or "nothing"
        )
        raise ValueError(
            f"weights {folder}: the folder holds {names};"
            " allowed: exactly one .npz, .safetensors or .safetensors.index.json"
        )
    return found[0]


def _about(path: pathlib.Path) -> dict[str, Any]:
    """config.json beside a file of safetensors."""
    beside = path.parent / "config.json"
    if not beside.is_file():
        return {}
    try:
        about = jsons.read(beside)
    except ValueError as error:
        raise ValueError(f"weights {path}: {beside.name}: {error}") from error
    return about if isinstance(about, dict) else {}


def _shards(index: pathlib.Path) -> list[pathlib.Path]:
    try:
        table = jsons.read(index)["weight_map"]
        names = sorted({str(name) for name in table.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"weights {index}: not an index of safetensors: {error!r}"
        ) from error
    missing = [n for n in names if not (index.parent / n).is_file()]
    outside = [n for n in names if pathlib.PurePath(n).name != n]
    if missing or outside:
        raise ValueError(
            f"weights {index}: files of the index are not beside it:"
            f" {', '.join(outside or missing)}"
        )
    return [index.parent / name for name in names]


def _safetensors(path: pathlib.Path, parts: list[pathlib.Path]) -> Weights:
    shapes: dict[str, Shape] = {}
    where: dict[str, pathlib.Path] = {}
    for file in parts:
        with _open_safetensors(file) as opened:
            for key in opened.keys():  # noqa: SIM118 (no mapping)
                part = opened.get_slice(key)
                if part.get_dtype() in _SAFETENSORS_FLOATS:
                    shapes[key], where[key] = tuple(part.get_shape()), file
                elif not key.endswith("position_ids"):  # a counter, no weight
                    raise ValueError(
                        f"weights {file}: {key} is of {part.get_dtype()};"
                        f" allowed: {', '.join(_SAFETENSORS_FLOATS)}"
                    )

    def pieces(key: str) -> Iterator[tuple[slice, np.ndarray]]:
        shape = shapes[key]
        rows = shape[0] if shape else 1
        step = max(rows * PIECE_BYTES // max(4 * int(np.prod(shape)), 1), 1)
        for first in range(0, rows, step):
            # The file is mapped; closing it gives back the memory of what was read.
            with _open_safetensors(where[key]) as opened:
                if step >= rows:
                    yield slice(None), opened.get_tensor(key)
                else:
                    part = slice(first, min(first + step, rows))
                    yield part, opened.get_slice(key)[part]

    return Weights(path, shapes, _about(path), pieces)


def _open_safetensors(file: pathlib.Path) -> Any:
    try:
        return safetensors.safe_open(str(file), framework="np")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"weights {file}: damaged, truncated or no safetensors: {error}"
        ) from error


def _npz(path: pathlib.Path) -> Weights:
    try:
        with outside.zipped(path) as archive:
            shapes = dict(_member(path, archive, one) for one in archive.infolist())
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"weights {path}: damaged, truncated or no npz: {error}"
        ) from error

    def pieces(key: str) -> Iterator[tuple[slice, np.ndarray]]:
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(f"{key}.npy") as stream,
            ):
                yield from _npy_rows(stream)
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
            raise ValueError(f"weights {path}: {key}: {error}") from error

    return Weights(path, shapes, {}, pieces)


def _member(
    path: pathlib.Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> tuple[str, Shape]:
    """Name and shape of one array of an npz; refuses what is no array of floats."""
    if not member.filename.endswith(".npy"):
        raise ValueError(
            f"weights {path}: {member.filename} is no array, so this is no npz of"
            f" weights; allowed: {ALLOWED}"
        )
    key = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        try:
            shape, _, dtype = _npy_header(stream)
        except MemoryError:
            raise
        except Exception as error:  # numpy lets Python's tokenizer read it
            raise ValueError(f"weights {path}: {key}: {error}") from error
        size = stream.tell() + int(np.prod(shape)) * dtype.itemsize
    # |V2: bfloat16 as numpy saves it.
    if dtype.kind != "f" and (dtype.str != "|V2" or dtype.names):
        raise ValueError(
            f"weights {path}: {key} is of {dtype}, which is never read;"
            " allowed: float64, float32, float16, bfloat16"
        )
    if size != member.file_size:
        raise ValueError(
            f"weights {path}: {key}: {member.file_size} bytes stand where"
            f" {shape} of {dtype} needs {size}"
        )
    return key, shape


def _npy_rows(stream: Any) -> Iterator[tuple[slice, np.ndarray]]:
    shape, fortran, dtype = _npy_header(stream)
    rows = shape[0] if shape and not fortran else 1
    each = int(np.prod(shape)) * dtype.itemsize // max(rows, 1)
    step = max(PIECE_BYTES // max(each, 1), 1)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        data = stream.read((last - first) * each)
        if len(data) != (last - first) * each:
            raise EOFError("the array ends too soon")
        values = np.frombuffer(data, dtype)
        if dtype.str == "|V2":
            values = values.view(ml_dtypes.bfloat16)
        if fortran or not shape:
            yield slice(None), values.reshape(shape, order="F")
        else:
            yield slice(first, last), values.reshape(last - first, *shape[1:])
    if stream.read(1):  # reading to the end is what checks the checksum
        raise EOFError("the array does not end where it should")


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis runs fastest, dtype; unpickles nothing."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"npy format {version}; allowed: 1.0, 2.0")
