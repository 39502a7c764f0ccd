# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which places are used, and which split each belongs to.

Every rule is a pure function of coordinates and a stable hash: the same place gets
the same answer on every machine, whatever else is in the table. Letters: `i` places.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

EARTH_RADIUS_KM = 6371.0088
SPLITS = ("train", "val", "test", "near")
SALT = "earth-21"


def wrap_lon(lon_i) -> np.ndarray:
    """Bring longitudes in degrees into [-180, 180)."""
    return (np.asarray(lon_i, np.float64) + 180.0) % 360.0 - 180.0


def block_ids(lat_i, lon_i, deg: int = 10) -> np.ndarray:
    """Number the block of `deg` x `deg` degrees of each place, south-west first.

    Returns int32 (i,): 360 / deg * floor((lat + 90) / deg) + floor((lon + 180) / deg).
    The north pole belongs to the northernmost row; 180 and -180 are one meridian.
    """
    lat_i, lon_i = np.asarray(lat_i, np.float64), wrap_lon(lon_i)
    row_i = np.minimum(np.floor((lat_i + 90) / deg), 180 // deg - 1)
    return (360 // deg * row_i + np.floor((lon_i + 180) / deg)).astype(np.int32)


def cell_ids(lat_i, lon_i) -> np.ndarray:
    """Number the 0.25 degree cell of each place: int64 (i,), south-west first."""
    lat_i, lon_i = np.asarray(lat_i, np.float64), wrap_lon(lon_i)
    row_i = np.minimum(np.floor((lat_i + 90) * 4), 719)
    return (row_i * 1440 + np.floor((lon_i + 180) * 4)).astype(np.int64)


def s2_cells(lat_i, lon_i, level: int) -> np.ndarray:
    """Face, i and j of the S2 cell of each place: int64 (i, 3), level 0 to 30.

    Cells of one level have areas within a factor of two of each other. Source: the
    quadratic projection of S2 (https://s2geometry.io); i and j count a face's columns
    and rows, without the order along its curve.
    """
    at_i3 = unit_vectors(lat_i, lon_i)
    axis_i = np.abs(at_i3).argmax(-1)
    row_i = np.arange(len(at_i3))
    w_i = at_i3[row_i, axis_i]
    face_i = axis_i + 3 * (w_i < 0)
    x_i, y_i, z_i = (at_i3 / w_i[:, None]).T
    sides = [(y_i, z_i), (-x_i, z_i), (-x_i, -y_i), (z_i, y_i), (z_i, -x_i)]
    sides.append((-y_i, -x_i))
    out_i3 = np.empty((len(at_i3), 3), np.int64)
    out_i3[:, 0] = face_i
    for column in range(2):
        u_i = np.choose(face_i, [side[column] for side in sides])
        root_i = 0.5 * np.sqrt(1 + 3 * np.abs(u_i))
        s_i = np.where(u_i >= 0, root_i, 1 - root_i)
        last = (1 << level) - 1
        out_i3[:, 1 + column] = np.clip(np.floor(s_i * (last + 1)), 0, last)
    return out_i3


def hash64(texts) -> np.ndarray:
    """Hash strings: the first 8 bytes, big-endian, of SHA-256, as uint64 (i,)."""
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def hash_places(prefix: str, lat_i, lon_i) -> np.ndarray:
    """Hash `<prefix>:<lat>,<lon>` with three decimals for each place: uint64 (i,)."""
    pairs = zip(np.asarray(lat_i), np.asarray(lon_i), strict=True)
    return hash64(f"{prefix}:{lat:.3f},{lon:.3f}" for lat, lon in pairs)


def split_of_block(block: int, salt: str = SALT) -> str:
    """Name the split of a whole block: 0-7 train, 8 val, 9 test of a hash mod 10."""
    digit = int(hash64([f"{salt}:{block}"])[0]) % 10
    return "train" if digit < 8 else ("val" if digit == 8 else "test")


def assign(
    lat_i, lon_i, near: int = 2000, deg: int = 10, salt: str = SALT
) -> np.ndarray:
    """Give every place its split: an array of names (i,).

    Blocks of `deg` degrees are held out whole, by `split_of_block`. `near` places are
    held out one by one *inside* training blocks: those whose hash of
    `earth-near:<lat>,<lon>` is smallest. They show what the model knows between its
    training places; val and test show what it knows beyond them.
    """
    block_i = block_ids(lat_i, lon_i, deg)
    blocks, inverse_i = np.unique(block_i, return_inverse=True)
    split_i = np.array([split_of_block(int(b), salt) for b in blocks], "<U5")[inverse_i]
    train = np.flatnonzero(split_i == "train")
    hashes = hash_places(
        "earth-near", np.asarray(lat_i)[train], np.asarray(lon_i)[train]
    )
    split_i[train[np.argsort(hashes, kind="stable")[:near]]] = "near"
    return split_i


def point_cells(lat_n: np.ndarray, lon_n: np.ndarray) -> np.ndarray:
    """One number a point, int64 (n,): nodes at one point (11 m) share it.

    Places of the same cell are never each other's negatives: nothing but their place
    in the graph could tell them apart.
    """
    at = np.round(np.stack([lat_n, lon_n], 1), 4)
    _, first, inverse = np.unique(at, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)


def plan(
    lat_n: np.ndarray,
    lon_n: np.ndarray,
    names: Sequence[Any] | np.ndarray,
    *,
    deg: int,
    near: int,
    salt: str,
) -> dict[str, np.ndarray]:
    """Rows of each split that has any, in the order of a hash of their names.

    Blocks of `deg` degrees are held out whole; see `assign`. Any prefix of a
    split is a random sample of it.
    """
    split_n = assign(lat_n, lon_n, near, deg, salt)
    order = np.argsort(hash64(f"{salt}-order:{name}" for name in names))
    found = {split: order[split_n[order] == split] for split in SPLITS}
    return {split: row_i for split, row_i in found.items() if len(row_i)}


def index(
    lat_n: np.ndarray, lon_n: np.ndarray, row_i: np.ndarray, deg: int
) -> dict[str, np.ndarray]:
    """Arrays lat, lon, cell and block of some rows: where they are, what hides them."""
    lat_i, lon_i = lat_n[row_i], lon_n[row_i]
    block_i = block_ids(lat_i, lon_i, deg)
    cell_i = point_cells(lat_n, lon_n)[row_i]
    return {"lat": lat_i, "lon": lon_i, "cell": cell_i, "block": block_i}


def unit_vectors(lat_i, lon_i) -> np.ndarray:
    """Put places on the unit sphere: float64 (i, 3)."""
    lat_i, lon_i = np.deg2rad(lat_i, dtype="f8"), np.deg2rad(lon_i, dtype="f8")
    cos_i = np.cos(lat_i)
    return np.stack([cos_i * np.cos(lon_i), cos_i * np.sin(lon_i), np.sin(lat_i)], -1)


def chord(km) -> np.ndarray:
    """Turn a great-circle distance into a straight one through the unit sphere."""
    return 2 * np.sin(np.asarray(km) / (2 * EARTH_RADIUS_KM))


def near_any(lat_i, lon_i, lat_j, lon_j, km: float) -> np.ndarray:
    """Tell which places lie within `km` of any of the points j: bool (i,)."""
    lat_i, lon_i = np.asarray(lat_i, np.float64), np.asarray(lon_i, np.float64)
    found_i = np.zeros(len(lat_i), bool)
    order, reach = np.argsort(lat_i), np.rad2deg(km / EARTH_RADIUS_KM) * 1.001
    for lat, lon in zip(lat_j, lon_j, strict=True):
        low, high = np.searchsorted(lat_i, [lat - reach, lat + reach], sorter=order)
        window = order[low:high]
        at_i = unit_vectors(lat_i[window], lon_i[window])
        found_i[window] |= at_i @ unit_vectors(lat, lon) >= 1 - chord(km) ** 2 / 2
    return found_i


def choose(
    lat_i, lon_i, place_lat, place_lon, airport_lat, airport_lon, count: int = 60_000
) -> np.ndarray:
    """Choose the places of the dataset among all anchors: sorted indices, int64.

    Kept first: anchors whose 0.25 degree cell holds a named place, and those within
    50 km of a flight airport. The rest is a draw without replacement with weight
    cos(lat) (the smallest -ln(u) / cos(lat), u a hash), so that the far north, where
    a grid of degrees is dense, does not dominate.
    """
    cell_i = cell_ids(lat_i, lon_i)
    kept_i = np.isin(cell_i, cell_ids(place_lat, place_lon))
    kept_i |= near_any(lat_i, lon_i, airport_lat, airport_lon, km=50)
    u_i = (hash_places("earth-1-point", lat_i, lon_i) + 0.5) / 2.0**64
    key_i = -np.log(u_i) / np.cos(np.deg2rad(lat_i, dtype="f8"))
    key_i[kept_i] = -1.0
    return np.sort(np.argsort(key_i, kind="stable")[:count])
