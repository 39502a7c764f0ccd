# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors out of a `.pth` file without PyTorch and without running what is in it.

A `.pth` file is a zip of raw storages and a pickle that says which tensor lies where.
`read` walks the opcodes of that pickle itself and knows only what a plain state
dictionary needs, so no code of the file can run.
"""

import math
import pathlib
import pickletools
import zipfile
from typing import Any

import numpy as np

from unigeo_jax import outside

REBUILD, ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
DTYPES = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
}
_CONSTANTS = (
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINFLOAT",
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = ("PROTO", "FRAME", "STOP")


class _Name(str):
    """A name that the pickle refers to; on the allow-list, or it was refused."""


def read(path: pathlib.Path, key: str = "") -> dict[str, np.ndarray]:
    """Reads a state dictionary saved by torch.save in its zip format.

    key: of the dictionary of tensors, where the file holds one of several things.

    Raises:
      ValueError: not such a file, its pickle asks for anything but dense tensors of
        DTYPES and numbers in dictionaries with text keys, or a tensor holds NaN or Inf.
    """
    try:
        with outside.zipped(path) as archive:
            names = archive.namelist()
            found = [name for name in names if name.endswith("/data.pkl")]
            if len(found) != 1:
                raise ValueError(f"{path}: got {len(found)} data.pkl; allowed: one")
            for member in archive.infolist():  # torch.save never compresses
                if member.file_size > member.compress_size:
                    raise ValueError(
                        f"{path}: {member.filename} unpacks to {member.file_size}"
                        f" bytes; allowed: members that are stored as they are"
                    )
            root = found[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in names and archive.read(order) != b"little":
                raise ValueError(f"{path}: allowed: little-endian files")
            return _Reader(archive, root, path).run(archive.read(found[0]), key)
    except (ValueError, MemoryError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: no readable .pth of tensors: {error!r}") from error
    except Exception as error:  # of a pickle that is none: whatever comes
        raise ValueError(f"{path}: no readable .pth of tensors: {error!r}") from error


class _Reader:
    """A stack machine for the few opcodes of a state dictionary."""

    def __init__(self, archive: zipfile.ZipFile, root: str, path: pathlib.Path) -> None:
        self._archive, self._root, self._path = archive, root, path
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes, key: str) -> dict[str, np.ndarray]:
        for opcode, argument, _ in pickletools.genops(data):
            self._do(opcode.name, argument)
        state = self._stack.pop()
        if key:
            if not isinstance(state, dict) or key not in state:
                raise ValueError(f"{self._path}: allowed: a dictionary with {key!r}")
            state = state[key]
        if not isinstance(state, dict) or not all(
            isinstance(k, str) and isinstance(v, np.ndarray) for k, v in state.items()
        ):
            raise ValueError(f"{self._path}: allowed: a dictionary of tensors")
        for name, tensor in state.items():
            if not np.isfinite(tensor).all():
                raise ValueError(
                    f"{self._path}: {name}: holds NaN or Inf; allowed: finite numbers"
                )
        return state

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in ("NEWTRUE", "NEWFALSE", "NONE"):
            stack.append({"NEWTRUE": True, "NEWFALSE": False, "NONE": None}[name])
        elif name == "GLOBAL" and argument in (REBUILD, ORDERED, *DTYPES):
            stack.append(_Name(argument))
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({} if name == "EMPTY_DICT" else ())
        elif name == "TUPLE":
            stack.append(self._since_mark())
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else self._last_two()
            self._set(stack[-1], items)
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._reduce(function, arguments))
        elif name == "BUILD":  # attributes of an OrderedDict: _metadata, not needed
            stack.pop()
        elif name not in _IGNORED:
            raise ValueError(
                f"{self._path}: pickle asks for {name} {argument!r}, refused"
            )

    def _since_mark(self) -> tuple:
        start = self._marks.pop()
        items = tuple(self._stack[start:])
        del self._stack[start:]
        return items

    def _last_two(self) -> tuple:
        items = tuple(self._stack[-2:])
        del self._stack[-2:]
        return items

    def _set(self, into: Any, items: tuple) -> None:
        if not isinstance(into, dict):
            raise ValueError(
                f"{self._path}: pickle sets items of {type(into)}, refused"
            )
        into.update(zip(items[::2], items[1::2], strict=True))

    def _storage(self, identity: Any) -> np.ndarray:
        kind, storage, key, _, count = identity
        if kind != "storage" or storage not in DTYPES or not str(key).isalnum():
            raise ValueError(f"{self._path}: storage {identity!r}, refused")
        data = self._archive.read(f"{self._root}data/{key}")
        return np.frombuffer(data, DTYPES[str(storage)], count)

    def _reduce(self, function: Any, arguments: tuple) -> Any:
        if isinstance(function, _Name) and function == ORDERED and arguments == ():
            return {}
        if not isinstance(function, _Name) or function != REBUILD:
            raise ValueError(f"{self._path}: pickle calls {function!r}, refused")
        storage, offset, shape, strides = arguments[:4]
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if (
            offset < 0
            or min(strides, default=0) < 0
            or (min(shape, default=1) > 0 and last >= len(storage))
            or math.prod(shape) > len(storage)
            or min(shape, default=1) < 0
        ):
            raise ValueError(f"{self._path}: tensor {shape} beyond its storage")
        steps = [stride * storage.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
        return view.copy()
