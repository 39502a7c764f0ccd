# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic probes of all folds at once, by L-BFGS on the device.

Minimises, for fold f with training rows T_f,

    sum over T_f of -log softmax(x w + c)_label  +  penalty / 2 |w|^2

on features standardised by T_f: scikit-learn's LogisticRegression with C = 1 / penalty.
Two classes take twice the penalty, which makes it scikit-learn's binary form.

What makes it fast: while penalties are compared all folds share one product with the
features; directions start from the inverse of the curvature expected along the
features' principal axes; a line search costs no product, because logits are linear
along a line; weaker penalties start where the stronger one ended, none is tried once
weakening has not helped any fold, and the last fit starts from that of the comparison.

Letters: `n` rows, `d` features and the constant 1, `y` classes, `f` fits, `i` history.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.evals.folds import Folds

PENALTIES = (1000.0, 100.0, 10.0, 1.0)  # strong to weak
HISTORY = 10
MAX_ITERATIONS = 400
# Of the gradient at zero weights: while penalties are compared, and in the last fit.
ROUGH, FINE = 3e-3, 2e-4


class Axes(NamedTuple):
    """Standardised features (n, d), the eigenvalues of their products, the vectors."""

    x_nd: np.ndarray
    value_d: np.ndarray
    axis_dd: np.ndarray


def principal_axes(x_nd: np.ndarray) -> Axes:
    """What all fits on some features share, whatever the labels and folds.

    Raises:
      ValueError: features are not finite.
    """
    if not np.isfinite(x_nd).all():
        raise ValueError("logistic: features are not finite; allowed: finite numbers")
    x_nd = np.asarray(x_nd, np.float64)
    x_nd = (x_nd - x_nd.mean(0)) / np.maximum(x_nd.std(0), 1e-12)
    value_d, axis_dd = np.linalg.eigh(x_nd.T @ x_nd)
    return Axes(x_nd, np.maximum(value_d, 0), axis_dd)


class _Problem(NamedTuple):
    """What the fits share; the last column of the features is the constant 1.

    inverse_dd: about the inverse of the curvature at a typical point, symmetric.
    scale_df: spread of each feature over the training rows of a fit, 0 for the 1.
    """

    x_nd: jax.Array
    inverse_dd: jax.Array
    label_n: jax.Array
    mask_nf: jax.Array
    scale_df: jax.Array
    penalty_f: jax.Array


class _State(NamedTuple):
    """L-BFGS of every fit; `w` weights, `g` gradient, `z` logits.

    left_f: the decrease a step promises, which vanishes at the minimum.
    """

    iteration: jax.Array
    left_f: jax.Array
    w_dfy: jax.Array
    g_dfy: jax.Array
    z_nfy: jax.Array
    s_idfy: jax.Array
    q_idfy: jax.Array
    rho_if: jax.Array


def logistic(
    x_nd: np.ndarray,
    label_n: np.ndarray,
    folds: Folds,
    penalties: tuple[float, ...] = PENALTIES,
    tolerance: float = FINE,
    axes: Axes | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the class of every row from the fits of its fold.

    The penalty of a fold is the one with most right answers, then least log-loss, on
    the first inner fold, after a fit on the others. float32.

    Args:
      x_nd: finite features. label_n: classes 0, 1, ...; a class may be missing in a
        fold, where it is then never predicted.
      penalties: strong to weak.
      axes: `principal_axes` of the features, where they are known already.

    Returns:
      int (n,) classes, and the penalties taken, (k,).

    Raises:
      ValueError: features are not finite, or there is one class only.
    """
    classes = int(label_n.max()) + 1
    if len(np.unique(label_n)) < 2:
        raise ValueError(f"logistic: got one class in {len(label_n)} rows; allowed: 2+")
    inner_fn = np.stack([inner_n > 0 for inner_n in folds.inner_kn])
    count = len(folds.inner_kn)
    score_af = np.full((len(penalties), count, 2), (-np.inf, np.inf))
    best_f = np.zeros(count, int)
    w_dfy = None
    ended = []
    axes = axes or principal_axes(x_nd)
    solved = _Solver(axes, label_n, inner_fn, classes, ROUGH)
    for a, penalty in enumerate(penalties):
        z_nfy, w_dfy = solved.fit(np.full(count, penalty), w_dfy)
        ended.append(w_dfy)
        for f in range(count):
            rows = folds.inner_kn[f] == 0
            score_af[a, f] = _right_and_loss(z_nfy[rows, f], label_n[rows])
            best_f[f] = np.lexsort((score_af[:, f, 1], -score_af[:, f, 0]))[0]
        if (best_f < a).all():
            break
    chosen_f = np.asarray(penalties)[best_f]
    outer_fn = np.stack([inner_n >= 0 for inner_n in folds.inner_kn])
    solved = _Solver(axes, label_n, outer_fn, classes, tolerance)
    out_n = np.full(len(label_n), -1)
    for k, (train, test) in enumerate(folds.parts()):
        # One at a time: their penalties differ, and so do the steps they take.
        at = slice(k, k + 1)
        z_nfy, _ = solved.fit(chosen_f[at], ended[best_f[k]][:, at], at)
        seen = np.unique(label_n[train])
        out_n[test] = seen[z_nfy[test, 0][:, seen].argmax(1)]
    return out_n, chosen_f


def _right_and_loss(z_ny: np.ndarray, label_n: np.ndarray) -> tuple[float, float]:
    top_n = z_ny.max(1)
    log_sum_n = top_n + np.log(np.exp(z_ny - top_n[:, None]).sum(1))
    own_n = np.take_along_axis(z_ny, label_n[:, None], 1)[:, 0]
    return float((z_ny.argmax(1) == label_n).sum()), float((log_sum_n - own_n).mean())


class _Solver:
    """Fits of several sets of rows of the same features."""

    def __init__(
        self,
        axes: Axes,
        label_n: np.ndarray,
        mask_fn: np.ndarray,
        classes: int,
        tolerance: float,
    ) -> None:
        x_nd, self._value_d, self._axis_dd = axes
        spread_df = np.stack([x_nd[m].std(0) for m in mask_fn], 1)
        scale_df = np.where(spread_df < 1e-6, 1, spread_df)
        scale_df = np.pad(scale_df, ((0, 1), (0, 0)))
        ones_nd = np.pad(x_nd, ((0, 0), (0, 1)), constant_values=1)
        self._x_nd = jnp.asarray(ones_nd, jnp.float32)
        self._scale_df = jnp.asarray(scale_df, jnp.float32)
        self._mask_nf = jnp.asarray(mask_fn.T, jnp.float32)
        self._label_n = jnp.asarray(label_n, jnp.int32)
        self._classes, self._tolerance = classes, tolerance
        share_y = np.bincount(label_n, minlength=classes) / len(label_n)
        self._curvature = float(np.mean(share_y * (1 - share_y)))

    def fit(
        self,
        penalty_f: np.ndarray,
        w_dfy: jax.Array | None,
        which: slice = slice(None),
    ) -> tuple[np.ndarray, jax.Array]:
        """Fits `which` sets of rows, all by default.

        Returns logits (n, f, y) of all rows, and weights for a next fit to start.
        """
        n, d = self._x_nd.shape
        penalty_f = penalty_f * (2 if self._classes == 2 else 1)
        width_d = self._value_d * self._curvature + penalty_f.mean()
        inverse_dd = np.zeros((d, d), np.float32)
        half_dd = (self._axis_dd / np.sqrt(width_d)).astype(np.float32)
        inverse_dd[:-1, :-1] = half_dd @ half_dd.T
        inverse_dd[-1, -1] = 1 / (n * self._curvature)
        problem = _Problem(
            self._x_nd,
            jnp.asarray(inverse_dd),
            self._label_n,
            self._mask_nf[:, which],
            self._scale_df[:, which],
            jnp.asarray(penalty_f, jnp.float32),
        )
        if w_dfy is None:
            w_dfy = jnp.zeros((d, len(penalty_f), self._classes), jnp.float32)
        state = _descend(problem, w_dfy, self._tolerance)
        return np.asarray(state.z_nfy), state.w_dfy


@jax.jit
def _descend(problem: _Problem, w_dfy: jax.Array, tolerance: float) -> _State:
    """Steps until every one promises `tolerance`^2 of the first one from zero."""
    zero_nfy = jnp.zeros((len(problem.x_nd), *w_dfy.shape[1:]), jnp.float32)
    zero_dfy = jnp.zeros_like(w_dfy)
    g_dfy = _gradient(problem, zero_dfy, zero_nfy)
    enough_f = tolerance**2 * _dot(g_dfy, _inverse(problem, g_dfy))
    z_nfy = _logits(problem, w_dfy)
    history = jnp.zeros((HISTORY, *w_dfy.shape), jnp.float32)
    state = _State(
        jnp.int32(0),
        jnp.full_like(enough_f, jnp.inf),
        w_dfy,
        _gradient(problem, w_dfy, z_nfy),
        z_nfy,
        history,
        history,
        jnp.zeros((HISTORY, w_dfy.shape[1]), jnp.float32),
    )

    def going(state: _State) -> jax.Array:
        far = jnp.any(state.left_f > enough_f)
        return far & (state.iteration < MAX_ITERATIONS)

    return jax.lax.while_loop(going, functools.partial(_step, problem), state)


def _step(problem: _Problem, state: _State) -> _State:
    along_dfy = -_two_loops(problem, state)
    a_nfy = _logits(problem, along_dfy)
    t_f = _line_search(problem, state, along_dfy, a_nfy)
    s_dfy = t_f[None, :, None] * along_dfy
    w_dfy = state.w_dfy + s_dfy
    z_nfy = state.z_nfy + t_f[None, :, None] * a_nfy
    g_dfy = _gradient(problem, w_dfy, z_nfy)
    q_dfy = g_dfy - state.g_dfy
    sq_f = _dot(s_dfy, q_dfy)
    rho_f = jnp.where(sq_f > 1e-12, 1 / jnp.maximum(sq_f, 1e-12), 0.0)
    at = state.iteration % HISTORY
    return _State(
        state.iteration + 1,
        -_dot(along_dfy, state.g_dfy),
        w_dfy,
        g_dfy,
        z_nfy,
        state.s_idfy.at[at].set(s_dfy),
        state.q_idfy.at[at].set(q_dfy),
        state.rho_if.at[at].set(rho_f),
    )


def _two_loops(problem: _Problem, state: _State) -> jax.Array:
    """The L-BFGS direction; pairs without curvature have rho 0 and do nothing."""

    def back(i: jax.Array, carried: tuple) -> tuple:
        r_dfy, alpha_if = carried
        at = (state.iteration - 1 - i) % HISTORY
        alpha_f = state.rho_if[at] * _dot(state.s_idfy[at], r_dfy)
        r_dfy = r_dfy - alpha_f[None, :, None] * state.q_idfy[at]
        return r_dfy, alpha_if.at[at].set(alpha_f)

    def forth(i: jax.Array, carried: tuple) -> tuple:
        r_dfy, alpha_if = carried
        at = (state.iteration + i) % HISTORY
        beta_f = state.rho_if[at] * _dot(state.q_idfy[at], r_dfy)
        step_f = alpha_if[at] - beta_f
        return r_dfy + step_f[None, :, None] * state.s_idfy[at], alpha_if

    carried = (state.g_dfy, jnp.zeros_like(state.rho_if))
    r_dfy, alpha_if = jax.lax.fori_loop(0, HISTORY, back, carried)
    carried = (_inverse(problem, r_dfy), alpha_if)
    return jax.lax.fori_loop(0, HISTORY, forth, carried)[0]


def _line_search(
    problem: _Problem, state: _State, along_dfy: jax.Array, a_nfy: jax.Array
) -> jax.Array:
    """Newton steps on the slope along the line, kept inside a bracket: (f,)."""
    own_nf = jnp.take_along_axis(a_nfy, problem.label_n[:, None, None], -1)[..., 0]
    pull_dfy = problem.scale_df[:, :, None] ** 2 * along_dfy
    square_f = problem.penalty_f * _dot(pull_dfy, along_dfy)
    linear_f = problem.penalty_f * _dot(pull_dfy, state.w_dfy)
    t_f = jnp.ones_like(square_f)
    low_f, high_f = jnp.zeros_like(t_f), jnp.full_like(t_f, jnp.inf)
    for _ in range(3):
        p_nfy = jax.nn.softmax(state.z_nfy + t_f[None, :, None] * a_nfy)
        mean_nf = jnp.sum(p_nfy * a_nfy, -1)
        spread_nf = jnp.sum(p_nfy * a_nfy**2, -1) - mean_nf**2
        slope_f = jnp.sum(problem.mask_nf * (mean_nf - own_nf), 0)
        slope_f = slope_f + linear_f + t_f * square_f
        curve_f = jnp.sum(problem.mask_nf * spread_nf, 0) + square_f
        low_f = jnp.where(slope_f < 0, t_f, low_f)
        high_f = jnp.where(slope_f < 0, high_f, t_f)
        newton_f = t_f - slope_f / jnp.maximum(curve_f, 1e-20)
        outside_f = (newton_f <= low_f) | (newton_f >= high_f)
        middle_f = jnp.where(jnp.isinf(high_f), 2 * t_f, (low_f + high_f) / 2)
        t_f = jnp.where(outside_f, middle_f, newton_f)
    return t_f


def _gradient(problem: _Problem, w_dfy: jax.Array, z_nfy: jax.Array) -> jax.Array:
    p_nfy = jax.nn.softmax(z_nfy)
    hot_ny = jax.nn.one_hot(problem.label_n, z_nfy.shape[-1], dtype=p_nfy.dtype)
    p_nfy = (p_nfy - hot_ny[:, None]) * problem.mask_nf[:, :, None]
    g_dfy = jnp.einsum("nd,nfy->dfy", problem.x_nd, p_nfy)
    strength_df = problem.penalty_f[None] * problem.scale_df**2
    return g_dfy + strength_df[:, :, None] * w_dfy


def _logits(problem: _Problem, w_dfy: jax.Array) -> jax.Array:
    return jnp.einsum("nd,dfy->nfy", problem.x_nd, w_dfy)


def _inverse(problem: _Problem, g_dfy: jax.Array) -> jax.Array:
    return jnp.einsum("de,efy->dfy", problem.inverse_dd, g_dfy)


def _dot(a_dfy: jax.Array, b_dfy: jax.Array) -> jax.Array:
    return jnp.sum(a_dfy * b_dfy, (0, 2))
