# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a student: known values, units, distances."""

import numpy as np
import pytest

from unigeo_jax import fidelity


def vectors(n=200, d=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)) * [1, 10, 100, 1e-3] + 5


def test_the_teacher_itself_scores_one_and_its_mean_zero():
    target_nd = vectors()
    perfect = fidelity.measure(target_nd, target_nd)
    assert perfect == {"cosine": pytest.approx(1), "r2": 1, "n": 200}
    mean = np.broadcast_to(target_nd.mean(0), target_nd.shape)
    assert fidelity.measure(mean, target_nd)["r2"] == pytest.approx(0)
    assert fidelity.measure(target_nd * 0 + 5, target_nd * 0 + 5)["r2"] is None


def test_every_dimension_counts_in_units_of_its_own_deviation():
    target_nd = vectors()
    one = target_nd.copy()
    one[:, 3] = target_nd[:, 3].mean()
    assert fidelity.measure(one, target_nd)["r2"] == pytest.approx(0.75)


def test_places_held_out_are_measured_against_the_training_mean():
    training = vectors()
    moved = training + 3 * training.std(0)
    mean = np.broadcast_to(training.mean(0), moved.shape)
    assert fidelity.measure(mean, moved, training)["r2"] == pytest.approx(0)


def test_distances_are_great_circles_and_every_place_is_in_one_row():
    km = fidelity.nearest_km(
        *(np.array([0.0, 10.0]), np.array([0.0, 179.9])),
        *(np.array([0.0, 10.0]), np.array([1.0, -179.9])),
    )
    np.testing.assert_allclose(km, [111.195, 21.9], rtol=2e-3)
    target_nd = vectors(6)
    rows = fidelity.by_distance(
        target_nd, target_nd, np.array([0.0, 4.9, 5.0, 60.0, 250.0, 9e3]), target_nd
    )
    assert {name: row["n"] for name, row in rows.items()} == {
        "0-5": 2,
        "5-10": 1,
        "50-100": 1,
        "over 200": 2,
    }
    found = {"seen": rows["0-5"], "held_out": rows["5-10"], "held_out_by_km": rows}
    text = fidelity.table(found)
    assert "over 200 km" in text and text.count("1.000") >= 6
