# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a frozen vector tells: ridge and nearest neighbours on the rows of some folds.

Features are standardised by the training rows of each fold. The penalty is chosen by
the inner split of each fold, pooled over the inner folds, then the probe is fitted
again on the whole training part. Nothing of a test row is seen before it is predicted.

Letters: `n` rows, `d` features, `y` targets, `a` penalties, `k` folds.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from unigeo_jax.evals.folds import Folds

PENALTIES = tuple(10.0 ** np.arange(-2, 6.5, 0.5))
# From so many features on, not all penalties are tried: the search walks from that of
# the fold before to where the inner error is least, two steps of the list at a time,
# then one. A Cholesky factor each costs less there than eigenvectors for them all.
WIDE = 400
NEIGHBOURS = 16


class Prediction(NamedTuple):
    """Out-of-fold predictions: float64 (n, y), and the penalties taken, (k, y)."""

    value_ny: np.ndarray
    penalty_ky: np.ndarray


class _Sums(NamedTuple):
    """Sums over some rows, from which any standardisation follows."""

    rows: int
    x_d: np.ndarray
    y_y: np.ndarray
    xx_dd: np.ndarray
    xy_dy: np.ndarray

    def less(self, other: "_Sums") -> "_Sums":
        pairs: Any = zip(self, other, strict=True)
        return _Sums(*(a - b for a, b in pairs))


def ridge(
    x_nd: np.ndarray,
    y_ny: np.ndarray,
    folds: Folds,
    penalties: tuple[float, ...] = PENALTIES,
) -> Prediction:
    """Minimises |y - x w - c|^2 + penalty |w|^2 for every fold, target and penalty.

    One pass over the rows makes the sums of products of every part; what a part is
    standardised by and its normal equations follow from sums of sums, so the cost of a
    penalty does not grow with the rows. float64 throughout.

    Args:
      x_nd: finite features. y_ny: finite targets.
      penalties: ascending.

    Raises:
      ValueError: features or targets are not finite.
    """
    for what, values in (("features", x_nd), ("targets", y_ny)):
        if not np.isfinite(values).all():
            raise ValueError(f"ridge: {what} are not finite; allowed: finite numbers")
    x_nd = np.asarray(x_nd, np.float64)
    centre_d, scale_d = x_nd.mean(0), _scale(x_nd.var(0))
    x_nd = (x_nd - centre_d) / scale_d  # for the conditioning of the sums alone
    middle_y = np.mean(y_ny, 0)
    y_ny = np.asarray(y_ny, np.float64) - middle_y
    out_ny = np.full(y_ny.shape, np.nan)
    chosen_ky = np.empty((len(folds.inner_kn), y_ny.shape[1]))
    index_y = np.full(y_ny.shape[1], len(penalties) // 2)
    for k, (train, test) in enumerate(folds.parts()):
        inner_n = folds.inner_kn[k, train]
        parts = [train[inner_n == i] for i in range(inner_n.max() + 1)]
        sums = [_sums(x_nd[rows], y_ny[rows]) for rows in parts]
        index_y = _choose(sums, parts, x_nd, y_ny, penalties, index_y)
        chosen_ky[k] = np.asarray(penalties)[index_y]
        out_ny[test] = _Fit(_add(sums)).predict(x_nd[test], chosen_ky[k, None])[:, 0]
    return Prediction(out_ny + middle_y, chosen_ky)


class _Fit:
    """The normal equations of some rows, ready for any penalty."""

    def __init__(self, sums: _Sums) -> None:
        self._mean_y = sums.y_y / sums.rows
        self._mean_d = sums.x_d / sums.rows
        # For a feature that is constant here the difference is rounding, not spread.
        variance_d = np.diag(sums.xx_dd) / sums.rows - self._mean_d**2
        self._scale_d = _scale(np.where(variance_d < 1e-12, 0, variance_d))
        spread_dd = sums.xx_dd - sums.rows * np.outer(self._mean_d, self._mean_d)
        self._gram_dd = spread_dd / np.outer(self._scale_d, self._scale_d)
        cross_dy = sums.xy_dy - np.outer(self._mean_d, sums.y_y)
        self._cross_dy = cross_dy / self._scale_d[:, None]
        self._eigen = None
        if len(self._mean_d) < WIDE:
            value_d, vector_dd = np.linalg.eigh(self._gram_dd)
            along_dy = vector_dd.T @ self._cross_dy
            self._eigen = np.maximum(value_d, 0), vector_dd, along_dy

    def weights(self, penalty_ay: np.ndarray) -> np.ndarray:
        """Returns (d, a, y) weights of standardised features for (a, y) penalties."""
        if self._eigen is not None:
            value_d, vector_dd, along_dy = self._eigen
            shrunk_day = along_dy[:, None] / (value_d[:, None, None] + penalty_ay[None])
            flat = vector_dd @ shrunk_day.reshape(len(value_d), -1)
            return flat.reshape(shrunk_day.shape)
        w_day = np.empty((len(self._cross_dy), *penalty_ay.shape))
        for penalty in np.unique(penalty_ay):
            gram_dd = self._gram_dd.copy()
            gram_dd.flat[:: len(gram_dd) + 1] += penalty
            factor = np.linalg.cholesky(gram_dd), True  # SciPy's holds other threads up
            solved_dy = scipy.linalg.cho_solve(
                factor, self._cross_dy, check_finite=False
            )
            a, y = np.nonzero(penalty_ay == penalty)
            w_day[:, a, y] = solved_dy[:, y]
        return w_day

    def predict(self, x_nd: np.ndarray, penalty_ay: np.ndarray) -> np.ndarray:
        """Returns (n, a, y) predictions."""
        w_day = self.weights(penalty_ay) / self._scale_d[:, None, None]
        flat = x_nd @ w_day.reshape(len(w_day), -1)
        c_ay = self._mean_y - np.tensordot(self._mean_d, w_day, 1)
        return flat.reshape(len(x_nd), *penalty_ay.shape) + c_ay


def _choose(
    sums: list[_Sums],
    parts: list[np.ndarray],
    x_nd: np.ndarray,
    y_ny: np.ndarray,
    penalties: tuple[float, ...],
    start_y: np.ndarray,
) -> np.ndarray:
    """Returns for each target the index of the penalty of least inner squared error."""
    whole = _add(sums)
    fits = [_Fit(whole.less(part)) for part in sums]
    error_ay = np.full((len(penalties), y_ny.shape[1]), np.inf)
    tried: set[int] = set()

    def fill(wanted: set[int]) -> bool:
        new = sorted(a for a in wanted - tried if 0 <= a < len(penalties))
        tried.update(new)
        if new:
            tried_a1 = np.asarray(penalties)[new, None]
            tried_ay = np.repeat(tried_a1, y_ny.shape[1], axis=1)
            error_ay[new] = 0
            for fit, rows in zip(fits, parts, strict=True):
                value_nay = fit.predict(x_nd[rows], tried_ay)
                error_ay[new] += ((value_nay - y_ny[rows, None]) ** 2).sum(0)
        return bool(new)

    if x_nd.shape[1] < WIDE:
        fill(set(range(len(penalties))))
    else:
        fill(set(start_y.tolist()))
        for step in (2, 1):
            best = set(error_ay.argmin(0).tolist())
            while fill({b + s for b in best for s in (-step, step)}):
                best = set(error_ay.argmin(0).tolist())
    return error_ay.argmin(0)


def _add(sums: list[_Sums]) -> _Sums:
    columns: Any = [sum(column) for column in zip(*sums, strict=True)]
    return _Sums(*columns)


def _sums(x_nd: np.ndarray, y_ny: np.ndarray) -> _Sums:
    return _Sums(len(x_nd), x_nd.sum(0), y_ny.sum(0), x_nd.T @ x_nd, x_nd.T @ y_ny)


def _scale(variance_d: np.ndarray) -> np.ndarray:
    """Standard deviations, 1 where a feature does not vary."""
    scale_d = np.sqrt(variance_d)
    return np.where(scale_d > 0, scale_d, 1.0)


def neighbours(
    x_nd: np.ndarray, y_ny: np.ndarray, folds: Folds, count: int = NEIGHBOURS
) -> np.ndarray:
    """Means of the targets of the nearest training rows by cosine: float64 (n, y).

    Features are centred on the training rows. For classes hand in one-hot targets: the
    means are the shares of the votes.
    """
    out_ny = np.full(y_ny.shape, np.nan)
    for train, test in folds.parts():
        centre_d = x_nd[train].mean(0)
        unit_td, unit_nd = _unit(x_nd[test] - centre_d), _unit(x_nd[train] - centre_d)
        take = min(count, len(train))
        for start in range(0, len(test), 2048):
            rows = slice(start, start + 2048)
            similar_tn = unit_td[rows] @ unit_nd.T
            near_ti = np.argpartition(-similar_tn, take - 1, axis=1)[:, :take]
            out_ny[test[rows]] = np.asarray(y_ny, np.float64)[train[near_ti]].mean(1)
    return out_ny


def _unit(x_nd: np.ndarray) -> np.ndarray:
    norm_n1 = np.linalg.norm(x_nd, axis=1, keepdims=True)
    return (x_nd / np.maximum(norm_n1, 1e-30)).astype(np.float32)


def cut(value_ny: np.ndarray, y_ny: np.ndarray, folds: Folds) -> np.ndarray:
    """Cuts predictions to the range of the training targets of their fold."""
    out_ny = np.array(value_ny)
    for train, test in folds.parts():
        out_ny[test] = np.clip(out_ny[test], y_ny[train].min(0), y_ny[train].max(0))
    return out_ny
