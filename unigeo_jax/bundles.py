# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of an exported model: where it is, its config, hashes and weights."""

import hashlib
import io
import math
import pathlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax import jsons, outside

FORMAT = 1
_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"},
    **{"I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2"},
    **{"U8": "u1", "BOOL": "?"},
}
_PLAIN = re.compile(r"\w[\w.-]*")  # a file's name, no way out of the folder
# numpy would read much more into the name of a type.
_NUMBER = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_BROKEN = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError),
    OverflowError,
)


def find(path: str | pathlib.Path) -> pathlib.Path:
    """Folder of a model; raises ValueError naming the models of the package.

    A bare name of a model of the package is that model, whatever lies in the working
    folder: a folder of that name is given as ./NAME, or as a pathlib.Path.
    """
    packaged = pathlib.Path(__file__).parent / "models"
    known = sorted(p.parent.name for p in packaged.glob("*/config.json"))
    if path in known:
        return packaged / path
    folder = pathlib.Path(path).expanduser()
    if folder.is_dir():
        return folder
    raise ValueError(
        f"model {str(path)!r}: no such folder; allowed: a folder that launch/export.py"
        f" wrote, or a model of this package: {', '.join(known) or 'none is here'}"
    )


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """config.json of a model; raises ValueError if it is none or of a later format."""
    try:
        about = jsons.read(folder / "config.json")
        version = about["format_version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"format_version is {version!r}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(folder, repr(error)) from error
    if version > FORMAT:
        raise ValueError(
            f"model {folder}: format version {version}, made by unigeo_jax"
            f" {about.get('package_version')}; allowed: up to {FORMAT}; pip install"
            " --upgrade unigeo-jax"
        )
    try:
        wrong = _wrong(about)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _damaged(folder, repr(error)) from error
    if wrong:
        raise _damaged(folder, f"{wrong} is not as it should be")
    return about


def _damaged(folder: pathlib.Path, why: str) -> ValueError:
    return ValueError(
        f"model {folder}: config.json: {why:.200}; allowed: a folder that"
        " launch/export.py wrote"
    )


def _wrong(about: Mapping[str, Any]) -> str:
    """The first key whose value cannot be one; names of files are without a folder."""
    files, places = about["files"], about.get("places")
    scale, training = about.get("int8_scale", 1.0), about.get("training", {})
    for name, entry in files.items():
        if not (_PLAIN.fullmatch(name) and isinstance(entry["sha256"], str)):
            return f"files.{name}"
    fits = {
        "weights": about["weights"] in files,
        "places": places is None or places in files,
        "dim": _size(about["dim"]),
        "model_id": isinstance(about["model_id"], str),
        "int8_scale": isinstance(scale, float | int) and 0 < scale < float("inf"),
        "training": isinstance(training, dict),
        "left_out": isinstance(about.get("left_out", {}), dict),
        "towers": len(about["towers"]) > 0,
    }
    for name, tower in about["towers"].items():
        spec, weights = tower["input"], tower["weights"]
        leaves = [spec] if "dtype" in spec else list(spec.values())
        fits[f"towers.{name}.input"] = all(map(_leaf, leaves)) and (
            name != "coords" or spec["shape"] in ([2], [4])
        )
        fits[f"towers.{name}.dim"] = _size(tower["dim"])
        fits[f"towers.{name}.weights"] = all(isinstance(key, str) for key in weights)
        words = tower.get("vocabulary")
        fits[f"towers.{name}.vocabulary"] = words is None or words in files
        program = _PLAIN.fullmatch(tower["program"])
        fits[f"towers.{name}.program"] = program is not None
    return next((key for key, fit in fits.items() if not fit), "")


def _size(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 31


def _leaf(leaf: Mapping[str, Any]) -> bool:
    shape, known = leaf["shape"], _NUMBER.fullmatch(leaf["dtype"]) is not None
    return known and isinstance(shape, list) and all(map(_size, shape))


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
    """Arrays of a safetensors file by name, memory-mapped; raises ValueError.

    As the format demands the arrays fill the file behind its header, none overlapping.
    """
    try:
        data = np.memmap(path, np.uint8, "r")
        size = int.from_bytes(data[:8].tobytes(), "little")
        if size > len(data) - 8:
            raise ValueError(f"a header of {size} bytes")
        header = jsons.parse(data[8 : 8 + size].tobytes())
        body, out, ends = data[8 + size :], {}, []
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            (first, last), shape = entry["data_offsets"], entry["shape"]
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            whole = all(type(n) is int and n >= 0 for n in (first, last, *shape))
            if not whole or last - first != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name}: offsets {first}, {last}, shape {shape}")
            ends.append((first, last))
            out[name] = body[first:last].view(dtype).reshape(shape)
        at = [0, *(last for _, last in sorted(ends))]
        if [*(first for first, _ in sorted(ends)), len(body)] != at:
            raise ValueError("arrays overlap, leave gaps or reach beyond the file")
    except _BROKEN as error:
        raise ValueError(f"{path} is not a safetensors file: {error!r}") from error
    return out


def read_domain(folder: pathlib.Path) -> tuple[np.ndarray, float]:
    """Of domain.npz: whether each 0.25 degree cell is near a training place, and km.

    Cells are bool (720, 1440), south-west first, as domains.py of training writes them.
    Raises ValueError for another file.
    """
    path = folder / "domain.npz"
    with outside.refused(path), outside.zipped(path) as archive:
        inside = np.unpackbits(_array(archive, "inside.npy", 720 * 1440 // 8))
        km = float(_array(archive, "km.npy", 1))
        return inside.astype(bool).reshape(720, 1440), km


def _array(archive: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """A member of so many numbers; raises ValueError before more are allocated."""
    if archive.getinfo(name).file_size > 8 * count + 1024:
        raise ValueError(f"{name}: too large; allowed: {count} numbers")
    file = io.BytesIO(archive.read(name))
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name}: allowed: version 1.0 of the format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) != count or dtype.kind not in "fu":
        raise ValueError(f"{name}: {shape} of {dtype}; allowed: {count} numbers")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def inside(cells: np.ndarray, latlon_n2: np.ndarray) -> np.ndarray:
    """Which places lie in cells that are set: bool (n,). Longitudes within 180."""
    row_n, column_n = np.floor((latlon_n2 + np.array([90, 180])) * 4).astype(int).T
    return cells[row_n.clip(0, 719), column_n % 1440]


def read_places(
    folder: pathlib.Path, about: Mapping[str, Any]
) -> dict[str, np.ndarray] | None:
    """Training places, {"lat", "lon"}, float32 (n,) degrees, if the model has them.

    Raises ValueError for an altered file, or one that holds something else.
    """
    if not (name := about.get("places")):
        return None
    check_hashes(folder, about, [name])
    found = read_safetensors(folder / name)
    shapes = [found[key].shape for key in ("lat", "lon") if key in found]
    if len(shapes) < 2 or shapes[0] != shapes[1] or shapes[0] in ((), (0,)):
        raise ValueError(f"{folder / name}: no lat and lon (n,) among {list(found)}")
    return found


def sample(places: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """At most 65,536 training places, evenly through; of none 4,096 over the sphere.

    Returns float32 (n, 2), [lat, lon] in degrees.
    """
    if places is None:
        turn_n = np.arange(4096) + 0.5
        lat_n = np.rad2deg(np.arcsin(1 - turn_n / 2048))
        lon_n = turn_n * 137.50776405 % 360 - 180  # the golden angle
        return np.stack([lat_n, lon_n], 1).astype(np.float32)
    latlon_n2 = np.stack([places["lat"], places["lon"]], 1).astype(np.float32)
    return latlon_n2[:: -(-len(latlon_n2) // 65_536)]


def int8_scale(z_nd: np.ndarray) -> float:
    """What 127 stands for where vectors are stored in bytes: round(127 z / scale).

    1 for unit vectors, zeros among them or not; else 1.25 times the largest number of
    those given, which are the vectors of `sample`, in three digits, so that every
    machine finds the same.
    """
    length_n = np.linalg.norm(z_nd, axis=1)
    if np.all((np.abs(length_n - 1) < 1e-3) | (length_n == 0)):
        return 1.0
    return float(f"{1.25 * np.abs(z_nd).max():.2e}")
