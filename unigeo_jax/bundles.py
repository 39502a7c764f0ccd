# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of an exported model: where it is, its config, hashes and weights."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax import jsons

FORMAT = 1
_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"},
    **{"I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2"},
    **{"U8": "u1", "BOOL": "?"},
}


def find(path: str | pathlib.Path) -> pathlib.Path:
    """Folder of a model; raises ValueError naming the models of the package."""
    folder = pathlib.Path(path).expanduser()
    if folder.is_dir():
        return folder
    packaged = pathlib.Path(__file__).parent / "models"
    if (packaged / str(path) / "config.json").is_file():
        return packaged / str(path)
    known = sorted(p.parent.name for p in packaged.glob("*/config.json"))
    raise ValueError(
        f"model {str(path)!r}: no such folder; allowed: a folder that launch/export.py"
        f" wrote, or a model of this package: {', '.join(known) or 'none is here'}"
    )


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """config.json of a model; raises ValueError if it is none or of a later format."""
    try:
        about = jsons.read(folder / "config.json")
        version = about["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"model {folder}: config.json: {error!r}; allowed: a folder that"
            " launch/export.py wrote"
        ) from error
    if version > FORMAT:
        raise ValueError(
            f"model {folder}: format version {version}, made by unigeo_jax"
            f" {about.get('package_version')}; allowed: up to {FORMAT}; pip install"
            " --upgrade unigeo-jax"
        )
    return about


def check_hashes(
    folder: pathlib.Path, about: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Raise ValueError where a file is not the one that config.json names by hash."""
    for name in names:
        try:
            with open(folder / name, "rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"model {folder}: {name}: {error!r}") from error
        wanted = about["files"].get(name, {}).get("sha256")
        if got != wanted:
            raise ValueError(
                f"model {folder}: {name} was altered or damaged: SHA-256 {got};"
                f" allowed: {wanted}, as config.json says"
            )


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file by name, memory-mapped; raises ValueError."""
    data = np.memmap(path, np.uint8, "r")
    try:
        size = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + size].tobytes())
        body, out = data[8 + size :], {}
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                values = body[first:last].view(_DTYPES[entry["dtype"]])
                out[name] = values.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a safetensors file: {error!r}") from error
    return out


def read_domain(folder: pathlib.Path) -> tuple[np.ndarray, float]:
    """Of domain.npz: whether each 0.25 degree cell is near a training place, and km.

    Cells are bool (720, 1440), south-west first, as domains.py of training writes them.
    """
    with np.load(folder / "domain.npz", allow_pickle=False) as arrays:
        inside = np.unpackbits(arrays["inside"]).astype(bool)
        return inside.reshape(720, 1440), float(arrays["km"])


def inside(cells: np.ndarray, latlon_n2: np.ndarray) -> np.ndarray:
    """Which places lie in cells that are set: bool (n,). Longitudes within 180."""
    row_n, column_n = np.floor((latlon_n2 + np.array([90, 180])) * 4).astype(int).T
    return cells[row_n.clip(0, 719), column_n % 1440]
