# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Scores against hand-made tables, and what the intervals and maps of residuals say."""

import numpy as np
import pytest

from unigeo_jax.evals import statistics


def test_r2_is_one_for_truth_zero_for_the_mean_and_negative_beyond():
    y = np.array([1.0, 2.0, 6.0])
    assert statistics.r2(y, y) == 1
    assert statistics.r2(y, np.full(3, 3.0)) == 0
    assert statistics.r2(y, np.zeros(3)) == pytest.approx(1 - 41 / 14)
    assert np.isnan(statistics.r2(np.ones(3), y))


def test_macro_f1_counts_rare_classes_alike_and_names_that_do_not_occur_not():
    label = np.array([0, 0, 0, 1, 2])
    value = np.array([0, 0, 1, 1, 3])
    # Class 0: 2 / 2.5; class 1: 1 / 1.5; class 2: 0. Class 3 does not occur.
    assert statistics.macro_f1(label, value) == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert statistics.accuracy(label, value) == pytest.approx(0.6)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_the_interval_holds_the_score_and_is_that_of_resampled_blocks(kind):
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(40), 10)
    y = rng.normal(size=400) + 5
    value = y + rng.normal(size=400) * np.repeat(rng.uniform(0, 1, 40), 10)
    if kind == "classification":
        y, value = (y > 5).astype(int), (value > 5).astype(int)
    low, high = statistics.block_bootstrap(kind, y, value, block)
    assert low < statistics.score(kind, y, value) < high
    drawn = []
    for _ in range(1000):
        rows = np.concatenate(
            [np.flatnonzero(block == b) for b in rng.integers(0, 40, 40)]
        )
        drawn.append(statistics.score(kind, y[rows], value[rows]))
    np.testing.assert_allclose(
        [low, high], np.quantile(drawn, (0.025, 0.975)), atol=0.02
    )


def test_blocks_that_differ_widen_the_interval_and_one_row_each_does_not():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.5, 50).astype(int)
    one = np.ones(1000, int)
    wide = statistics.block_bootstrap(
        "classification", one, right, np.repeat(np.arange(20), 50)
    )
    narrow = statistics.block_bootstrap("classification", one, right, np.arange(1000))
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])


def test_morans_i_is_high_for_a_smooth_map_and_about_zero_for_noise():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 60, 2000), rng.uniform(-180, 180, 2000)
    near = statistics.nearest(lat, lon)
    assert statistics.morans_i(near, np.sin(lat / 20)) > 0.9
    assert abs(statistics.morans_i(near, rng.normal(size=2000))) < 0.05
    assert np.isnan(statistics.morans_i(near, np.ones(2000)))


def test_morans_i_takes_many_rows_at_one_point():
    near = statistics.nearest(np.zeros(30), np.zeros(30))
    assert (near != np.arange(30)[:, None]).all()
    assert np.isfinite(statistics.morans_i(near, np.arange(30.0)))


def test_parts_of_too_few_rows_have_a_count_and_no_score():
    y = np.arange(100.0)
    km = np.where(np.arange(100) < 40, 10.0, 1000.0)
    km[0] = 30.0
    bins = statistics.by_distance("regression", y, y, km)
    assert bins["0-25 km"] == {"score": 1.0, "n": 39}
    assert bins["25-100 km"] == {"score": None, "n": 1}
    assert bins["over 750 km"]["n"] == 60
    groups = statistics.by_group("regression", y, y, {"Asia": y < 50})
    assert groups == {"Asia": {"score": 1.0, "n": 50}}
