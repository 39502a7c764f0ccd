# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Probes that bend: a small MLP on the device, and LightGBM where it is installed.

Both stop at the number of steps or trees that did best on the first inner fold after
training on the others, and are then trained anew on the whole training part.
Classes come as one-hot targets; what is predicted for them are shares.
"""

import functools
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unigeo_jax.evals.folds import Folds

HIDDEN, BATCH, RATE, DECAY = 128, 256, 2e-3, 1e-2
STEPS = (100, 200, 400, 800)
TREES = 400


def mlp(
    x_nd: np.ndarray, y_ny: np.ndarray, folds: Folds, classes: bool, seed: int = 0
) -> np.ndarray:
    """Out-of-fold predictions of one hidden layer of 128 (GELU, AdamW): (n, y).

    All folds train at once; squared error on standardised targets, or cross-entropy.
    """
    inner = [(inner_n > 0, inner_n == 0) for inner_n in folds.inner_kn]
    value_sfny = _train(x_nd, y_ny, [a for a, _ in inner], classes, seed)
    best = []
    for f, (_, held) in enumerate(inner):
        wrong = [
            _error(value_fny[f][held], y_ny[held], classes) for value_fny in value_sfny
        ]
        best.append(int(np.argmin(wrong)))
    value_sfny = _train(x_nd, y_ny, [n >= 0 for n in folds.inner_kn], classes, seed)
    out_ny = np.full(y_ny.shape, np.nan)
    for k, (_, test) in enumerate(folds.parts()):
        out_ny[test] = value_sfny[best[k]][k][test]
    return out_ny


def _error(value_ny: np.ndarray, y_ny: np.ndarray, classes: bool) -> float:
    if classes:
        return float(np.mean(value_ny.argmax(1) != y_ny.argmax(1)))
    spread_y = np.maximum(y_ny.var(0), 1e-12)
    return float(np.mean((value_ny - y_ny) ** 2 / spread_y))


def _train(
    x_nd: np.ndarray,
    y_ny: np.ndarray,
    masks: list[np.ndarray],
    classes: bool,
    seed: int,
) -> np.ndarray:
    """Predictions of all rows after each number of STEPS: (s, f, n, y)."""
    rng = np.random.default_rng(seed)
    x_fnd, y_fny, rows_ftb, ends = [], [], [], []
    for mask in masks:
        train = np.flatnonzero(mask)
        middle_d, spread_d = x_nd[train].mean(0), x_nd[train].std(0)
        x_fnd.append((x_nd - middle_d) / np.where(spread_d > 0, spread_d, 1))
        middle_y, spread_y = y_ny[train].mean(0), y_ny[train].std(0)
        if classes:
            middle_y, spread_y = np.zeros_like(middle_y), np.ones_like(spread_y)
        spread_y = np.where(spread_y > 0, spread_y, 1)
        y_fny.append((y_ny - middle_y) / spread_y)
        ends.append((middle_y, spread_y))
        rows_ftb.append(rng.choice(train, (STEPS[-1], BATCH)))
    value_sfny = _mlp_run(
        jnp.asarray(np.stack(x_fnd), jnp.float32),
        jnp.asarray(np.stack(y_fny), jnp.float32),
        jnp.asarray(np.stack(rows_ftb), jnp.int32),
        jax.random.split(jax.random.key(seed), len(masks)),
        classes=classes,
    )
    middle_fy, spread_fy = (np.stack(part) for part in zip(*ends, strict=True))
    return np.asarray(value_sfny) * spread_fy[:, None] + middle_fy[:, None]


@functools.partial(jax.jit, static_argnames="classes")
def _mlp_run(
    x_fnd: jax.Array, y_fny: jax.Array, rows_ftb: jax.Array, keys: Any, *, classes: bool
) -> jax.Array:
    tx = optax.adamw(RATE, weight_decay=DECAY)

    def forward(params: Any, x_nd: jax.Array) -> jax.Array:
        hidden = jax.nn.gelu(x_nd @ params["w"] + params["b"][None])
        return hidden @ params["v"] + params["c"][None]

    def one(x_nd: jax.Array, y_ny: jax.Array, rows_tb: jax.Array, key: jax.Array):
        first, second = jax.random.split(key)
        d, y = x_nd.shape[1], y_ny.shape[1]
        params = {
            "w": jax.random.normal(first, (d, HIDDEN)) / d**0.5,
            "b": jnp.zeros(HIDDEN),
            "v": jax.random.normal(second, (HIDDEN, y)) * 0.01,
            "c": jnp.zeros(y),
        }

        def step(state: Any, rows_b: jax.Array) -> tuple[Any, None]:
            params, moments = state

            def loss(params: Any) -> jax.Array:
                value_by = forward(params, x_nd[rows_b])
                if classes:
                    wrong = optax.softmax_cross_entropy(value_by, y_ny[rows_b])
                else:
                    wrong = (value_by - y_ny[rows_b]) ** 2
                return jnp.mean(wrong)

            grads = jax.grad(loss)(params)
            updates, moments = tx.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments), None

        state, values = (params, tx.init(params)), []
        for start, end in zip((0, *STEPS[:-1]), STEPS, strict=True):
            state, _ = jax.lax.scan(step, state, rows_tb[start:end])
            values.append(forward(state[0], x_nd))
        return jnp.stack(values)

    return jax.vmap(one, out_axes=1)(x_fnd, y_fny, rows_ftb, keys)


def lightgbm(
    x_nd: np.ndarray, y_ny: np.ndarray, folds: Folds, classes: bool, seed: int = 0
) -> np.ndarray:
    """Out-of-fold predictions of boosted trees, one model a target: (n, y).

    Raises:
      ValueError: the package is not installed.
    """
    if importlib.util.find_spec("lightgbm") is None:
        raise ValueError("probe lightgbm: not installed; pip install 'lightgbm>=4.5'")
    lgb: Any = importlib.import_module("lightgbm")
    settings = {"learning_rate": 0.05, "num_leaves": 31, "verbosity": -1, "seed": seed}
    settings |= {"deterministic": True, "num_threads": 0}
    # One model of all classes, or one a target.
    labels = [y_ny.argmax(1)] if classes else list(y_ny.T)
    kind = {"objective": "multiclass", "num_class": y_ny.shape[1]}
    settings |= kind if classes else {"objective": "regression"}
    out_ny = np.full(y_ny.shape, np.nan)
    for k, (train, test) in enumerate(folds.parts()):
        inner_n = folds.inner_kn[k]
        for y, label_n in enumerate(labels):
            fit, held = (
                lgb.Dataset(x_nd[rows], label_n[rows])
                for rows in (inner_n > 0, inner_n == 0)
            )
            stop = lgb.early_stopping(30, verbose=False)
            trial = lgb.train(settings, fit, TREES, valid_sets=[held], callbacks=[stop])
            rounds = max(trial.best_iteration, 1)
            model = lgb.train(
                settings, lgb.Dataset(x_nd[train], label_n[train]), rounds
            )
            if classes:
                out_ny[test] = model.predict(x_nd[test])
            else:
                out_ny[test, y] = model.predict(x_nd[test])
    return out_ny
