# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Probes of every encoder and baseline on every task, under every kind of folds.

One function, `run`, does the same to all: same rows, same folds, same probes, same
cuts. Its result is {task: {kind of folds: {encoder: entry}}}; an entry holds `score`
(pooled over the folds, mean over fold seeds), `std` (over seeds), `metric`, `n`,
`low` and `high` (95 % block bootstrap), `uncut`, `moran` (of the residuals),
`by_distance` (km to the nearest training row), `by_pretraining` (km to the nearest
place the encoder was trained on), `by_continent`, `leak` (what the encoder saw that
reveals the label) and, for classes, `macro_f1`. What could not be computed is None and
`flags` says why.
"""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax.evals import (
    baselines,
    entries,
    folds,
    labels,
    logistic,
    nonlinear,
    probe,
    statistics,
)

PROBES = ("linear", "knn", "mlp", "lightgbm")
EFFICIENCY_ROWS = (100, 300, 1000)


class Options(NamedTuple):
    """What is run; `report` gets one line a step."""

    seeds: int = 3  # leave-region-out has one: its regions are what they are
    kinds: tuple[str, ...] = folds.KINDS
    probes: tuple[str, ...] = ("linear", "knn")
    count: int = 5
    buffer_km: float = 0.0
    report: Callable[[str], None] = lambda line: None


def run(
    tasks: Sequence[labels.Task],
    encoders: Sequence[entries.Encoder],
    width: int,
    out: pathlib.Path,
    options: Options,
) -> tuple[dict, dict]:
    """Scores everything and writes folds and predictions below `out`.

    Args:
      encoders: the first one is the one judged; its learning curve is drawn. One is
        left out of the tasks whose places it does not cover.
      width: of the Fourier features that are to be as wide as the encoder judged.

    Returns:
      The scores as the module describes them, and {"folds": {file: SHA-256},
      "efficiency": {task: {encoder: {rows: score}}}, "tasks": {task: facts}}.

    Raises:
      ValueError: an unknown probe or kind, or a probe whose package is missing.
    """
    for what, got, allowed in (
        ("probes", options.probes, PROBES),
        ("splits", options.kinds, folds.KINDS),
    ):
        if unknown := sorted(set(got) - set(allowed)):
            raise ValueError(f"{what}: got {unknown}; allowed: {', '.join(allowed)}")
    scores: dict[str, Any] = {}
    about: dict[str, Any] = {"folds": {}, "efficiency": {}, "tasks": {}}
    for group in together(tasks):
        first = group[0]
        options.report(f"{', '.join(t.name for t in group)}: {len(first.lat):,} rows")
        features = _features(first, encoders, width)
        continent = labels.continents(first.lat, first.lon)
        tables: dict[str, list] = {task.name: [] for task in group}
        for task in group:
            scores[task.name] = {}
            about["tasks"][task.name] = entries.facts(task)
        for kind, parts, problem in _splits(group, options):
            about["folds"] |= entries.write_folds(out, first, kind, parts)
            for task, scored, predicted in _score_kind(
                *(group, parts, problem, features, continent, encoders, options)
            ):
                scores[task.name][kind] = scored
                tables[task.name] += entries.rows(task, kind, parts, predicted)
        for task in group:
            entries.write_predictions(
                out / "predictions" / f"{task.name}.parquet", tables[task.name]
            )
        about["efficiency"] |= _efficiency(group, features, encoders, options)
    return scores, about


def together(tasks: Sequence[labels.Task]) -> list[list[labels.Task]]:
    """Groups tasks of equal rows and squares: they share folds, features and factors.

    Classifications stand alone: their probes share nothing.
    """
    groups: dict[Any, list[labels.Task]] = {}
    for number, task in enumerate(tasks):
        at = np.stack([task.lat, task.lon]).tobytes()
        alone = number if task.kind == "classification" else -1
        key = (alone, task.block_deg, hashlib.sha256(at).digest(), tuple(task.groups))
        groups.setdefault(key, []).append(task)
    return list(groups.values())


def _features(
    task: labels.Task, encoders: Sequence[entries.Encoder], width: int
) -> dict[str, np.ndarray]:
    """{name: (n, d)} of all encoders and of the baselines that are features."""
    at = (task.lat, task.lon)
    found = {e.name: e.embed(*at) for e in encoders if not e.covers or e.covers(*at)}
    for name, embed in baselines.features(width).items():
        found[name] = embed(task.lat, task.lon)
    for name, x_nd in found.items():
        if not np.isfinite(x_nd).all():
            raise ValueError(f"encoder {name}: vectors of {task.name} are not finite")
    return {name: np.asarray(x_nd, np.float32) for name, x_nd in found.items()}


def _splits(group: Sequence[labels.Task], options: Options) -> Iterator[tuple]:
    """Yields (kind or region-<column>, folds a seed, why there are none)."""
    task = group[0]
    for kind in options.kinds:
        columns = [""] if kind != "region" else list(task.groups)[:1]
        for column in columns:
            name = f"{kind}-{column}" if column else kind
            try:
                made = [
                    folds.make(
                        *(kind, task.lat, task.lon),
                        seed=seed,
                        count=options.count,
                        block_deg=task.block_deg,
                        group=task.groups.get(column),
                        buffer_km=options.buffer_km if kind != "random" else 0.0,
                    )
                    for seed in range(options.seeds if kind != "region" else 1)
                ]
            except ValueError as error:
                yield name, [], str(error)
            else:
                yield name, made, ""


def _score_kind(
    group: Sequence[labels.Task],
    parts: list[folds.Folds],
    problem: str,
    features: dict[str, np.ndarray],
    continent: np.ndarray,
    encoders: Sequence[entries.Encoder],
    options: Options,
) -> Iterator[tuple[labels.Task, dict, dict[str, entries.Predicted]]]:
    """Yields each task of the group with its entries and predictions."""
    usable = [task for task in group if not _unusable(task)] if parts else []
    prepared: dict[str, logistic.Axes] = {}
    predicted: dict[str, dict[str, entries.Predicted]] = {
        task.name: {} for task in group
    }
    if usable:
        for split in parts:
            for name, value_ny in _predict(usable, features, split, options, prepared):
                for task, value_n, uncut_n in _decode(usable, value_ny, split):
                    mine = predicted[task.name].setdefault(
                        name, entries.Predicted([], [])
                    )
                    mine.value.append(value_n)
                    mine.uncut.append(uncut_n)
    saw = {e.name: e for e in encoders}
    where = entries.setting(group[0], parts, continent) if usable else None
    for task in group:
        reason = problem or _unusable(task)
        names = list(predicted[task.name]) or [*features, *baselines.INTERPOLATORS]
        scored = {}
        for name in names:
            encoder = saw.get(name.split("/")[0])
            entry = {"metric": statistics.METRICS[task.kind], "n": len(task.lat)}
            entry |= {"score": None, "std": None}
            if reason or where is None:
                entry["flags"] = [reason]
            else:
                mine = predicted[task.name][name]
                entry |= entries.entry(task, mine, where, encoder)
            leak = set(task.leaks) & set(encoder.saw if encoder else ())
            scored[name] = entry | {"leak": sorted(leak)}
        yield task, scored, predicted[task.name]


def _unusable(task: labels.Task) -> str:
    """Says why a task cannot be scored, "" where it can."""
    if len(np.unique(task.y_n)) < 2:
        what = "class" if task.kind == "classification" else "value"
        return f"{len(np.unique(task.y_n))} {what} in {len(task.y_n)} rows"
    return ""


def _predict(
    group: Sequence[labels.Task],
    features: dict[str, np.ndarray],
    split: folds.Folds,
    options: Options,
    prepared: dict[str, logistic.Axes],
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (encoder or encoder/probe, predictions): targets, shares or classes."""
    task = group[0]
    classes = task.kind == "classification"
    y_ny = np.stack([t.y_n for t in group], 1)
    if classes:
        y_ny = np.eye(len(task.classes))[task.y_n]
    for name, interpolate in baselines.INTERPOLATORS.items():
        yield name, interpolate(task.lat, task.lon, y_ny, split)

    def read(name: str) -> list[tuple[str, np.ndarray]]:
        x_nd, found = features[name], []
        if "linear" in options.probes and classes:
            if name not in prepared:
                prepared[name] = logistic.principal_axes(x_nd)
            value_n, _ = logistic.logistic(x_nd, task.y_n, split, axes=prepared[name])
            found.append((name, value_n))
        elif "linear" in options.probes:
            found.append((name, probe.ridge(x_nd, y_ny, split).value_ny))
        if "knn" in options.probes:
            found.append((f"{name}/knn", probe.neighbours(x_nd, y_ny, split)))
        if "mlp" in options.probes:
            found.append((f"{name}/mlp", nonlinear.mlp(x_nd, y_ny, split, classes)))
        if "lightgbm" in options.probes:
            value_ny = nonlinear.lightgbm(x_nd, y_ny, split, classes)
            found.append((f"{name}/lightgbm", value_ny))
        return found

    # The widest first: what takes longest must not come last.
    widest = sorted(features, key=lambda name: -features[name].shape[1])
    with concurrent.futures.ThreadPoolExecutor(_cores()) as pool:
        reading = {name: pool.submit(read, name) for name in widest}
        for name in features:
            yield from reading[name].result()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decode(
    group: Sequence[labels.Task], value_ny: np.ndarray, split: folds.Folds
) -> Iterator[tuple[labels.Task, np.ndarray, np.ndarray]]:
    """Yields (task, cut values or classes, uncut ones)."""
    if group[0].kind == "classification":
        value_n = value_ny if value_ny.ndim == 1 else value_ny.argmax(1)
        yield group[0], value_n, value_n
        return
    y_ny = np.stack([task.y_n for task in group], 1)
    cut_ny = probe.cut(value_ny, y_ny, split)
    for y, task in enumerate(group):
        yield task, cut_ny[:, y], value_ny[:, y]


def _efficiency(
    group: Sequence[labels.Task],
    features: dict[str, np.ndarray],
    encoders: Sequence[entries.Encoder],
    options: Options,
) -> dict[str, dict]:
    """Blocked scores of fewer training rows, by the linear probe, fold seed 0."""
    task, usable = group[0], [t for t in group if not _unusable(t)]
    curves: dict[str, dict] = {t.name: {} for t in usable}
    blocked = options._replace(kinds=("blocked",), seeds=1)
    _, made, _ = next(_splits(group, blocked))
    names = [e.name for e in encoders if e.name in features]
    names += [n for n in features if n.startswith("fourier")]
    if not usable or not made or task.kind == "classification":
        return {}
    y_ny = np.stack([t.y_n for t in usable], 1)
    for rows in EFFICIENCY_ROWS:
        thin = folds.thin(made[0], rows)
        for name in [*names, "idw"]:
            if name == "idw":
                value_ny = baselines.inverse_distance(task.lat, task.lon, y_ny, thin)
            else:
                value_ny = probe.ridge(features[name], y_ny, thin).value_ny
            for t, value_n, _ in _decode(usable, value_ny, thin):
                curve = curves[t.name].setdefault(name, {})
                curve[str(rows)] = statistics.r2(t.y_n, value_n)
    return curves
