# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times the probe stage beside scikit-learn doing the same work in the same run.

python benchmarks/probes.py [--quick] [--out=runs/benchmarks/probes.json]

Ridge: 6,000 places, six targets, blocked folds of 10 degrees, three inner folds,
seventeen penalties a target, then a refit: `evals.probe.ridge` against StandardScaler
and Ridge, which fits all targets of a penalty at once. Logistic: 2,500 places, twenty
classes, four penalties on one inner fold, then a refit: `evals.logistic` against
LogisticRegression (lbfgs). Both sides choose their penalties.

The stopping rule of the logistic fits is the same in effect: each side takes the
loosest tolerance at which its accuracy agrees to 1e-4 with that of scikit-learn's
converged fits (tol 1e-6) of the same penalties. Ours is fixed, and its difference is in
the table; scikit-learn is tried at tol 1e-2, 1e-3 and 1e-4, its default, and the first
that agrees counts, else its default.

Writes {"machine", "command", "quick", "rows": [{"probe", "features", "ours_s",
"scikit_s", "scikit_tol", "ratio", "score", "score_difference"}], "stage_ratio"}; a
ratio is scikit-learn's time over ours.
"""

import pathlib
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import protocol
from unigeo_jax.evals import baselines, folds, logistic, probe, statistics

QUICK = flags.DEFINE_bool("quick", False, "Few rows: to see that it runs.")
OUT = flags.DEFINE_string("out", "runs/benchmarks/probes.json", "Where it goes.")
TOLERANCES = (1e-2, 1e-3, 1e-4)  # of scikit-learn's LogisticRegression
FEATURES = ("harmonics20", "fourier128", "fourier768")


def places(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Land-like places, six maps of them with noise, and a map of twenty classes."""
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-0.7, 0.95, n)))
    lon = rng.uniform(-180, 180, n)
    at_n3 = baselines.splits.unit_vectors(lat, lon)
    waves = at_n3 @ (4 * rng.normal(size=(3, 60)))
    maps_ny = np.cos(waves) @ rng.normal(size=(60, 6))
    y_ny = maps_ny + rng.normal(size=maps_ny.shape) * maps_ny.std(0) * 0.5
    logits_nc = np.cos(waves) @ rng.normal(size=(60, 20))
    label_n = (logits_nc + rng.gumbel(size=(n, 20)) * 3).argmax(1)
    return lat, lon, y_ny, np.unique(label_n, return_inverse=True)[1]


def scikit_ridge(x_nd: np.ndarray, y_ny: np.ndarray, split: folds.Folds) -> np.ndarray:
    """The same choice and refits as evals.probe.ridge."""
    out_ny = np.empty_like(y_ny)
    x_nd = x_nd.astype(np.float64)
    for k, (train, test) in enumerate(split.parts()):
        error_ay = np.zeros((len(probe.PENALTIES), y_ny.shape[1]))
        for inner in range(split.inner_kn[k].max() + 1):
            held = np.flatnonzero(split.inner_kn[k] == inner)
            fit = np.setdiff1d(train, held)
            scaler = StandardScaler().fit(x_nd[fit])
            fit_nd, held_nd = scaler.transform(x_nd[fit]), scaler.transform(x_nd[held])
            for a, penalty in enumerate(probe.PENALTIES):
                model = Ridge(alpha=penalty).fit(fit_nd, y_ny[fit])
                error_ay[a] += ((model.predict(held_nd) - y_ny[held]) ** 2).sum(0)
        best_y = error_ay.argmin(0)
        scaler = StandardScaler().fit(x_nd[train])
        train_nd, test_nd = scaler.transform(x_nd[train]), scaler.transform(x_nd[test])
        penalty_y: Any = np.asarray(probe.PENALTIES)[best_y]
        model = Ridge(alpha=penalty_y).fit(train_nd, y_ny[train])
        out_ny[test] = model.predict(test_nd)
    return out_ny


def scikit_logistic(
    x_nd: np.ndarray, label_n: np.ndarray, split: folds.Folds, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same choice and refits as evals.logistic; predictions and penalties."""
    out_n, chosen = np.empty_like(label_n), []

    def make(penalty: float) -> Any:
        model = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=1000)
        return make_pipeline(StandardScaler(), model)

    for k, (train, test) in enumerate(split.parts()):
        fit, held = split.inner_kn[k] > 0, split.inner_kn[k] == 0
        right = []
        for penalty in logistic.PENALTIES:
            model = make(penalty).fit(x_nd[fit], label_n[fit])
            right.append(model.score(x_nd[held], label_n[held]))
        chosen.append(logistic.PENALTIES[int(np.argmax(right))])
        model = make(chosen[-1]).fit(x_nd[train], label_n[train])
        out_n[test] = model.predict(x_nd[test])
    return out_n, np.asarray(chosen)


def tight(
    x_nd: np.ndarray, label_n: np.ndarray, split: folds.Folds, penalty_f: np.ndarray
) -> np.ndarray:
    """scikit-learn's answer with given penalties, converged."""
    out_n = np.empty_like(label_n)
    for k, (train, test) in enumerate(split.parts()):
        regression = LogisticRegression(C=1 / penalty_f[k], tol=1e-6, max_iter=9999)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(x_nd[train].astype(np.float64), label_n[train])
        out_n[test] = model.predict(x_nd[test].astype(np.float64))
    return out_n


def timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


def measure(name: str, which: str, n: int) -> dict:
    """One row of the table."""
    lat, lon, y_ny, label_n = places(n)
    x_nd = np.asarray(baselines.features(128)[name](lat, lon), np.float32)
    split = folds.make("blocked", lat, lon, seed=0)
    tolerance = None
    if which == "ridge":
        ours_s, ours = timed(probe.ridge, x_nd, y_ny, split)
        scikit_s, theirs = timed(scikit_ridge, x_nd, y_ny, split)
        scores = [
            [statistics.r2(y_ny[:, y], value[:, y]) for y in range(y_ny.shape[1])]
            for value in (ours.value_ny, theirs)
        ]
        score = np.mean(scores[0])
        difference = np.abs(np.subtract(scores[0], scores[1])).max()
    else:
        ours_s, (ours, penalty_f) = timed(logistic.logistic, x_nd, label_n, split)
        score = statistics.accuracy(label_n, ours)
        difference = away(x_nd, label_n, split, ours, penalty_f)
        scikit_s = 0.0
        for tolerance in TOLERANCES:
            scikit_s, (theirs, penalty_f) = timed(
                scikit_logistic, x_nd, label_n, split, tolerance
            )
            if away(x_nd, label_n, split, theirs, penalty_f) <= 1e-4:
                break
    return {
        "probe": which,
        "features": f"{name} ({x_nd.shape[1]})",
        "ours_s": ours_s,
        "scikit_s": scikit_s,
        "scikit_tol": tolerance,
        "ratio": scikit_s / ours_s,
        "score": float(score),
        "score_difference": float(difference),
    }


def away(
    x_nd: np.ndarray,
    label_n: np.ndarray,
    split: folds.Folds,
    got_n: np.ndarray,
    penalty_f: np.ndarray,
) -> float:
    """How far an accuracy is from that of converged fits of the same penalties."""
    expected_n = tight(x_nd, label_n, split, penalty_f)
    scores = [statistics.accuracy(label_n, value_n) for value_n in (got_n, expected_n)]
    return abs(scores[0] - scores[1])


def main(argv: list[str]) -> None:
    del argv
    rows = []
    for which, n in (("ridge", 6000), ("logistic", 2500)):
        for name in ("harmonics10",) if QUICK.value else FEATURES:
            row = measure(name, which, 300 if QUICK.value else n)
            rows.append(row)
            print(
                f"{which:9} {row['features']:18} ours {row['ours_s']:7.2f} s,"
                f" scikit-learn {row['scikit_s']:7.2f} s (tol {row['scikit_tol']}),"
                f" {row['ratio']:5.1f} times; score {row['score']:.4f}, differs"
                f" {row['score_difference']:.1e}",
                flush=True,
            )
    ours, scikit = (sum(row[key] for row in rows) for key in ("ours_s", "scikit_s"))
    print(f"whole stage: {scikit / ours:.1f} times")
    result = {
        "machine": protocol.machine(),
        "command": " ".join(sys.argv),
        "quick": QUICK.value,
        "rows": rows,
        "stage_ratio": scikit / ours,
    }
    protocol.write(pathlib.Path(OUT.value), result)


if __name__ == "__main__":
    app.run(main)
