# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What one encoder, or one interpolator, predicts of some tasks under all folds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unigeo_jax.evals import baselines, folds, labels, logistic, nonlinear, probe

# (kind of folds, folds a seed, why there are none); folds of few rows, and how many.
Splits = Sequence[tuple[str, list[folds.Folds], str]]
Thin = Sequence[tuple[folds.Folds, int]]


class Found(NamedTuple):
    """Predictions by (kind, seed): (encoder or encoder/probe, values), and a curve.

    values: targets, shares or classes. curve: those of fewer training rows.
    """

    values: dict[tuple[str, int], list[tuple[str, np.ndarray]]]
    curve: list[tuple[folds.Folds, int, np.ndarray]]


def targets(group: Sequence[labels.Task]) -> np.ndarray:
    """float (n, y): the targets of all tasks, or one-hot classes of the only one."""
    if group[0].kind == "classification":
        return np.eye(len(group[0].classes))[group[0].y_n]
    return np.stack([task.y_n for task in group], 1)


def interpolate(
    name: str,
    group: Sequence[labels.Task],
    splits: Splits,
    thin: Thin,
) -> Found:
    """One of baselines.INTERPOLATORS under all folds."""
    method, y_ny = baselines.INTERPOLATORS[name], targets(group)

    def values(split: folds.Folds) -> np.ndarray:
        return method(group[0].lat, group[0].lon, y_ny, split)

    return Found(
        {
            (kind, split.seed): [(name, values(split))]
            for kind, parts, _ in splits
            for split in parts
        },
        [(split, rows, values(split)) for split, rows in thin],
    )


def read(
    name: str,
    x_nd: np.ndarray,
    group: Sequence[labels.Task],
    splits: Splits,
    thin: Thin,
    probes: Sequence[str],
) -> Found:
    """Every probe of one encoder under all folds."""
    classes = group[0].kind == "classification"
    y_ny, label_n = targets(group), group[0].y_n
    found: dict[tuple[str, int], list] = {
        (kind, split.seed): [] for kind, parts, _ in splits for split in parts
    }
    shared = None
    if "linear" in probes and (found or thin):
        shared = (logistic if classes else probe).principal(x_nd)
    for kind, parts, _ in splits:
        for split in parts:
            mine = found[kind, split.seed]
            if shared and classes:
                value_n, _ = logistic.logistic(x_nd, label_n, split, shared=shared)
                mine.append((name, value_n))
            elif shared:
                value_ny = probe.ridge(x_nd, y_ny, split, shared=shared).value_ny
                mine.append((name, value_ny))
            if "knn" in probes:
                mine.append((f"{name}/knn", probe.neighbours(x_nd, y_ny, split)))
            if "mlp" in probes:
                value_ny = nonlinear.mlp(x_nd, y_ny, split, classes)
                mine.append((f"{name}/mlp", value_ny))
            if "lightgbm" in probes:
                value_ny = nonlinear.lightgbm(x_nd, y_ny, split, classes)
                mine.append((f"{name}/lightgbm", value_ny))
    curve = [
        (split, rows, probe.ridge(x_nd, y_ny, split, shared=shared).value_ny)
        for split, rows in thin
    ]
    return Found(found, curve)
