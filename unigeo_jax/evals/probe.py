# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a frozen vector tells: ridge and nearest neighbours on the rows of some folds.

Features are standardised by the training rows of each fold. The penalty is chosen by
the inner split of each fold, pooled over the inner folds, then the probe is fitted
again on the whole training part. Nothing of a test row is seen before it is predicted.

Letters: `n` rows, `d` features, `r` their axes, `y` targets, `a` penalties, `k` folds,
`s` unknowns of a fit.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from unigeo_jax.evals import axes
from unigeo_jax.evals.folds import Folds

PENALTIES = tuple(10.0 ** np.arange(-2, 6.5, 0.5))
# From so many features on, not all penalties are tried: the search walks from that of
# the fold before to where the inner error is least, in the first fold two steps of the
# list at a time, then one. A Cholesky factor each costs less than eigenvectors for all.
WIDE = 400
LEAST = 1e-3  # of the smallest penalty: axes of smaller summed squares are left out
NEIGHBOURS = 16


class Prediction(NamedTuple):
    """Out-of-fold predictions: float64 (n, y), and the penalties taken, (k, y)."""

    value_ny: np.ndarray
    penalty_ky: np.ndarray


class _Part(NamedTuple):
    """Rows of a fold: standardised features, the same along axes, targets."""

    x_nd: np.ndarray
    p_nr: np.ndarray
    y_ny: np.ndarray


class _Sums(NamedTuple):
    """Sums over some rows, from which any standardisation follows."""

    rows: int
    x_d: np.ndarray
    square_d: np.ndarray
    p_r: np.ndarray
    y_y: np.ndarray
    pp_rr: np.ndarray
    py_ry: np.ndarray

    def less(self, other: "_Sums") -> "_Sums":
        pairs: Any = zip(self, other, strict=True)
        return _Sums(*(a - b for a, b in pairs))


def principal(x_nd: np.ndarray, penalties: tuple[float, ...] = PENALTIES) -> axes.Axes:
    """What `ridge` can share between folds, seeds and targets on the same features."""
    return axes.principal(x_nd, LEAST * min(penalties))


def ridge(
    x_nd: np.ndarray,
    y_ny: np.ndarray,
    folds: Folds,
    penalties: tuple[float, ...] = PENALTIES,
    shared: axes.Axes | None = None,
) -> Prediction:
    """Minimises |y - x w - c|^2 + penalty |w|^2 for every fold, target and penalty.

    One pass over the rows makes the sums of products of every part along the principal
    axes; what a part is standardised by and its normal equations follow from sums of
    sums, so the cost of a penalty does not grow with the rows. float64 throughout.

    Args:
      x_nd: finite features. y_ny: finite targets.
      penalties: ascending.
      shared: `principal` of the features, where it is known already.

    Raises:
      ValueError: features or targets are not finite.
    """
    if not np.isfinite(y_ny).all():
        raise ValueError("ridge: targets are not finite; allowed: finite numbers")
    shared = shared or principal(x_nd, penalties)
    if len(shared.value_r) > 0.8 * len(shared.axis_dr):  # scaling is cheaper
        shared = shared._replace(p_nr=shared.x_nd, axis_dr=None)
    middle_y = np.mean(y_ny, 0)
    whole = _Part(shared.x_nd, shared.p_nr, np.asarray(y_ny, np.float64) - middle_y)
    out_ny = np.full(y_ny.shape, np.nan)
    chosen_ky = np.empty((len(folds.inner_kn), y_ny.shape[1]))
    index_y = np.full(y_ny.shape[1], len(penalties) // 2)
    for k, (train, test) in enumerate(folds.parts()):
        inner_n = folds.inner_kn[k, train]
        rows = [train[inner_n == i] for i in range(inner_n.max() + 1)]
        parts = [_Part(*(column[r] for column in whole)) for r in rows]
        fit, fits = _fits(parts, shared.axis_dr)
        index_y = _choose(fits, parts, penalties, index_y, (2, 1) if k == 0 else (1,))
        chosen_ky[k] = np.asarray(penalties)[index_y]
        tested = _Part(*(column[test] for column in whole))
        out_ny[test] = fit.predict(tested, chosen_ky[k, None])[:, 0]
    return Prediction(out_ny + middle_y, chosen_ky)


class _Fit:
    """Normal equations of some rows, ready for any penalty.

    gram_ss, cross_sy: of what the penalty is on; lift_sq leads from there to weights of
    the features (`along` False) or of the axes. Either are centred by mean_q.
    """

    def __init__(
        self,
        gram_ss: np.ndarray,
        cross_sy: np.ndarray,
        lift_sq: np.ndarray,
        mean_q: np.ndarray,
        mean_y: np.ndarray,
        along: bool,
    ) -> None:
        self._gram_ss, self._cross_sy, self._lift_sq = gram_ss, cross_sy, lift_sq
        self._mean_q, self._mean_y, self._along = mean_q, mean_y, along
        self._eigen = None
        if len(gram_ss) < WIDE:
            value_s, vector_ss = np.linalg.eigh(gram_ss)
            self._eigen = np.maximum(value_s, 0), vector_ss, vector_ss.T @ cross_sy

    @property
    def searched(self) -> bool:
        """Whether a penalty costs a factor of its own."""
        return self._eigen is None

    def predict(self, part: _Part, penalty_ay: np.ndarray) -> np.ndarray:
        """Returns (n, a, y) predictions for (a, y) penalties."""
        w_say = self._solve(penalty_ay)
        flat = w_say.reshape(len(w_say), -1)
        if self._lift_sq.ndim == 1:
            w_qz = self._lift_sq[:, None] * flat
        else:
            w_qz = self._lift_sq.T @ flat
        value_nz = (part.p_nr if self._along else part.x_nd) @ w_qz
        value_nz -= self._mean_q @ w_qz
        return value_nz.reshape(-1, *penalty_ay.shape) + self._mean_y

    def _solve(self, penalty_ay: np.ndarray) -> np.ndarray:
        if self._eigen is not None:
            value_s, vector_ss, along_sy = self._eigen
            shrunk_say = along_sy[:, None] / (value_s[:, None, None] + penalty_ay[None])
            flat = vector_ss @ shrunk_say.reshape(len(value_s), -1)
            return flat.reshape(shrunk_say.shape)
        w_say = np.empty((len(self._cross_sy), *penalty_ay.shape))
        for penalty in np.unique(penalty_ay):
            gram_ss = self._gram_ss.copy()
            gram_ss.flat[:: len(gram_ss) + 1] += penalty
            factor = np.linalg.cholesky(gram_ss), True  # SciPy's holds other threads up
            solved_sy = scipy.linalg.cho_solve(
                factor, self._cross_sy, check_finite=False
            )
            a, y = np.nonzero(penalty_ay == penalty)
            w_say[:, a, y] = solved_sy[:, y]
        return w_say


def _fits(parts: list[_Part], axis_dr: np.ndarray | None) -> tuple[_Fit, list[_Fit]]:
    """Returns the fit of all parts, and for each part that of all the others."""
    if sum(len(part.x_nd) for part in parts) < parts[0].p_nr.shape[1]:
        others = [parts[:i] + parts[i + 1 :] for i in range(len(parts))]
        return _of_rows(parts), [_of_rows(other) for other in others]
    sums = [_sums(part) for part in parts]
    columns: Any = [sum(column) for column in zip(*sums, strict=True)]
    whole = _Sums(*columns)
    return _of_sums(whole, axis_dr), [_of_sums(whole.less(s), axis_dr) for s in sums]


def _sums(part: _Part) -> _Sums:
    x_nd, p_nr, y_ny = part
    square_d = np.einsum("nd,nd->d", x_nd, x_nd)
    return _Sums(
        *(len(x_nd), x_nd.sum(0), square_d, p_nr.sum(0), y_ny.sum(0)),
        *(p_nr.T @ p_nr, p_nr.T @ y_ny),
    )


def _of_sums(sums: _Sums, axis_dr: np.ndarray | None) -> _Fit:
    mean_r, mean_y = sums.p_r / sums.rows, sums.y_y / sums.rows
    scale_d = axes.deviation(sums.square_d / sums.rows - (sums.x_d / sums.rows) ** 2)
    gram_rr = (sums.rows * -mean_r)[:, None] * mean_r
    gram_rr += sums.pp_rr
    cross_ry = sums.py_ry - np.outer(mean_r, sums.y_y)
    if axis_dr is None:
        gram_rr /= scale_d[:, None]
        gram_rr /= scale_d
        cross_ry /= scale_d[:, None]
        return _Fit(gram_rr, cross_ry, 1 / scale_d, mean_r, mean_y, True)
    root_rr = axes.root(axis_dr, scale_d)
    gram_rr = root_rr.T @ (gram_rr @ root_rr)
    cross_ry = root_rr.T @ cross_ry
    return _Fit(gram_rr, cross_ry, root_rr.T, mean_r, mean_y, True)


def _of_rows(parts: list[_Part]) -> _Fit:
    """With fewer rows than features: w = x^T (x x^T + penalty)^-1 (y - mean)."""
    x_nd, _, y_ny = (np.concatenate(column) for column in zip(*parts, strict=True))
    mean_y, mean_d = y_ny.mean(0), x_nd.mean(0)
    scale_d = axes.deviation(x_nd.var(0))
    x_nd -= mean_d
    x_nd /= scale_d
    gram_nn = x_nd @ x_nd.T
    x_nd /= scale_d
    return _Fit(gram_nn, y_ny - mean_y, x_nd, mean_d, mean_y, False)


def _choose(
    fits: list[_Fit],
    parts: list[_Part],
    penalties: tuple[float, ...],
    start_y: np.ndarray,
    steps: tuple[int, ...],
) -> np.ndarray:
    """Returns for each target the index of the penalty of least inner squared error."""
    error_ay = np.full((len(penalties), len(start_y)), np.inf)
    tried: set[int] = set()

    def fill(wanted: set[int]) -> bool:
        new = sorted(a for a in wanted - tried if 0 <= a < len(penalties))
        tried.update(new)
        if new:
            tried_a1 = np.asarray(penalties)[new, None]
            tried_ay = np.repeat(tried_a1, len(start_y), axis=1)
            error_ay[new] = 0
            for fit, part in zip(fits, parts, strict=True):
                value_nay = fit.predict(part, tried_ay)
                error_ay[new] += ((value_nay - part.y_ny[:, None]) ** 2).sum(0)
        return bool(new)

    if not any(fit.searched for fit in fits):
        fill(set(range(len(penalties))))
        return error_ay.argmin(0)
    fill(set(start_y.tolist()))
    for step in steps:
        best = set(error_ay.argmin(0).tolist())
        while fill({b + s for b in best for s in (-step, step)}):
            best = set(error_ay.argmin(0).tolist())
    return error_ay.argmin(0)


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
