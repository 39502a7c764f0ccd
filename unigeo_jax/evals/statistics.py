# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of out-of-fold predictions, and what makes them believable.

A score is pooled: one number over the predictions of all folds together. R2 compares
with the mean of all rows, so it can be negative; accuracy and macro-F1 lie in [0, 1].
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.spatial

from unigeo_jax.data import splits

METRICS = {"regression": "r2", "classification": "accuracy"}
RESAMPLES = 1000
NEIGHBOURS = 8
DISTANCE_KM = (0.0, 25.0, 100.0, 250.0, 750.0, np.inf)
FEWEST = 30  # rows below which a part of a table has no score


def score(kind: str, y_n: np.ndarray, value_n: np.ndarray) -> float:
    """The headline score of a kind of task: R2 or accuracy."""
    return r2(y_n, value_n) if kind == "regression" else accuracy(y_n, value_n)


def r2(y_n: np.ndarray, value_n: np.ndarray) -> float:
    """1 - squared error / squared deviation from the mean of `y_n`; nan if constant."""
    total = np.sum((y_n - np.mean(y_n)) ** 2)
    return float(1 - np.sum((y_n - value_n) ** 2) / total) if total > 0 else np.nan


def accuracy(label_n: np.ndarray, value_n: np.ndarray) -> float:
    return float(np.mean(label_n == value_n))


def macro_f1(label_n: np.ndarray, value_n: np.ndarray) -> float:
    """Mean F1 over the classes that occur in the labels, rare ones counting alike."""
    classes = np.unique(label_n)
    right, named, there = (
        np.array([np.sum(rows == c) for c in classes])
        for rows in (label_n[label_n == value_n], value_n, label_n)
    )
    return float(np.mean(2 * right / (named + there)))


def block_bootstrap(
    kind: str,
    y_n: np.ndarray,
    value_n: np.ndarray,
    block_n: np.ndarray,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of the score when whole blocks are drawn again with replacement.

    It tells how much the score hangs on which regions were seen, not on which rows.
    """
    _, block_n = np.unique(block_n, return_inverse=True)
    blocks = int(block_n.max()) + 1
    draws = _draws(blocks, seed)

    def sums(values_n: Any) -> np.ndarray:
        return draws @ np.bincount(block_n, weights=values_n, minlength=blocks)

    rows = sums(np.ones(len(y_n)))
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "regression":
            middle_n = y_n - np.mean(y_n)
            total = sums(middle_n**2) - sums(middle_n) ** 2 / rows
            scores = 1 - sums((y_n - value_n) ** 2) / total
        else:
            scores = sums(y_n == value_n) / rows
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return np.nan, np.nan
    low, high = np.quantile(scores, (0.025, 0.975)).tolist()
    return low, high


@functools.lru_cache(maxsize=16)
def _draws(blocks: int, seed: int) -> np.ndarray:
    """How often each block is drawn in each resample: float64 (RESAMPLES, blocks)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES).astype(float)


def nearest(lat: np.ndarray, lon: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """Row numbers of the `count` nearest other rows of each row: (n, count)."""
    at = splits.unit_vectors(lat, lon)
    take = min(count, len(at) - 1)
    _, found = scipy.spatial.KDTree(at).query(at, k=take + 1)
    near_ni = np.asarray(found)
    own_ni = near_ni == np.arange(len(at))[:, None]
    # Rows at one point crowd the row itself out of its own list: the last goes then.
    own_ni[~own_ni.any(1), -1] = True
    return near_ni[~own_ni].reshape(len(at), take)


def morans_i(near_ni: np.ndarray, residual_n: np.ndarray) -> float:
    """Moran's I of residuals over the `nearest` rows, weights equal in a row.

    0 is no pattern, 1 a smooth map: what a probe leaves of the geography of a label.
    Its expectation without any pattern is -1 / (n - 1).
    """
    centred_n = residual_n - residual_n.mean()
    variance = np.mean(centred_n**2)
    if variance <= 0:
        return np.nan
    return float(np.mean(centred_n * centred_n[near_ni].mean(1)) / variance)


def by_distance(
    kind: str, y_n: np.ndarray, value_n: np.ndarray, km_n: np.ndarray
) -> dict[str, dict[str, float | int | None]]:
    """The score by bins of km; a bin of fewer than `FEWEST` rows has none."""
    bins = {}
    for low, high in itertools.pairwise(DISTANCE_KM):
        rows = (km_n >= low) & (km_n < high)
        name = f"{low:g}-{high:g} km" if np.isfinite(high) else f"over {low:g} km"
        bins[name] = part(kind, y_n, value_n, rows)
    return bins


def by_group(
    kind: str, y_n: np.ndarray, value_n: np.ndarray, groups: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float | int | None]]:
    """The score of each group, such as a continent: {name: its rows, bool (n,)}."""
    return {name: part(kind, y_n, value_n, rows) for name, rows in groups.items()}


def part(
    kind: str, y_n: np.ndarray, value_n: np.ndarray, rows: np.ndarray
) -> dict[str, float | int | None]:
    """{"score", "n"} of some rows; R2 is about the mean of these rows."""
    count = int(np.count_nonzero(rows))
    if count < FEWEST:
        return {"score": None, "n": count}
    value = score(kind, y_n[rows], value_n[rows])
    return {"score": value if np.isfinite(value) else None, "n": count}
