# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the eleven tasks are scored on: labels of cells, counties and cities, and cells.

A folder holds `tasks.json`, a list of objects with `name` (an id of TASKS, or one as
`china_county_edu`, to feed that task: `listed_as`), `file`, `target`, `level` (cell,
county, city; of the tasks of TASKS known) and, where they apply, `transform` (none,
log1p; TASKS says it of its tasks), `group_columns` (administrative parents) and
`sha256`; the CSVs it names; and `cells.csv` with columns cell, lat, lon and, for those
levels, county and city: the codes of the units that each cell belongs to; and where
means are to be weighted population and area, in any unit. A CSV of labels has the
target and the column named like its level. Where it has lat and lon instead, each row
is a unit of one point: enough for an encoder of coordinates. mora_tasks.py lists
the tasks and prints this for each.
Letters: `n` cells, `u` units, `d` features.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h3
import numpy as np
import pyarrow.parquet

from unigeo_jax.data import datasets, splits
from unigeo_jax.evals import mora_tasks, nodes, task_files

LEVELS = ("cell", "county", "city")
TRANSFORMS = ("none", "log1p")
WEIGHTS = ("population", "area")  # what means of cells may be weighted by
REGION_RESOLUTION = 3  # of the H3 cells that are held out whole
PREFIXES = {"prefecture": 4, "province": 2}  # of a six-digit Chinese county code


class Cells(NamedTuple):
    """Cells of a map, or nodes of a graph: positions in degrees, (n,).

    unit: the code of the unit that each is in, "" = none; of level `cell` its own.
    weight: of WEIGHTS those that are known, 0 or more, NaN = unknown.
    """

    lat: np.ndarray
    lon: np.ndarray
    unit: Mapping[str, np.ndarray]
    weight: Mapping[str, np.ndarray] = {}


class Labels(NamedTuple):
    """Raw targets of units, by code; lat, lon only where each is one point.

    parents: administrative codes of each unit, finest first.
    """

    name: str
    level: str
    code_u: np.ndarray
    y_u: np.ndarray
    transform: str = "none"
    lat_u: np.ndarray | None = None
    lon_u: np.ndarray | None = None
    parents: Mapping[str, np.ndarray] = {}


class Joined(NamedTuple):
    """Units that have a target and a vector. region_u: what is held out together."""

    level: str
    x_ud: np.ndarray
    y_u: np.ndarray
    lat_u: np.ndarray
    lon_u: np.ndarray
    transform: str
    parents: Mapping[str, np.ndarray]
    region_u: np.ndarray


def aggregate(
    z_nd: np.ndarray, code_n: np.ndarray, weight_n: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Means of the cells of each unit: sorted codes (u,), float (u, d).

    Cells with code "" belong to no unit. An unknown weight (NaN) is 0; a unit whose
    weights are all 0 has the plain mean, as without weights.
    """
    inside = code_n != ""
    code_u, row_n = np.unique(code_n[inside], return_inverse=True)
    one_n = np.ones(len(row_n))
    weight_n = one_n if weight_n is None else np.nan_to_num(weight_n[inside])
    total_u = np.bincount(row_n, weight_n, len(code_u))
    weight_n = np.where(total_u[row_n] > 0, weight_n, one_n)
    sum_du = np.zeros((z_nd.shape[1], len(code_u)))
    for d, value_n in enumerate(z_nd[inside].T):
        sum_du[d] = np.bincount(row_n, weight_n * value_n, len(code_u))
    return code_u, (sum_du / np.bincount(row_n, weight_n, len(code_u))).T


def join(
    labels: Labels,
    cells: Cells | None,
    embed: Callable[[np.ndarray, np.ndarray], np.ndarray] | np.ndarray,
    weight: str = "",
) -> Joined:
    """Gives every unit its vector; units without a cell or a finite target drop out.

    Args:
      embed: (lat, lon) in degrees -> float (n, d); or the vectors (n, d) of the cells
        themselves, of nodes of a graph for one, in their order.
      weight: of the means of cells: one of `cells.weight`, "" = all alike. Where units
        are, is the plain mean of their cells.

    Raises:
      ValueError: units without points and no cells, or none that joins; vectors of
        another number of cells, or not finite; a weight that the cells have not.
    """
    here_u = np.isfinite(labels.y_u)
    if callable(embed) and labels.lat_u is not None and labels.lon_u is not None:
        rows = np.flatnonzero(here_u)
        lat_u, lon_u = labels.lat_u[rows], labels.lon_u[rows]
        x_ud = np.asarray(embed(lat_u, lon_u))
    elif cells is None or labels.level not in cells.unit:
        raise ValueError(
            f"task {labels.name}: no cells.csv with a column {labels.level};"
            " allowed: that, or columns lat and lon beside the labels"
        )
    else:
        code_n = cells.unit[labels.level]
        z_nd = np.asarray(embed(cells.lat, cells.lon) if callable(embed) else embed)
        code_c, mean_cd = aggregate(
            _checked(labels.name, z_nd, cells), code_n, _weight(cells, weight)
        )
        _, at_c3 = aggregate(splits.unit_vectors(cells.lat, cells.lon), code_n)
        at_u = np.minimum(np.searchsorted(code_c, labels.code_u), len(code_c) - 1)
        rows = np.flatnonzero(here_u & (code_c[at_u] == labels.code_u))
        x_ud, (x, y, z) = mean_cd[at_u[rows]], at_c3[at_u[rows]].T
        lat_u = np.degrees(np.arctan2(z, np.hypot(x, y)))
        lon_u = np.degrees(np.arctan2(y, x))
    if not len(rows):
        raise ValueError(f"task {labels.name}: none of {len(here_u)} units joins")
    parents = {name: code_u[rows] for name, code_u in labels.parents.items()}
    return Joined(
        *(labels.level, x_ud, labels.y_u[rows], lat_u, lon_u, labels.transform),
        *(parents, _regions(labels.level, lat_u, lon_u, list(parents.values()))),
    )


def _checked(task: str, z_nd: np.ndarray, cells: Cells) -> np.ndarray:
    if z_nd.ndim != 2 or len(z_nd) != len(cells.lat) or not np.isfinite(z_nd).all():
        bad = "" if z_nd.ndim != 2 else np.sum(~np.isfinite(z_nd).all(1))
        raise ValueError(
            f"task {task}: got vectors {z_nd.shape}, not finite in {bad or 0} rows;"
            f" allowed: finite ones, a row each of {len(cells.lat)} cells"
        )
    return z_nd


def _weight(cells: Cells, name: str) -> np.ndarray | None:
    if not name:
        return None
    if name not in cells.weight:
        raise ValueError(
            f"weight {name!r}: allowed: {', '.join(cells.weight) or 'none, for these'}"
            " cells have no other"
        )
    weight_n = cells.weight[name]
    if (weight_n < 0).any():
        row = int(np.argmax(weight_n < 0))
        raise ValueError(f"cell {row} has {name} {weight_n[row]}; allowed: 0 or more")
    return weight_n


def at_cells(
    cells: Cells, lat_k: np.ndarray, lon_k: np.ndarray, z_kd: np.ndarray
) -> np.ndarray:
    """Vectors (n, d) of the cells, given those of k places: NaN where there is none.

    A place is a cell's if it lies within 20 m; several are averaged.
    """
    covered = nodes.each_covered(lat_k, lon_k)(cells.lat, cells.lon)
    out_nd = np.full((len(covered), z_kd.shape[1]), np.nan)
    embed = nodes.lookup(lat_k, lon_k, z_kd)
    out_nd[covered] = embed(cells.lat[covered], cells.lon[covered])
    return out_nd


def read_vectors(path: pathlib.Path, cells: Cells) -> np.ndarray:
    """Vectors (n, d) of the cells, of a Parquet file: NaN where it has none.

    Its columns: cell or node, the ids of `cells.unit["cell"]`, and embedding, lists of
    numbers of one length.

    Raises:
      ValueError: a file without these; an id given twice; cells without ids.
    """
    table = pyarrow.parquet.read_table(path)
    key = next((c for c in ("cell", "node") if c in table.column_names), "")
    if not key or "embedding" not in table.column_names or "cell" not in cells.unit:
        raise ValueError(
            f"{path}: columns {', '.join(table.column_names)}; allowed: cell or node,"
            " and embedding, for cells that have ids"
        )
    rows = {str(id): row for row, id in enumerate(table[key].to_pylist())}
    lists = table["embedding"].to_pylist()
    sizes = {len(one or ()) for one in lists}
    if len(rows) != len(lists) or len(sizes) != 1:
        what = "an id twice" if len(sizes) == 1 else f"lists of {sorted(sizes)} numbers"
        raise ValueError(f"{path}: got {what}; allowed: one row an id, of one length")
    z_kd = np.array([*lists, [np.nan] * sizes.pop()], np.float64)
    return z_kd[[rows.get(id, -1) for id in cells.unit["cell"].tolist()]]


def subset(cells: Cells, keep_n: np.ndarray) -> Cells:
    """The cells where `keep_n`, bool (n,), holds."""
    unit = {name: code_n[keep_n] for name, code_n in cells.unit.items()}
    weight = {name: value_n[keep_n] for name, value_n in cells.weight.items()}
    return Cells(cells.lat[keep_n], cells.lon[keep_n], unit, weight)


def _regions(
    level: str, lat_u: np.ndarray, lon_u: np.ndarray, parents: list[np.ndarray]
) -> np.ndarray:
    if level != "cell" and parents:
        return parents[0] if level == "county" else parents[-1]
    places = zip(lat_u.tolist(), lon_u.tolist(), strict=True)
    return np.array([h3.latlng_to_cell(*at, REGION_RESOLUTION) for at in places])


def read_folder(
    folder: pathlib.Path, default: Mapping[str, Any] | None = None, start: str = ""
) -> tuple[list[Labels], Cells | None]:
    """Reads the labels of a folder, and its cells if it has any.

    Args:
      default: what entries say that do not say otherwise.
      start: entries whose name does not begin so are left out.

    Raises:
      ValueError: a file is missing or malformed; the message names file and row.
    """
    entries, cells = task_files.entries(folder), None
    if (folder / "cells.csv").exists():
        table, lat, lon = _points(folder / "cells.csv")
        unit = {c: np.array(table[c], str) for c in LEVELS if c in table}
        weight = {
            name: task_files.numbers(
                folder / "cells.csv", name, table[name], missing=True
            )
            for name in WEIGHTS
            if name in table
        }
        cells = Cells(lat, lon, unit, weight)
    wanted = [e for e in entries if str(e.get("name", "")).startswith(start)]
    return [read(folder, {**(default or {}), **entry}) for entry in wanted], cells


def read(folder: pathlib.Path, entry: Mapping[str, Any]) -> Labels:
    """Reads the labels of one entry of `tasks.json`; `read_folder` says of what form.

    Raises:
      ValueError: as `read_folder`.
    """
    path = task_files.check(folder, entry, ("name", "file", "target"))
    listed = mora_tasks.TASKS.get(mora_tasks.listed_as(entry["name"]) or "")
    level = entry.get("level", listed.level if listed else None)
    transform = entry.get("transform", "none")
    for what, got, allowed in (
        ("level", level, LEVELS),
        ("transform", transform, TRANSFORMS),
    ):
        if got not in allowed:
            raise ValueError(
                f"task {entry['name']}: {what} {got!r}; allowed: {', '.join(allowed)}"
            )
    transform = listed.transform if listed else transform
    table = task_files.columns(path, entry.get("sha256"))
    keyed = level in table
    wanted = [entry["target"], *([] if keyed else ["lat", "lon"])]
    wanted += list(entry.get("group_columns", ()))
    task_files.refuse_missing(path, table, wanted)
    y_u = task_files.numbers(
        path, entry["target"], table[entry["target"]], missing=True
    )
    parents = {c: np.array(table[c], str) for c in entry.get("group_columns", ())}
    parents = dict(sorted(parents.items(), key=lambda kv: -len(np.unique(kv[1]))))
    lat = lon = None
    code_u = np.arange(len(y_u)).astype(str)
    if keyed:
        code_u = np.array(table[level], str)
        if not parents and level == "county":
            parents = {k: code_u.astype(f"<U{n}") for k, n in PREFIXES.items()}
    else:
        _, lat, lon = _points(path)
    return Labels(entry["name"], level, code_u, y_u, transform, lat, lon, parents)


def _points(path: pathlib.Path) -> tuple[dict, np.ndarray, np.ndarray]:
    table = task_files.columns(path)
    task_files.refuse_missing(path, table, ("lat", "lon"))
    lat, lon = (
        task_files.numbers(path, c, table[c], missing=False) for c in ("lat", "lon")
    )
    datasets.check_places(lat, lon, str(path))
    return table, lat, splits.wrap_lon(lon)
