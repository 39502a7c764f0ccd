# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic probes of all folds at once, by L-BFGS on the device.

Minimises, for fold f with training rows T_f,

    sum over T_f of -log softmax(x w + c)_label  +  penalty / 2 |w|^2

on features standardised by T_f: scikit-learn's LogisticRegression with C = 1 / penalty.
Two classes take twice the penalty, which makes it scikit-learn's binary form.

What makes it fast: all folds share one product with the features; the features are
rotated to their principal axes and scaled by the curvature expected there, so that
steps of equal length count alike; a line search costs no product, because logits are
linear along a line; and weaker penalties start where the stronger one ended.

Letters: `n` rows, `d` features and the constant 1, `y` classes, `f` fits, `i` history.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

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
    value_d, axis_dd = scipy.linalg.eigh(
        x_nd.T @ x_nd, driver="evd", check_finite=False
    )
    return Axes(x_nd, np.maximum(value_d, 0), axis_dd)


class _Problem(NamedTuple):
    """What the fits share; the last column of the features is the constant 1.

    basis_dd: from preconditioned to plain weights, w = basis v.
    scale_fd: spread of each feature over the training rows of a fit, 0 for the 1.
    """

    x_nd: jax.Array
    basis_dd: jax.Array
    label_n: jax.Array
    mask_nf: jax.Array
    scale_fd: jax.Array
    penalty_f: jax.Array


class _State(NamedTuple):
    """L-BFGS of every fit; `v` weights, `g` gradient, `z` logits."""

    iteration: jax.Array
    v_fdy: jax.Array
    g_fdy: jax.Array
    z_nfy: jax.Array
    s_ifdy: jax.Array
    q_ifdy: jax.Array
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
    score_af = np.empty((len(penalties), count, 2))
    v_fdy = None
    axes = axes or principal_axes(x_nd)
    solved = _Solver(axes, label_n, inner_fn, classes, ROUGH)
    for a, penalty in enumerate(penalties):
        z_nfy, v_fdy = solved.fit(np.full(count, penalty), v_fdy)
        for f in range(count):
            rows = folds.inner_kn[f] == 0
            score_af[a, f] = _right_and_loss(z_nfy[rows, f], label_n[rows])
    best_f = [int(np.lexsort((s[:, 1], -s[:, 0]))[0]) for s in score_af.swapaxes(0, 1)]
    chosen_f = np.asarray(penalties)[best_f]
    outer_fn = np.stack([inner_n >= 0 for inner_n in folds.inner_kn])
    solved = _Solver(axes, label_n, outer_fn, classes, tolerance)
    z_nfy, _ = solved.fit(chosen_f, None)
    out_n = np.full(len(label_n), -1)
    for k, (train, test) in enumerate(folds.parts()):
        seen = np.unique(label_n[train])
        out_n[test] = seen[z_nfy[test, k][:, seen].argmax(1)]
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
        self._x_nd, self._value_d, self._axis_dd = axes
        x_nd = self._x_nd
        spread_fd = np.stack([x_nd[m].std(0) for m in mask_fn])
        self._scale_fd = np.pad(
            np.where(spread_fd < 1e-6, 1, spread_fd), ((0, 0), (0, 1))
        )
        self._scale_fd[:, -1] = 0
        self._mask_nf = mask_fn.T.astype(np.float32)
        self._label_n = jnp.asarray(label_n, jnp.int32)
        self._classes, self._tolerance = classes, tolerance

    def fit(
        self, penalty_f: np.ndarray, w_fdy: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits (n, f, y) of all rows, and weights for a next fit to start."""
        n, d = self._x_nd.shape
        penalty_f = penalty_f * (2 if self._classes == 2 else 1)
        curvature = 1 / self._classes
        width_d = np.sqrt(self._value_d * curvature + penalty_f.mean())
        basis_dd = np.zeros((d + 1, d + 1))
        basis_dd[:d, :d] = self._axis_dd / width_d
        basis_dd[d, d] = 1 / np.sqrt(n * curvature)
        ones_nd = np.pad(self._x_nd, ((0, 0), (0, 1)), constant_values=1)
        problem = _Problem(
            jnp.asarray(ones_nd @ basis_dd, jnp.float32),
            jnp.asarray(basis_dd, jnp.float32),
            self._label_n,
            jnp.asarray(self._mask_nf),
            jnp.asarray(self._scale_fd, jnp.float32),
            jnp.asarray(penalty_f, jnp.float32),
        )
        v_fdy = np.zeros((len(penalty_f), d + 1, self._classes), np.float32)
        if w_fdy is not None:
            inverse_dd = np.zeros_like(basis_dd)
            inverse_dd[:d, :d] = (self._axis_dd * width_d).T
            inverse_dd[d, d] = np.sqrt(n * curvature)
            v_fdy = np.einsum("de,fey->fdy", inverse_dd, w_fdy, optimize=True)
        state = _descend(problem, jnp.asarray(v_fdy, jnp.float32), self._tolerance)
        plain_fdy = np.einsum(
            "de,fey->fdy", basis_dd, np.asarray(state.v_fdy), optimize=True
        )
        return np.asarray(state.z_nfy), plain_fdy


@jax.jit
def _descend(problem: _Problem, v_fdy: jax.Array, tolerance: float) -> _State:
    """Steps until every gradient is `tolerance` of that at zero."""
    zero_nfy = jnp.zeros((len(problem.x_nd), *v_fdy.shape[::2]), jnp.float32)
    at_zero = _norm(_gradient(problem, jnp.zeros_like(v_fdy), zero_nfy))
    z_nfy = _logits(problem, v_fdy)
    history = jnp.zeros((HISTORY, *v_fdy.shape), jnp.float32)
    state = _State(
        jnp.int32(0),
        v_fdy,
        _gradient(problem, v_fdy, z_nfy),
        z_nfy,
        history,
        history,
        jnp.zeros((HISTORY, len(v_fdy)), jnp.float32),
    )

    def going(state: _State) -> jax.Array:
        far = jnp.any(_norm(state.g_fdy) > tolerance * at_zero)
        return far & (state.iteration < MAX_ITERATIONS)

    return jax.lax.while_loop(going, functools.partial(_step, problem), state)


def _step(problem: _Problem, state: _State) -> _State:
    along_fdy = -_two_loops(state)
    a_nfy = _logits(problem, along_fdy)
    t_f = _line_search(problem, state, along_fdy, a_nfy)
    v_fdy = state.v_fdy + t_f[:, None, None] * along_fdy
    z_nfy = state.z_nfy + t_f[None, :, None] * a_nfy
    g_fdy = _gradient(problem, v_fdy, z_nfy)
    s_fdy, q_fdy = v_fdy - state.v_fdy, g_fdy - state.g_fdy
    sq_f = jnp.sum(s_fdy * q_fdy, (1, 2))
    rho_f = jnp.where(sq_f > 1e-12, 1 / jnp.maximum(sq_f, 1e-12), 0.0)
    at = state.iteration % HISTORY
    return _State(
        state.iteration + 1,
        v_fdy,
        g_fdy,
        z_nfy,
        state.s_ifdy.at[at].set(s_fdy),
        state.q_ifdy.at[at].set(q_fdy),
        state.rho_if.at[at].set(rho_f),
    )


def _two_loops(state: _State) -> jax.Array:
    """The L-BFGS direction; pairs without curvature have rho 0 and do nothing."""

    def back(i: jax.Array, carried: tuple) -> tuple:
        r_fdy, alpha_if = carried
        at = (state.iteration - 1 - i) % HISTORY
        alpha_f = state.rho_if[at] * jnp.sum(state.s_ifdy[at] * r_fdy, (1, 2))
        r_fdy = r_fdy - alpha_f[:, None, None] * state.q_ifdy[at]
        return r_fdy, alpha_if.at[at].set(alpha_f)

    def forth(i: jax.Array, carried: tuple) -> tuple:
        r_fdy, alpha_if = carried
        at = (state.iteration + i) % HISTORY
        beta_f = state.rho_if[at] * jnp.sum(state.q_ifdy[at] * r_fdy, (1, 2))
        step_f = alpha_if[at] - beta_f
        return r_fdy + step_f[:, None, None] * state.s_ifdy[at], alpha_if

    carried = (state.g_fdy, jnp.zeros_like(state.rho_if))
    r_fdy, alpha_if = jax.lax.fori_loop(0, HISTORY, back, carried)
    at = (state.iteration - 1) % HISTORY
    size_f = state.rho_if[at] * jnp.sum(state.q_ifdy[at] ** 2, (1, 2))
    scale_f = jnp.where(size_f > 0, 1 / jnp.maximum(size_f, 1e-12), 1.0)
    carried = (r_fdy * scale_f[:, None, None], alpha_if)
    return jax.lax.fori_loop(0, HISTORY, forth, carried)[0]


def _line_search(
    problem: _Problem, state: _State, along_fdy: jax.Array, a_nfy: jax.Array
) -> jax.Array:
    """Newton steps on the slope along the line, kept inside a bracket: (f,)."""
    own_nf = _own(problem, a_nfy)
    plain_fdy = _plain(problem, along_fdy)
    square_f = problem.penalty_f * jnp.sum(plain_fdy**2, (1, 2))
    linear_f = problem.penalty_f * jnp.sum(
        plain_fdy * _plain(problem, state.v_fdy), (1, 2)
    )
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


def _gradient(problem: _Problem, v_fdy: jax.Array, z_nfy: jax.Array) -> jax.Array:
    p_nfy = jax.nn.softmax(z_nfy)
    hot_ny = jax.nn.one_hot(problem.label_n, z_nfy.shape[-1], dtype=p_nfy.dtype)
    p_nfy = (p_nfy - hot_ny[:, None]) * problem.mask_nf[:, :, None]
    g_fdy = jnp.einsum("nd,nfy->fdy", problem.x_nd, p_nfy)
    pull_fdy = _plain(problem, v_fdy) * problem.scale_fd[:, :, None]
    pull_fdy = jnp.einsum("de,fdy->fey", problem.basis_dd, pull_fdy)
    return g_fdy + problem.penalty_f[:, None, None] * pull_fdy


def _plain(problem: _Problem, v_fdy: jax.Array) -> jax.Array:
    """Weights of the features standardised by the rows of each fit."""
    w_fdy = jnp.einsum("de,fey->fdy", problem.basis_dd, v_fdy)
    return w_fdy * problem.scale_fd[:, :, None]


def _logits(problem: _Problem, v_fdy: jax.Array) -> jax.Array:
    return jnp.einsum("nd,fdy->nfy", problem.x_nd, v_fdy)


def _own(problem: _Problem, a_nfy: jax.Array) -> jax.Array:
    return jnp.take_along_axis(a_nfy, problem.label_n[:, None, None], -1)[..., 0]


def _norm(g_fdy: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(g_fdy**2, (1, 2)))
