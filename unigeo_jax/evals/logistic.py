# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic probes: L-BFGS along the principal axes of the features.

Minimises, for a fold with training rows T,

    sum over T of -log softmax(x w + c)_label  +  penalty / 2 |w|^2

on features standardised by T: scikit-learn's LogisticRegression with C = 1 / penalty.
Two classes take twice the penalty, which makes it scikit-learn's binary form.

What makes it fast: weights live along the axes (evals/axes.py), fewer than features,
where the curvature is nearly diagonal, p (1 - p) of a class times the spread of an
axis, so that directions start from its inverse; a line search costs no product, because
logits are linear along a line; classes that a fold has not seen are not fitted there;
weaker penalties start where the stronger one ended, none is tried once weakening has
not helped, and the last fit starts from that of the comparison.

Letters: `n` rows, `d` features, `r` axes and the constant 1, `y` classes, `i` history.
"""

import collections
from typing import NamedTuple

import numpy as np

from unigeo_jax.evals import axes as principal_axes
from unigeo_jax.evals.axes import Axes
from unigeo_jax.evals.folds import Folds

PENALTIES = (1000.0, 100.0, 10.0, 1.0)  # strong to weak
LEAST = 1e-2  # of the smallest penalty: axes of smaller summed squares are left out
HISTORY = 10
MAX_ITERATIONS = 400
# Of the gradient at zero weights: while penalties are compared, and in the last fit.
ROUGH, FINE = 3e-3, 2e-4


def principal(x_nd: np.ndarray, penalties: tuple[float, ...] = PENALTIES) -> Axes:
    """What all fits on some features share, whatever the labels and folds."""
    return principal_axes.principal(x_nd, LEAST * min(penalties))


def logistic(
    x_nd: np.ndarray,
    label_n: np.ndarray,
    folds: Folds,
    penalties: tuple[float, ...] = PENALTIES,
    tolerance: float = FINE,
    shared: Axes | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the class of every row from the fits of its fold.

    The penalty of a fold is the one with most right answers, then least log-loss, on
    the first inner fold, after a fit on the others. float32.

    Args:
      x_nd: finite features. label_n: classes 0, 1, ...; a class may be missing in a
        fold, where it is then never predicted.
      penalties: strong to weak.
      shared: `principal` of the features, where it is known already.

    Returns:
      int (n,) classes, and the penalties taken, (k,).

    Raises:
      ValueError: features are not finite, or there is one class only.
    """
    if len(np.unique(label_n)) < 2:
        raise ValueError(f"logistic: got one class in {len(label_n)} rows; allowed: 2+")
    shared = shared or principal(x_nd, penalties)
    out_n = np.full(len(label_n), -1)
    chosen = []
    for k, (train, test) in enumerate(folds.parts()):
        inner_n = folds.inner_kn[k]
        penalty, start = _choose(
            *(shared, label_n, np.flatnonzero(inner_n > 0)),
            *(np.flatnonzero(inner_n == 0), penalties),
        )
        rows = _Rows(shared, label_n, train)
        w_ry = rows.fit(penalty, rows.widened(*start), tolerance)
        out_n[test] = rows.classes[rows.logits(shared.p_nr[test], w_ry).argmax(1)]
        chosen.append(penalty)
    return out_n, np.asarray(chosen)


def _choose(
    shared: Axes,
    label_n: np.ndarray,
    fit: np.ndarray,
    held: np.ndarray,
    penalties: tuple[float, ...],
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Returns the penalty that does best on rows `held`; weights and their classes."""
    rows = _Rows(shared, label_n, fit)
    w_ry = rows.zeros()
    best = None
    for penalty in penalties:
        w_ry = rows.fit(penalty, w_ry, ROUGH)
        z_ny = rows.logits(shared.p_nr[held], w_ry)
        score = _right_and_loss(z_ny, label_n[held], rows.classes)
        if best is not None and score < best[0]:
            break
        best = score, penalty, w_ry
    assert best is not None
    return best[1], (best[2], rows.classes)


def _right_and_loss(
    z_ny: np.ndarray, label_n: np.ndarray, classes: np.ndarray
) -> tuple[int, float]:
    """Right answers, and minus the mean log-loss of rows whose class is known."""
    right = int((classes[z_ny.argmax(1)] == label_n).sum())
    at_n = np.minimum(np.searchsorted(classes, label_n), len(classes) - 1)
    known = classes[at_n] == label_n
    if not known.any():
        return right, -np.inf
    z_ny, at_n = z_ny[known], at_n[known]
    top_n = z_ny.max(1)
    log_sum_n = top_n + np.log(np.exp(z_ny - top_n[:, None]).sum(1))
    own_n = np.take_along_axis(z_ny, at_n[:, None], 1)[:, 0]
    return right, -float((log_sum_n - own_n).mean())


class _Point(NamedTuple):
    """Weights, logits of the rows, shares p, and the gradient.

    A row is a column here: sums over few classes are then sums of whole vectors.
    """

    w_ry: np.ndarray
    z_yn: np.ndarray
    p_yn: np.ndarray
    g_ry: np.ndarray


class _Rows:
    """Training rows, standardised by themselves and laid along the axes.

    Weights: (r + 1, y), the last row the constants c.
    """

    def __init__(self, shared: Axes, label_n: np.ndarray, rows: np.ndarray) -> None:
        x_nd, p_nr = shared.x_nd[rows], shared.p_nr[rows]
        self.classes, self._at_n = np.unique(label_n[rows], return_inverse=True)
        share_y = np.bincount(self._at_n) / len(rows)
        spread_y = np.maximum(share_y * (1 - share_y), 1e-6)  # of a class alone too
        self._share_y = spread_y.astype(np.float32)
        self._mean_r = p_nr.mean(0)
        scale_d = principal_axes.deviation(x_nd.var(0))
        self._root_rr = principal_axes.root(shared.axis_dr, scale_d)
        self._x_nr = self._laid(p_nr)
        self._spread_r = np.einsum("nr,nr->r", self._x_nr, self._x_nr)

    def _laid(self, p_nr: np.ndarray) -> np.ndarray:
        x_nr = ((p_nr - self._mean_r) @ self._root_rr).astype(np.float32)
        return np.pad(x_nr, ((0, 0), (0, 1)), constant_values=1)

    def zeros(self) -> np.ndarray:
        return np.zeros((self._x_nr.shape[1], len(self.classes)), np.float32)

    def widened(self, w_ry: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Weights of a fit on some of the rows, as a start; new classes at zero."""
        out_ry = self.zeros()
        out_ry[:, np.isin(self.classes, classes)] = w_ry
        return out_ry

    def logits(self, p_nr: np.ndarray, w_ry: np.ndarray) -> np.ndarray:
        """Of any rows, given along the axes: (n, y)."""
        return self._laid(p_nr) @ w_ry

    def fit(self, penalty: float, w_ry: np.ndarray, tolerance: float) -> np.ndarray:
        """Steps until one promises `tolerance`^2 of the first one from zero."""
        self._penalty = penalty * (2 if len(self.classes) == 2 else 1)
        zero = self._at(self.zeros(), self.zeros().T @ self._x_nr.T)
        enough = tolerance**2 * np.vdot(zero.g_ry, self._inverse(zero) * zero.g_ry)
        now = self._at(w_ry, w_ry.T @ self._x_nr.T)
        history: collections.deque = collections.deque(maxlen=HISTORY)
        for _ in range(MAX_ITERATIONS):
            along_ry = -self._direction(now, history)
            a_yn = along_ry.T @ self._x_nr.T
            step = self._line_search(now, along_ry, a_yn)
            new = self._at(now.w_ry + step * along_ry, now.z_yn + step * a_yn)
            s_ry, q_ry = step * along_ry, new.g_ry - now.g_ry
            if (sq := np.vdot(s_ry, q_ry)) > 1e-12:
                history.append((s_ry, q_ry, 1 / sq))
            promised = -float(np.vdot(along_ry, now.g_ry))
            now = new
            if promised <= enough or not step:
                break
        return now.w_ry

    def _at(self, w_ry: np.ndarray, z_yn: np.ndarray) -> _Point:
        p_yn = _softmax(z_yn)
        error_yn = p_yn.copy()
        error_yn[self._at_n, np.arange(len(self._at_n))] -= 1
        g_ry = self._x_nr.T @ error_yn.T
        g_ry[:-1] += self._penalty * w_ry[:-1]
        return _Point(w_ry, z_yn, p_yn, g_ry)

    def _inverse(self, now: _Point) -> np.ndarray:
        """About the inverse of the diagonal of the curvature: (r + 1, y)."""
        share_y = (now.p_yn * (1 - now.p_yn)).mean(1)
        share_y = np.maximum(share_y, 0.1 * self._share_y)  # where p was far off
        curve_ry = self._spread_r[:, None] * share_y
        curve_ry[:-1] += self._penalty
        return 1 / curve_ry

    def _direction(self, now: _Point, history: collections.deque) -> np.ndarray:
        """The two loops of L-BFGS."""
        r_ry = now.g_ry.copy()
        alphas = []
        for s_ry, q_ry, rho in reversed(history):
            alphas.append(rho * np.vdot(s_ry, r_ry))
            r_ry -= alphas[-1] * q_ry
        r_ry *= self._inverse(now)
        for s_ry, q_ry, rho in history:
            r_ry += (alphas.pop() - rho * np.vdot(q_ry, r_ry)) * s_ry
        return r_ry

    def _line_search(
        self, now: _Point, along_ry: np.ndarray, a_yn: np.ndarray
    ) -> np.float32:
        """Newton steps on the slope along the line, kept inside a bracket."""
        own = float(a_yn[self._at_n, np.arange(len(self._at_n))].sum())
        square = self._penalty * float(np.vdot(along_ry[:-1], along_ry[:-1]))
        linear = self._penalty * float(np.vdot(along_ry[:-1], now.w_ry[:-1]))
        t, low, high, p_yn = 0.0, 0.0, np.inf, now.p_yn
        for _ in range(4):
            pa_yn = p_yn * a_yn
            mean_n = pa_yn.sum(0)
            slope = float(mean_n.sum()) - own + linear + t * square
            spread = np.vdot(pa_yn, a_yn) - np.vdot(mean_n, mean_n)
            curve = max(float(spread), 0.0) + square
            if abs(slope) < 1e-2 * curve * t:
                break
            low, high = (t, high) if slope < 0 else (low, t)
            newton = t - slope / max(curve, 1e-20)
            if not low < newton < high:
                newton = 2 * t if np.isinf(high) else (low + high) / 2
            t = newton
            p_yn = _softmax(now.z_yn + np.float32(t) * a_yn)
        return np.float32(t)


def _softmax(z_yn: np.ndarray) -> np.ndarray:
    p_yn = np.exp(z_yn - z_yn.max(0))
    p_yn /= p_yn.sum(0)
    return p_yn
