# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Downstream tasks: labels of places, from folders of CSVs, `earth` and `us_places`.

A folder holds `tasks.json`, a list of objects with `name`, `file`, `target`, `kind`
(regression, classification), and where they apply `transform` (none, log1p),
`block_deg`, `group_columns`, `leaks`, `unit`, `sha256`; and the CSVs it names, with
columns lat, lon and the target. Rows that cannot be used are counted in `flags`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import earth_captions, earth_crops, us_zips
from unigeo_jax.evals import task_files

KINDS = ("regression", "classification")
TRANSFORMS = ("none", "log1p")
# What a label can be revealed by.
REVEALERS = (
    *("satellite", "nightlights", "elevation", "vegetation", "landcover", "climate"),
    *("text", "population", "demographics", "mobility"),
)
ROWS = {"regression": 6000, "classification": 2500}  # a task, drawn at random
FEWEST_OF_CLASS = 15
EARTH_SPLITS = ("train", "val", "test", "near")


class Task(NamedTuple):
    """Labels of n places.

    y_n: float targets, already transformed, or int classes 0, 1, ...
    leaks: what reveals the label, of REVEALERS.
    flags: what a reader has to know, such as rows left out.
    """

    name: str
    kind: str
    lat: np.ndarray
    lon: np.ndarray
    y_n: np.ndarray
    block_deg: float
    leaks: tuple[str, ...] = ()
    unit: str = ""
    groups: Mapping[str, np.ndarray] = {}
    classes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def make(
    name: str,
    kind: str,
    lat: np.ndarray,
    lon: np.ndarray,
    label_n: np.ndarray,
    *,
    transform: str = "none",
    block_deg: float = 10.0,
    leaks: tuple[str, ...] = (),
    unit: str = "",
    groups: Mapping[str, np.ndarray] | None = None,
    rows: int | None = None,
) -> Task:
    """Checks labels, leaves out and counts what has none, and draws `rows` of them.

    Regression labels are missing where not finite, classes where "" or negative;
    classes of fewer than 15 rows are left out too.

    Raises:
      ValueError: unknown kind, transform or leak, coordinates that are none, a target
        that log1p cannot take.
    """
    _check(name, kind, transform, leaks)
    datasets.check_places(lat, lon, f"task {name}")
    if kind == "regression":
        label_n = np.asarray(label_n, np.float64)
        here_n = np.isfinite(label_n)
    else:
        here_n = label_n >= 0 if label_n.dtype.kind in "if" else label_n != ""
    flags = []
    if not here_n.all():
        flags.append(f"{np.sum(~here_n):,} of {len(here_n):,} rows have no target")
    keep = np.flatnonzero(here_n)
    if not len(keep):
        raise ValueError(f"task {name}: none of {len(here_n):,} rows has a target")
    rows = rows or ROWS[kind]
    if len(keep) > rows:
        flags.append(f"{rows:,} of {len(keep):,} rows drawn")
        keep = np.sort(np.random.default_rng(0).permutation(keep)[:rows])
    classes: tuple[str, ...] = ()
    if kind == "classification":
        keep, flag = _without_rare(label_n, keep)
        flags += flag
        names, y_n = np.unique(label_n[keep], return_inverse=True)
        classes = tuple(str(c) for c in names)
    else:
        y_n = label_n[keep]
        if transform == "log1p":
            if y_n.min() <= -1:
                raise ValueError(
                    f"task {name}: log1p of {y_n.min():g}; allowed: targets above -1"
                )
            y_n = np.log1p(y_n)
    kept = {column: np.asarray(g)[keep] for column, g in (groups or {}).items()}
    return Task(
        *(name, kind, np.asarray(lat)[keep], splits.wrap_lon(np.asarray(lon)[keep])),
        *(y_n, block_deg, leaks, unit, kept, classes, tuple(flags)),
    )


def _without_rare(
    label_n: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Leaves out rows of classes of fewer than FEWEST_OF_CLASS rows, and says so."""
    _, inverse_n, count = np.unique(
        label_n[keep], return_inverse=True, return_counts=True
    )
    rare = count < FEWEST_OF_CLASS
    if not rare.any():
        return keep, []
    text = f"{rare.sum()} classes of fewer than {FEWEST_OF_CLASS} rows left out"
    return keep[~rare[inverse_n]], [f"{text}, {count[rare].sum()} rows"]


def _check(name: str, kind: str, transform: str, leaks: tuple[str, ...]) -> None:
    for what, got, allowed in (
        ("kind", (kind,), KINDS),
        ("transform", (transform,), TRANSFORMS),
        ("leaks", leaks, REVEALERS),
    ):
        if unknown := sorted(set(got) - set(allowed)):
            raise ValueError(
                f"task {name}: {what} {', '.join(map(repr, unknown))};"
                f" allowed: {', '.join(allowed)}"
            )


def read_folder(folder: pathlib.Path) -> list[Task]:
    """Reads every task of a folder.

    Raises:
      ValueError: tasks.json or a CSV is missing or malformed; a column is missing; a
        number cannot be read; the checksum differs. The message names file and row.
    """
    return [_read(folder, entry) for entry in task_files.entries(folder)]


def _read(folder: pathlib.Path, entry: dict[str, Any]) -> Task:
    path = task_files.check(folder, entry, ("name", "file", "target", "kind"))
    table = task_files.columns(path, entry.get("sha256"))
    groups, target = entry.get("group_columns", []), entry["target"]
    task_files.refuse_missing(path, table, ["lat", "lon", target, *groups])
    label: Any = np.array(table[target], str)
    if entry["kind"] == "regression":
        label = task_files.numbers(path, target, table[target], True)
    return make(
        entry["name"],
        entry["kind"],
        task_files.numbers(path, "lat", table["lat"], False),
        task_files.numbers(path, "lon", table["lon"], False),
        label,
        transform=entry.get("transform", "none"),
        block_deg=float(entry.get("block_deg", 10.0)),
        leaks=tuple(entry.get("leaks", ())),
        unit=entry.get("unit", ""),
        groups={c: np.array(table[c], str) for c in groups},
    )


def earth(name: str, data_dir: Any = None, rows: int | None = None) -> list[Task]:
    """The tasks that the dataset `earth` brings: its labels, at places of all splits.

    Tasks of a kind share their places: those that have all of its labels. Regressions
    come from `name`'s splits in equal shares of their size.
    """
    fields = (
        *("lat", "lon", "koppen", "landcover", "climate", "ndvi", "night_light"),
        *("elevation_m", "population_100km", "country", "continent"),
    )
    wanted = rows or max(ROWS.values())
    loaded = [datasets.load(name, split, data_dir, fields) for split in EARTH_SPLITS]
    total = sum(len(source) for source, _ in loaded)
    records = []
    for source, _ in loaded:
        # Records lie in the order of a hash: the first ones are a random sample.
        count = min(len(source), -(-len(source) * wanted * 12 // (10 * total)))
        records += datasets.readable(source, range(count))
    column = {key: np.array([r[key] for r in records]) for key in fields}
    lat, lon = column["lat"], column["lon"]
    values = {
        "temperature": (column["climate"][:, 0], "none", ("climate", "text"), "°C"),
        "irradiance": (
            *(column["climate"][:, 3], "none", ("climate", "text")),
            "kWh/m²/day",
        ),
        "ndvi_max": (column["ndvi"][:, 0], "none", ("vegetation",), ""),
        "night_lights": (column["night_light"], "log1p", ("nightlights",), "0-255"),
        "elevation": (column["elevation_m"], "none", ("elevation",), "m"),
        "population": (
            *(column["population_100km"], "log1p"),
            *(("population", "demographics", "text"), "within 100 km"),
        ),
    }
    labels = {
        "koppen": (column["koppen"], ("climate", "text")),
        "landcover": (column["landcover"], ("landcover",)),
        "country": (column["country"], ("text", "demographics")),
    }
    here_n = np.all([np.isfinite(v[0]) for v in values.values()], axis=0)
    here_n &= (column["koppen"] >= 0) & (column["country"] != "")
    return _earth_tasks(lat, lon, column["continent"], values, labels, here_n, rows)


def _earth_tasks(
    lat: np.ndarray,
    lon: np.ndarray,
    continent: np.ndarray,
    values: dict,
    labels: dict,
    here_n: np.ndarray,
    rows: int | None,
) -> list[Task]:
    flags = (f"{np.sum(~here_n):,} of {len(here_n):,} places lack one of the labels",)
    groups = {"continent": continent[here_n]}
    shared: dict[str, Any] = {"groups": groups, "rows": rows}
    found = [
        make(
            *(f"earth_{key}", "regression", lat[here_n], lon[here_n], label[here_n]),
            **shared,
            transform=transform,
            leaks=leaks,
            unit=unit,
        )
        for key, (label, transform, leaks, unit) in values.items()
    ]
    found += [
        make(
            *(f"earth_{key}", "classification", lat[here_n], lon[here_n]),
            *(label[here_n],),
            **shared,
            leaks=leaks,
        )
        for key, (label, leaks) in labels.items()
    ]
    return [task._replace(flags=flags + task.flags) for task in found]


def us_places(name: str, data_dir: Any = None, rows: int | None = None) -> list[Task]:
    """The tasks of US ZIP areas, at places of all splits of `us_places`.

    No record holds these labels: they come from the bundle, and no dataset is built.
    All share their places: those that have all of the labels. The groups are counties,
    then states. Wages and unemployment of counties repeat in all their areas, and a
    square can cut a county: only folds by county keep a label on one side.

    Args:
      name: `us_places` or `us_places/tiny`, whose places are taken.
      data_dir: not read; as in `earth`.
    """
    del data_dir
    table, target = us_zips.zips(), us_zips.targets()
    row_i = np.concatenate(
        list(us_zips.plan(name.partition("/")[2] or "full").values())
    )
    here_i = np.all([np.isfinite(y_n[row_i]) for y_n in target.values()], axis=0)
    kept = np.sort(row_i[here_i])
    flag = f"{np.sum(~here_i):,} of {len(row_i):,} places lack one of the labels"
    repeats = "one value a county, repeated in its areas: see the folds by county"
    people = ("population", "demographics", "mobility", "text")
    found = []
    for key, transform, leaks, unit, flags in (
        ("wages_per_head", "log1p", (), "$/year", ()),
        ("weekly_wage", "none", (), "$/week", (repeats,)),
        ("unemployment", "none", (), "%", (repeats,)),
        ("density", "log1p", people, "people/km²", ()),
    ):
        task = make(
            *(f"us_{key}", "regression", table["lat"][kept], table["lon"][kept]),
            target[key][kept],
            transform=transform,
            block_deg=float(us_zips.BLOCK_DEG),
            leaks=leaks,
            unit=unit,
            groups={
                "county": table["county"][kept],
                "state": table["state_names"][table["state"][kept]],
            },
            rows=rows,
        )
        found.append(task._replace(flags=(flag, *flags, *task.flags)))
    return found


def continents(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """The continent of the nearest named place, "" where none is within 200 km."""
    places = _places()
    km_n1, number_n1 = places.nearest(lat, lon, 1)
    km_n, number_n = np.reshape(km_n1, -1), np.reshape(number_n1, -1)
    known = earth_captions.countries()
    names = [
        str(known.get(places.country_codes[c], {}).get("continent") or "")
        for c in places.country[number_n]
    ]
    return np.where(km_n <= earth_crops.TEXT_REACH_KM, names, "")


def _places() -> earth_crops.Places:
    return earth_crops.Places()
