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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax.evals import (
    baselines,
    entries,
    folds,
    labels,
    probe,
    reading,
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
    pool = concurrent.futures.ThreadPoolExecutor(_cores())
    try:
        for work in _ahead(pool, together(tasks), encoders, width, options):
            first = work.group[0]
            names = ", ".join(task.name for task in work.group)
            options.report(f"{names}: {len(first.lat):,} rows")
            continent = labels.continents(first.lat, first.lon)
            tables: dict[str, list] = {task.name: [] for task in work.group}
            for task in work.group:
                scores[task.name] = {}
                about["tasks"][task.name] = entries.facts(task)
            for kind, parts, _ in work.splits:
                about["folds"] |= entries.write_folds(out, first, kind, parts)
                for task, scored, predicted in _score_kind(
                    work, kind, continent, encoders
                ):
                    scores[task.name][kind] = scored
                    tables[task.name] += entries.rows(task, kind, parts, predicted)
            for task in work.group:
                path = out / "predictions" / f"{task.name}.parquet"
                entries.write_predictions(path, tables[task.name])
            about["efficiency"] |= _efficiency(work, encoders)
    finally:
        pool.shutdown(cancel_futures=True)
    return scores, about


class _Work(NamedTuple):
    """Tasks of the same rows, their folds, and what reads them side by side.

    splits: (kind of folds, folds a seed, why there are none). jobs: of each encoder and
    interpolator, in the order of the table; None where no task is usable.
    """

    group: list[labels.Task]
    usable: list[labels.Task]
    splits: list[tuple[str, list[folds.Folds], str]]
    jobs: Mapping[str, concurrent.futures.Future | None]


def _ahead(
    pool: concurrent.futures.Executor,
    groups: Sequence[list[labels.Task]],
    encoders: Sequence[entries.Encoder],
    width: int,
    options: Options,
) -> Iterator[_Work]:
    """Yields each group when that after it is under way too: no core waits."""
    before = None
    for group in groups:
        work = _start(pool, group, encoders, width, options)
        if before is not None:
            yield before
        before = work
    if before is not None:
        yield before


def _start(
    pool: concurrent.futures.Executor,
    group: list[labels.Task],
    encoders: Sequence[entries.Encoder],
    width: int,
    options: Options,
) -> _Work:
    usable = [task for task in group if not _unusable(task)]
    splits = list(_splits(group, options))
    thin = []
    if usable and group[0].kind == "regression":
        once = options._replace(kinds=("blocked",), seeds=1)
        thin = [
            (folds.thin(made, rows), rows)
            for _, parts, _ in _splits(group, once)
            for made in parts
            for rows in EFFICIENCY_ROWS
        ]
    features = _features(group[0], encoders, width)
    curved = [e.name for e in encoders if e.name in features]
    curved += [name for name in features if name.startswith("fourier")]
    jobs = {}
    if usable:
        for name in baselines.INTERPOLATORS:
            small = thin if name == "idw" else []
            jobs[name] = pool.submit(reading.interpolate, name, usable, splits, small)
        # The widest first: what takes longest must not come last.
        for name in sorted(features, key=lambda name: -features[name].shape[1]):
            small = thin if name in curved else []
            jobs[name] = pool.submit(
                *(reading.read, name, features[name], usable, splits, small),
                options.probes,
            )
    order = [*baselines.INTERPOLATORS, *features]
    return _Work(group, usable, splits, {name: jobs.get(name) for name in order})


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
    work: _Work,
    kind: str,
    continent: np.ndarray,
    encoders: Sequence[entries.Encoder],
) -> Iterator[tuple[labels.Task, dict, dict[str, entries.Predicted]]]:
    """Yields each task of the group with its entries and predictions."""
    group, usable = work.group, work.usable
    parts, problem = next((p, why) for name, p, why in work.splits if name == kind)
    predicted: dict[str, dict[str, entries.Predicted]] = {
        task.name: {} for task in group
    }
    for split in parts if usable else []:
        for job in filter(None, work.jobs.values()):
            for name, value_ny in job.result().values[kind, split.seed]:
                for task, value_n, uncut_n in _decode(usable, value_ny, split):
                    mine = predicted[task.name].setdefault(
                        name, entries.Predicted([], [])
                    )
                    mine.value.append(value_n)
                    mine.uncut.append(uncut_n)
    saw = {e.name: e for e in encoders}
    where = entries.setting(group[0], parts, continent) if usable and parts else None
    for task in group:
        reason = problem or _unusable(task)
        scored = {}
        for name in list(predicted[task.name]) or work.jobs:
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


def _efficiency(work: _Work, encoders: Sequence[entries.Encoder]) -> dict[str, dict]:
    """Blocked scores of fewer training rows, by the linear probe, fold seed 0."""
    curves: dict[str, dict] = {task.name: {} for task in work.usable}
    first = [e.name for e in encoders if e.name in work.jobs]
    for name in [*first, *(n for n in work.jobs if n not in first)]:
        job = work.jobs[name]
        for thin, rows, value_ny in job.result().curve if job else ():
            for task, value_n, _ in _decode(work.usable, value_ny, thin):
                curve = curves[task.name].setdefault(name, {})
                curve[str(rows)] = statistics.r2(task.y_n, value_n)
    return {name: curve for name, curve in curves.items() if curve}
