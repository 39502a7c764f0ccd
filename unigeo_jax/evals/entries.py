# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of out-of-fold predictions: an entry of the results, and files."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from unigeo_jax.evals import baselines, folds, labels, statistics, whole

OUTSIDE_KM = 500.0  # farther from every training place is outside what was trained


class Encoder(NamedTuple):
    """Something that turns places into vectors.

    embed: (lat, lon) in degrees -> (n, d). saw: what its training saw, of
    labels.REVEALERS. places: lat, lon of its training places, None where unknown.
    covers: (lat, lon) -> whether it has vectors for all of these; None: for any.
    """

    name: str
    embed: baselines.Embed
    saw: tuple[str, ...] = ()
    places: tuple[np.ndarray, np.ndarray] | None = None
    covers: Callable[[np.ndarray, np.ndarray], bool] | None = None


class Predicted(NamedTuple):
    """Out-of-fold predictions of one encoder and probe on one task, a seed each."""

    value: list[np.ndarray]
    uncut: list[np.ndarray]


class Setting(NamedTuple):
    """What all entries of some rows and folds share.

    block_n: squares of the bootstrap; near_ni: neighbours of each row; km_n: to the
    nearest training row, and rows of each continent, the folds of all seeds in turn.
    """

    parts: list[folds.Folds]
    block_n: np.ndarray
    near_ni: np.ndarray
    km_n: np.ndarray
    continents: dict[str, np.ndarray]


def setting(
    task: labels.Task, parts: list[folds.Folds], continent_n: np.ndarray
) -> Setting:
    """Measures the rows of a task under the folds of some seeds."""
    at = (task.lat, task.lon)
    names = [name for name in np.unique(continent_n).tolist() if name]
    return Setting(
        parts,
        folds.blocks(*at, task.block_deg),
        statistics.nearest(*at),
        np.concatenate([folds.km_to_training(split, *at) for split in parts]),
        {name: np.tile(continent_n == name, len(parts)) for name in names},
    )


def facts(task: labels.Task) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "rows": len(task.lat),
        "unit": task.unit,
        "block_deg": task.block_deg,
        "leaks": list(task.leaks),
        "classes": len(task.classes),
        "flags": list(task.flags),
    }


def entry(
    task: labels.Task,
    mine: Predicted,
    where: Setting,
    encoder: Encoder | None,
) -> dict[str, Any]:
    kind, y_n, seeds = task.kind, task.y_n, len(mine.value)
    each = [statistics.score(kind, y_n, v) for v in mine.value]
    ends = [
        statistics.block_bootstrap(kind, y_n, v, where.block_n, seed)
        for seed, v in enumerate(mine.value)
    ]
    y_all, v_all = np.tile(y_n, seeds), np.concatenate(mine.value)
    residual = [
        (y_n - v if kind == "regression" else y_n != v).astype(float)
        for v in mine.value
    ]
    out: dict[str, Any] = {
        "score": float(np.mean(each)),
        "std": float(np.std(each)),
        "low": float(np.mean([low for low, _ in ends])),
        "high": float(np.mean([high for _, high in ends])),
        "uncut": float(np.mean([statistics.score(kind, y_n, v) for v in mine.uncut])),
        "moran": float(
            np.mean([statistics.morans_i(where.near_ni, r) for r in residual])
        ),
        "by_distance": statistics.by_distance(kind, y_all, v_all, where.km_n),
        "by_continent": statistics.by_group(kind, y_all, v_all, where.continents),
    }
    if kind == "classification":
        f1 = [statistics.macro_f1(y_n, v) for v in mine.value]
        out["macro_f1"] = float(np.mean(f1))
    if encoder is not None and encoder.places is not None:
        km_n = folds.km_to_nearest(task.lat, task.lon, *encoder.places)
        out["by_pretraining"] = statistics.by_distance(
            kind, y_all, v_all, np.tile(km_n, seeds)
        )
        if outside := int(np.sum(km_n > OUTSIDE_KM)):
            out["flags"] = [
                f"{outside:,} of {len(km_n):,} rows lie over {OUTSIDE_KM:g} km from"
                " every place the encoder was trained on"
            ]
    return out


def write_folds(
    out: pathlib.Path, task: labels.Task, kind: str, parts: list[folds.Folds]
) -> dict[str, str]:
    digests = {}
    for split in parts:
        name = f"{task.name}-{kind}-{split.seed}.csv"
        digests[name] = folds.write(out / "folds" / name, split, task.lat, task.lon)
    return digests


def rows(
    task: labels.Task,
    kind: str,
    parts: list[folds.Folds],
    predicted: dict[str, Predicted],
) -> list[dict[str, Any]]:
    """One table a seed: a row a place, a column an encoder."""
    n = len(task.lat)
    tables = []
    for s, split in enumerate(parts):
        table: dict[str, Any] = {
            "row": np.arange(n, dtype=np.int32),
            "lat": task.lat,
            "lon": task.lon,
            "folds": np.full(n, kind),
            "seed": np.full(n, split.seed, np.int8),
            "fold": split.fold_n,
            "label": task.y_n,
        }
        for name, mine in predicted.items():
            small = np.float32 if task.kind == "regression" else np.int16
            table[name] = mine.value[s].astype(small)
            if task.kind == "regression":
                table[f"{name} uncut"] = mine.uncut[s].astype(small)
        tables.append(table)
    return tables


def write_predictions(path: pathlib.Path, tables: list[dict[str, Any]]) -> None:
    """Writes out-of-fold predictions of all folds and seeds of a task."""
    if not tables:
        return
    joined = pa.concat_tables(
        [pa.table(table) for table in tables], promote_options="default"
    )
    with whole.written(path) as part:
        pyarrow.parquet.write_table(joined, part, compression="zstd")
