# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Probes against scikit-learn on the same folds, features and penalties."""

import numpy as np
import pytest

from unigeo_jax.evals import folds, logistic, nonlinear, probe, statistics

sklearn = pytest.importorskip("sklearn")
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.neighbors import KNeighborsRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


def problem(n=500, d=40, seed=0):
    """Places, badly scaled and correlated features, two targets, labels."""
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(-60, 70, n), rng.uniform(-180, 180, n)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-3, 3, d) + 7
    x[:, 0] = 5.0  # never varies
    standard = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    y = np.stack([standard @ rng.normal(size=d), np.sin(lat / 20)], 1)
    y += rng.normal(size=y.shape)
    label = (standard @ rng.normal(size=(d, 4)) + rng.normal(size=(n, 4)) * 9).argmax(1)
    return lat, lon, x, y, label


def chosen_by_scikit(x, y, split, k, make, penalties, score):
    """The best penalty over the inner folds of fold k, by refits of scikit-learn."""
    totals = []
    for penalty in penalties:
        total = 0.0
        for inner in range(split.inner_kn[k].max() + 1):
            fit = (split.inner_kn[k] >= 0) & (split.inner_kn[k] != inner)
            held = split.inner_kn[k] == inner
            total += score(make(penalty).fit(x[fit], y[fit]), x[held], y[held])
        totals.append(total)
    return penalties[int(np.argmax(totals))]


@pytest.mark.parametrize("kind", ["random", "blocked"])
@pytest.mark.parametrize("wide", [False, True], ids=["eigenvectors", "search"])
def test_ridge_equals_scikit_learn(kind, wide, monkeypatch):
    monkeypatch.setattr(probe, "WIDE", 10 if wide else 1000)
    lat, lon, x, y, _ = problem()
    split = folds.make(kind, lat, lon, seed=0)
    got = probe.ridge(x, y, split)

    def make(penalty):
        return make_pipeline(StandardScaler(), Ridge(alpha=penalty))

    def error(model, x, y):
        return -np.sum((model.predict(x) - y) ** 2)

    for k, (train, test) in enumerate(split.parts()):
        for target in range(2):
            penalty = chosen_by_scikit(
                x, y[:, target], split, k, make, probe.PENALTIES, error
            )
            assert got.penalty_ky[k, target] == penalty
            model = make(penalty).fit(x[train], y[train, target])
            np.testing.assert_allclose(
                got.value_ny[test, target], model.predict(x[test]), atol=1e-6
            )


def waves(lat, lon, count=300):
    """Smooth features of places, which nearly depend on each other."""
    at = np.stack([lat, lon]).T / 90
    phases = at @ np.random.default_rng(1).normal(size=(2, count // 2)) * 2
    return np.concatenate([np.cos(phases), np.sin(phases)], 1)


@pytest.mark.parametrize("wide", [False, True], ids=["eigenvectors", "search"])
def test_ridge_along_few_axes_equals_scikit_learn(wide, monkeypatch):
    monkeypatch.setattr(probe, "WIDE", 10 if wide else 1000)
    lat, lon, _, y, _ = problem(n=900)
    x = waves(lat, lon)
    assert len(probe.principal(x).value_r) < 0.5 * x.shape[1]
    split = folds.make("blocked", lat, lon, seed=0)
    got = probe.ridge(x, y, split)
    expected = np.empty_like(y)
    for k, (train, test) in enumerate(split.parts()):
        for target in range(2):
            model = Ridge(alpha=got.penalty_ky[k, target])
            model = make_pipeline(StandardScaler(), model)
            model.fit(x[train], y[train, target])
            expected[test, target] = model.predict(x[test])
    for target in range(2):
        scores = [statistics.r2(y[:, target], v[:, target]) for v in (got[0], expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def labels_of_scikit_learn(x, label, split, penalty_f):
    """Out-of-fold labels of its multinomial regression at our penalties."""
    expected = np.empty_like(label)
    for k, (train, test) in enumerate(split.parts()):
        regression = LogisticRegression(C=1 / penalty_f[k], tol=1e-7, max_iter=9999)
        model = make_pipeline(StandardScaler(), regression).fit(x[train], label[train])
        expected[test] = model.predict(x[test])
    return expected


def test_logistic_along_few_axes_equals_scikit_learn():
    lat, lon, _, _, _ = problem(n=500)
    x = waves(lat, lon, 120)
    noise = np.random.default_rng(2).gumbel(size=(500, 3))
    label = (x[:, :3] * 3 + noise).argmax(1)
    split = folds.make("blocked", lat, lon, seed=0)
    got, penalty_f = logistic.logistic(x, label, split)
    expected = labels_of_scikit_learn(x, label, split, penalty_f)
    assert np.mean(got == expected) >= 1 - 1 / 500


def test_ridge_takes_more_features_than_rows():
    lat, lon, _, y, _ = problem(n=60)
    x = np.random.default_rng(0).normal(size=(60, 90))
    split = folds.make("random", lat, lon, seed=0)
    got = probe.ridge(x, y, split)
    train, test = next(split.parts())
    model = make_pipeline(StandardScaler(), Ridge(alpha=got.penalty_ky[0, 0]))
    model.fit(x[train], y[train, 0])
    np.testing.assert_allclose(got.value_ny[test, 0], model.predict(x[test]), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_equals_scikit_learn(classes):
    lat, lon, x, _, label = problem(n=400, d=20)
    label = label % classes
    split = folds.make("blocked", lat, lon, seed=0)
    got, penalty_f = logistic.logistic(x, label, split)
    expected = labels_of_scikit_learn(x, label, split, penalty_f)
    for score in (statistics.accuracy, statistics.macro_f1):
        assert score(label, got) == pytest.approx(score(label, expected), abs=1e-4)


def test_logistic_takes_the_penalty_that_does_best_inside():
    lat, lon, x, _, label = problem(n=400, d=20)
    split = folds.make("blocked", lat, lon, seed=0)
    _, penalty_f = logistic.logistic(x, label, split)
    right = []
    for penalty in logistic.PENALTIES:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / penalty, tol=1e-6, max_iter=9999)
        )
        fit, held = split.inner_kn[0] > 0, split.inner_kn[0] == 0
        right.append(model.fit(x[fit], label[fit]).score(x[held], label[held]))
    best = right[logistic.PENALTIES.index(penalty_f[0])]
    assert best >= max(right) - 1.5 / np.sum(split.inner_kn[0] == 0)


def test_a_class_that_a_fold_has_not_seen_is_not_predicted_there():
    lat, lon, x, _, label = problem(n=200, d=8)
    split = folds.make("region", lat, lon, seed=0, group=label)
    got, _ = logistic.logistic(x, label, split)
    for train, test in split.parts():
        assert set(got[test]) <= set(label[train])


def test_a_fold_that_has_seen_one_class_predicts_it():
    lat, lon, x, _, label = problem(n=200, d=8)
    label = label % 2
    split = folds.make("region", lat, lon, seed=0, group=np.arange(200) % 3)
    label[split.fold_n != 0] = 1
    got, _ = logistic.logistic(x, label, split)
    assert (got[split.fold_n == 0] == 1).all()


def test_neighbours_equal_scikit_learn_on_unit_vectors():
    lat, lon, x, y, _ = problem(n=200, d=8)
    split = folds.make("random", lat, lon, seed=0)
    got = probe.neighbours(x, y, split, count=3)
    for train, test in split.parts():
        centred = x - x[train].mean(0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        model = KNeighborsRegressor(3).fit(unit[train], y[train])
        np.testing.assert_allclose(got[test], model.predict(unit[test]), atol=1e-5)


def test_predictions_are_cut_to_the_training_targets_of_their_fold():
    lat, lon, _, y, _ = problem(n=50)
    split = folds.make("random", lat, lon, seed=0)
    cut = probe.cut(np.full_like(y, 1e9), y, split)
    for train, test in split.parts():
        assert (cut[test] == y[train].max(0)).all()


@pytest.mark.parametrize("classes", [False, True])
def test_an_mlp_learns_what_no_linear_probe_can(classes):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(float)
    split = folds.make("random", x[:, 0], x[:, 1], seed=0)
    targets = np.stack([1 - y, y], 1) if classes else y[:, None]
    got = nonlinear.mlp(x, targets, split, classes)
    value = got.argmax(1) if classes else got[:, 0] > 0.5
    assert np.mean(value == y) > 0.85
    linear = probe.ridge(x, y[:, None], split).value_ny[:, 0] > 0.5
    assert np.mean(linear == y) < 0.65


def test_lightgbm_learns_what_no_linear_probe_can():
    pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(float)
    split = folds.make("random", x[:, 0], x[:, 1], seed=0)
    got = nonlinear.lightgbm(x, y[:, None], split, False)[:, 0]
    assert np.mean((got > 0.5) == y) > 0.85


def test_lightgbm_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install 'lightgbm"):
        nonlinear.lightgbm(np.zeros((1, 1)), np.zeros((1, 1)), None, False)


def test_features_that_are_not_finite_are_refused():
    lat, lon, x, y, label = problem(n=30, d=3)
    split = folds.make("random", lat, lon, seed=0)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="features are not finite"):
        probe.ridge(x, y, split)
    with pytest.raises(ValueError, match="features are not finite"):
        logistic.logistic(x, label, split)
    with pytest.raises(ValueError, match="one class in 30 rows"):
        logistic.logistic(np.ones((30, 2)), np.zeros(30, int), split)
