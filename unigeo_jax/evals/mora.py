# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The eleven tasks of MobCLIP: the published protocol, and a better one beside it.

Published: the vector of a county or city is the plain mean of those of its cells; one
random 80/20 split (cells, counties: LightGBM) or 5 shuffled folds (cities: ridge), seed
42, raw targets. Neighbours of the test units are in training, and the split alone moves
R2 by 0.03 to 0.06. Better: whole regions held out, several seeds, intervals, and the
mean of the administrative parent beside it. `mora_tables` reads what is scored.
Letters: `n` cells, `u` units (cells, counties or cities), `d` features.
"""

import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax.evals import baselines, folds, mora_tasks, probe, statistics
from unigeo_jax.evals.mora_tables import Joined
from unigeo_jax.evals.mora_tasks import TASKS

SEED = 42
BOOSTED = {  # settings of the released evaluation, by level
    "cell": {"num_leaves": 63, "min_child_samples": 30},
    "county": {"num_leaves": 31, "min_child_samples": 50},
}
SHARED = {"learning_rate": 0.05, "max_depth": 7}
TREES = 1000
HELD_OUT, CITY_FOLDS, ALPHA = 0.2, 5, 1.0


class Split(NamedTuple):
    """Rows to train on and rows to test on."""

    train: np.ndarray
    test: np.ndarray


def split_once(n: int, seed: int = SEED) -> Split:
    """The rows that scikit-learn's `train_test_split(test_size=0.2)` draws."""
    order = np.random.RandomState(seed).permutation(n)
    tested = int(np.ceil(HELD_OUT * n))
    return Split(order[tested:], order[:tested])


def split_folds(n: int, seed: int = SEED) -> Iterator[Split]:
    """The rows that scikit-learn's shuffled `KFold(5)` deals."""
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)
    for test in np.array_split(order, CITY_FOLDS):
        yield Split(np.setdiff1d(order, test), np.sort(test))


def boosted(
    level: str, x_ud: np.ndarray, y_u: np.ndarray, split: Split, seed: int = SEED
) -> np.ndarray:
    """Predictions of the test rows by LightGBM as released.

    Raises:
      ValueError: the package is not installed.
    """
    if importlib.util.find_spec("lightgbm") is None:
        raise ValueError("mora: no lightgbm; allowed: pip install 'lightgbm>=4.5'")
    lgb: Any = importlib.import_module("lightgbm")
    settings = SHARED | BOOSTED[level] | {"objective": "regression", "verbose": -1}
    data = lgb.Dataset(x_ud[split.train], y_u[split.train])
    model = lgb.train(settings | {"random_state": seed}, data, TREES)
    return np.asarray(model.predict(x_ud[split.test]))


def ridge(x_ud: np.ndarray, y_u: np.ndarray, split: Split) -> np.ndarray:
    """Predictions of the test rows by ridge with alpha 1 on vectors as they are."""
    x_td, y_t = np.asarray(x_ud[split.train], np.float64), y_u[split.train]
    middle_d, middle = x_td.mean(0), y_t.mean()
    x_td = x_td - middle_d
    gram_dd = x_td.T @ x_td + ALPHA * np.eye(x_td.shape[1])
    weight_d = np.linalg.solve(gram_dd, x_td.T @ (y_t - middle))
    return (x_ud[split.test] - middle_d) @ weight_d + middle


def published(joined: Joined) -> dict[str, float | int]:
    """R2 and RMSE by the released protocol, on raw targets, and the rows joined."""
    x_ud, y_u = joined.x_ud, joined.y_u
    if joined.level == "city":
        splits = list(split_folds(len(y_u)))
        value = np.concatenate([ridge(x_ud, y_u, split) for split in splits])
        truth = np.concatenate([y_u[split.test] for split in splits])
    else:
        split = split_once(len(y_u))
        value, truth = boosted(joined.level, x_ud, y_u, split), y_u[split.test]
    error = float(np.sqrt(np.mean((truth - value) ** 2)))
    return {"r2": statistics.r2(truth, value), "rmse": error, "n": len(y_u)}


def admin_mean(
    parents: Sequence[np.ndarray], y_u: np.ndarray, split: Split
) -> np.ndarray:
    """Predict the training mean of the finest parent that has training rows.

    `parents`: codes of each unit, finest first; where none has any: the mean of all.
    """
    out_t = np.full(len(split.test), y_u[split.train].mean())
    for code_u in reversed(parents):
        names, row_t = np.unique(code_u[split.train], return_inverse=True)
        mean = np.bincount(row_t, y_u[split.train]) / np.bincount(row_t)
        at = np.searchsorted(names, code_u[split.test])
        at = np.minimum(at, len(names) - 1)
        known = names[at] == code_u[split.test]
        out_t[known] = mean[at[known]]
    return out_t


class Options(NamedTuple):
    """What `run` does; `report` gets one line a step."""

    seeds: int = 5
    kinds: tuple[str, ...] = ("random", "grouped")
    boosted: bool = True  # in the better form too, settings as published
    report: Callable[[str], None] = lambda line: None


def run(tables: Mapping[str, Mapping[str, Joined]], options: Options) -> dict:
    """Scores {task: {encoder: units with their vectors}} by both protocols.

    Returns:
      {task: {"published": {encoder: {"r2", "rmse", "n"}}, "random" and "grouped":
      {encoder, "encoder/lightgbm" or baseline: {"score", "std", "low", "high", "raw",
      "n"}}}}. `score` is R2 of the targets as transformed, pooled over folds, mean over
      seeds; `raw` that of the raw ones; `low`, `high` a 95 % bootstrap over regions.
      Grouped folds hold out regions whole: H3 cells of resolution 3 for cells, the
      finest administrative parent for counties, the coarsest for cities.
    """
    results: dict[str, dict] = {}
    for task, encoders in tables.items():
        results[task] = {"published": {}}
        for name, joined in encoders.items():
            results[task]["published"][name] = published(joined)
            options.report(f"{task}: {name}: published protocol done")
        for kind in options.kinds:
            results[task][kind] = better(encoders, kind, options)
            options.report(f"{task}: {kind} folds done")
    return results


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What `run` returned as text, the best first, under which task of TASKS it is."""
    lines = []
    for task, kinds in results.items():
        key = mora_tasks.listed_as(task)
        about = f": {key}, released vectors {TASKS[key].r2:.3f}" if key else ""
        lines.append(f"\n{task}{about}")
        for kind, entries in kinds.items():
            by = "r2" if kind == "published" else "score"
            for name, entry in sorted(entries.items(), key=lambda kv: -kv[1][by]):
                line = f"  {kind:9}  {name:26} {entry[by]:7.3f}  n {entry['n']:,}"
                if by == "score":
                    line += f"  sd {entry['std']:.3f}"
                    line += f"  95 % {entry['low']:.3f} to {entry['high']:.3f}"
                    line += f"  of raw labels {entry['raw']:.3f}"
                lines.append(line)
    return "\n".join(lines)


def better(encoders: Mapping[str, Joined], kind: str, options: Options) -> dict:
    """One task under one kind of folds: every encoder, probe and baseline."""
    first = next(iter(encoders.values()))
    predicted: dict[str, list[np.ndarray]] = {}
    y_u = first.y_u if first.transform == "none" else np.log1p(first.y_u)
    for seed in range(options.seeds):
        split = folds.make(
            "region" if kind == "grouped" else kind,
            *(first.lat_u, first.lon_u),
            seed=seed,
            group=first.region_u,
        )
        for name, value_u in _predict(encoders, y_u, split, options.boosted):
            low, high = _training_range(y_u, split)
            predicted.setdefault(name, []).append(np.clip(value_u, low, high))
    return {name: _entry(first, y_u, values) for name, values in predicted.items()}


def _predict(
    encoders: Mapping[str, Joined], y_u: np.ndarray, split: folds.Folds, trees: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, out-of-fold predictions) of every encoder and baseline."""
    first = next(iter(encoders.values()))
    parts = [Split(train, test) for train, test in split.parts()]

    def pooled(predict: Callable[[Split], np.ndarray]) -> np.ndarray:
        out_u = np.full(len(y_u), np.nan)
        for part in parts:
            out_u[part.test] = predict(part)
        return out_u

    for name, interpolate in baselines.INTERPOLATORS.items():
        yield name, interpolate(first.lat_u, first.lon_u, y_u[:, None], split)[:, 0]
    if first.parents:
        parents = list(first.parents.values())
        yield "admin_mean", pooled(lambda part: admin_mean(parents, y_u, part))
    for name, joined in encoders.items():
        x_ud = joined.x_ud
        yield name, probe.ridge(x_ud, y_u[:, None], split).value_ny[:, 0]
        norm_u = np.log(np.maximum(np.linalg.norm(x_ud, axis=1), 1e-12))[:, None]
        if norm_u.std() > 1e-3:
            norm = probe.ridge(norm_u, y_u[:, None], split).value_ny[:, 0]
            yield f"{name}/log-norm", norm
        if trees and first.level in BOOSTED:
            fit = functools.partial(boosted, first.level, x_ud, y_u)
            yield f"{name}/lightgbm", pooled(fit)


def _training_range(y_u: np.ndarray, split: folds.Folds) -> tuple[Any, Any]:
    """Lowest and highest training label of the fold in which each unit is tested."""
    low_u, high_u = np.empty(len(y_u)), np.empty(len(y_u))
    for train, test in split.parts():
        low_u[test], high_u[test] = y_u[train].min(), y_u[train].max()
    return low_u, high_u


def _entry(
    first: Joined, y_u: np.ndarray, values: Sequence[np.ndarray]
) -> dict[str, Any]:
    each = [statistics.r2(y_u, v) for v in values]
    region = first.region_u
    ends = [
        statistics.block_bootstrap("regression", y_u, v, region, seed)
        for seed, v in enumerate(values)
    ]
    back = values if first.transform == "none" else [np.expm1(v) for v in values]
    return {
        "score": float(np.mean(each)),
        "std": float(np.std(each)),
        "low": float(np.mean([low for low, _ in ends])),
        "high": float(np.mean([high for _, high in ends])),
        "raw": float(np.mean([statistics.r2(first.y_u, v) for v in back])),
        "n": len(y_u),
    }
