# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which rows are tested together: random, spatially blocked and leave-region-out folds.

Every row is tested once, in the fold of its number. Inside the training part of each
fold lies an inner split of the same kind, by which a probe chooses its penalty without
a look at the test rows. Letters: `n` rows of a task, `k` folds.

Random folds reward interpolation: the neighbour of a test row is in the training part.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.spatial
from numpy.typing import ArrayLike

from unigeo_jax.data import splits
from unigeo_jax.evals import whole

KINDS = ("random", "blocked", "region")


class Folds(NamedTuple):
    """A split of n rows.

    fold_n: int8 (n,), the fold in which a row is tested.
    inner_kn: int8 (k, n), the inner fold of each training row of fold k; -1 where the
      row is tested in k, or lies in the buffer around its test rows.
    """

    kind: str
    seed: int
    fold_n: np.ndarray
    inner_kn: np.ndarray

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (training rows, test rows) of each fold, as row numbers."""
        for k, inner_n in enumerate(self.inner_kn):
            yield np.flatnonzero(inner_n >= 0), np.flatnonzero(self.fold_n == k)


def make(
    kind: str,
    lat: ArrayLike,
    lon: ArrayLike,
    *,
    seed: int,
    count: int = 5,
    inner: int = 3,
    block_deg: float = 10.0,
    group: ArrayLike | None = None,
    buffer_km: float = 0.0,
) -> Folds:
    """Deals rows, whole squares of `block_deg` degrees, or whole groups into folds.

    Args:
      kind: "random", "blocked" (squares of floor(lat / block_deg), floor(lon /
        block_deg)) or "region" (rows of equal `group` stay together; as many folds as
        groups where there are fewer than `count`).
      inner: folds of the inner split, fewer where a training part has fewer squares.
      buffer_km: training rows so near to a test row are dropped, and only there.

    Raises:
      ValueError: fewer rows, squares or groups than the folds need.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    unit_n = _units(kind, lat, lon, block_deg, group)
    units = len(np.unique(unit_n))
    what = {"random": "rows", "blocked": f"squares of {block_deg:g} degrees"}
    if kind == "region":
        count = min(count, units)
    if units < max(count, 3):
        raise ValueError(
            f"folds: got {units} {what.get(kind, 'groups')} in {len(lat)} rows;"
            f" allowed: {max(count, 3)} or more"
        )
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    fold_n = deal(unit_n, count, rng)
    inner_kn = np.full((count, len(lat)), -1, np.int8)
    for k in range(count):
        rows = np.flatnonzero(fold_n != k)
        if buffer_km:
            near = _near(lat, lon, rows, np.flatnonzero(fold_n == k), buffer_km)
            rows = rows[~near]
        left = len(np.unique(unit_n[rows]))
        if left < 2:
            raise ValueError(
                f"folds: got {len(rows)} training rows in fold {k} outside the buffer"
                f" of {buffer_km:g} km; allowed: rows of two units or more"
            )
        inner_kn[k, rows] = deal(unit_n[rows], min(inner, left), rng)
    return Folds(kind, seed, fold_n, inner_kn)


def deal(unit_n: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Takes units in random order and gives each to the fold with the fewest rows."""
    _, unit_n, sizes = np.unique(unit_n, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    fold = np.empty(len(sizes), np.int8)
    if sizes.max() == 1:
        fold[order] = np.arange(len(sizes)) % count
        return fold[unit_n]
    rows = [0] * count
    for unit in order:
        emptiest = rows.index(min(rows))
        fold[unit] = emptiest
        rows[emptiest] += int(sizes[unit])
    return fold[unit_n]


def thin(folds: Folds, rows: int, seed: int = 0) -> Folds:
    """Keeps at most `rows` random training rows of each fold, for a learning curve."""
    inner_kn = np.full_like(folds.inner_kn, -1)
    rng = np.random.default_rng(seed)
    for k, (train, _) in enumerate(folds.parts()):
        kept = rng.permutation(train)[:rows]
        inner_kn[k, kept] = folds.inner_kn[k, kept]
    return folds._replace(inner_kn=inner_kn)


def blocks(lat: ArrayLike, lon: ArrayLike, block_deg: float) -> np.ndarray:
    """Numbers the square of each row: int64 (n,)."""
    row, column = (
        np.floor(np.asarray(x, np.float64) / block_deg).astype(np.int64)
        for x in (lat, splits.wrap_lon(lon))
    )
    return (row << 32) + column


def km_to_nearest(
    lat: np.ndarray, lon: np.ndarray, to_lat: np.ndarray, to_lon: np.ndarray
) -> np.ndarray:
    """Great-circle km from each place to the nearest of the others, inf if none."""
    if not len(to_lat):
        return np.full(len(lat), np.inf)
    tree = scipy.spatial.KDTree(splits.unit_vectors(to_lat, to_lon))
    chord, _ = tree.query(splits.unit_vectors(lat, lon))
    return 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.clip(chord / 2, 0, 1))


def km_to_training(folds: Folds, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Great-circle km from each row to the nearest training row of its fold: (n,)."""
    km_n = np.empty(len(lat))
    for train, test in folds.parts():
        km_n[test] = km_to_nearest(lat[test], lon[test], lat[train], lon[train])
    return km_n


def write(path: pathlib.Path, folds: Folds, lat: np.ndarray, lon: np.ndarray) -> str:
    """Writes a CSV of all rows, folds and inner folds; returns its SHA-256."""
    columns = [f"inner_of_fold_{k}" for k in range(len(folds.inner_kn))]
    lines = [",".join(["row", "lat", "lon", "fold", *columns])]
    numbers = np.vstack([folds.fold_n, folds.inner_kn]).T.tolist()
    for row, (a, b, n) in enumerate(
        zip(lat.tolist(), lon.tolist(), numbers, strict=True)
    ):
        lines.append(",".join(map(str, [row, a, b, *n])))
    data = ("\n".join(lines) + "\n").encode()
    with whole.written(path) as part:
        part.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _units(
    kind: str,
    lat: np.ndarray,
    lon: np.ndarray,
    block_deg: float,
    group: ArrayLike | None,
) -> np.ndarray:
    if kind == "random":
        return np.arange(len(lat))
    if kind == "blocked":
        if not block_deg > 0:
            raise ValueError(f"folds: block_deg={block_deg}; allowed: above 0")
        return blocks(lat, lon, block_deg)
    if kind == "region":
        got = None if group is None else np.shape(group)
        if group is None or got != lat.shape:
            raise ValueError(
                f"folds: kind region, got groups of shape {got}; allowed: {lat.shape}"
            )
        return np.unique(np.asarray(group), return_inverse=True)[1]
    raise ValueError(f"folds: kind {kind!r}; allowed: {', '.join(KINDS)}")


def _near(
    lat: np.ndarray, lon: np.ndarray, rows: np.ndarray, test: np.ndarray, km: float
) -> np.ndarray:
    return km_to_nearest(lat[rows], lon[rows], lat[test], lon[test]) <= km
