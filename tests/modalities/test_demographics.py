# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Demographics: gaps, shares, standardisation by the dataset."""

import jax
import numpy as np
import pytest

from unigeo_jax.modalities import demographics

NAN = np.nan


def record(*values):
    return {"place": 1, "demographics": np.array(values, np.float32)}


def test_missing_figures_are_masked_and_a_place_without_any_is_absent():
    got = demographics.read(record(10.0, NAN, 0.0), None, width=3)
    assert got["known"].tolist() == [True, False, True]
    np.testing.assert_allclose(got["value"], [np.arcsinh(10), 0, 0], rtol=1e-6)
    assert demographics.read(record(NAN, NAN, np.inf), None, width=3) is None
    assert demographics.read({}, None, width=3) is None


def test_histograms_become_shares_and_their_total_is_kept():
    options = {"width": 4, "histograms": ((1, 4),)}
    got = demographics.read(record(5, 1, 3, 0), None, **options)
    np.testing.assert_allclose(got["value"][1:4], [0.25, 0.75, 0])
    np.testing.assert_allclose(got["value"][4], np.arcsinh(4), rtol=1e-6)
    one_gap = demographics.read(record(5, 1, NAN, 0), None, **options)
    assert one_gap["known"].tolist() == [True, False, False, False, False]
    empty = demographics.read(record(5, 0, 0, 0), None, **options)
    assert empty["known"].tolist() == [True, False, False, False, True]
    with pytest.raises(ValueError, match=r"place 1 has a negative count in columns 1"):
        demographics.read(record(5, -1, 3, 0), None, **options)
    zeros = demographics.spec(**options)
    assert got["value"].shape == zeros["value"].shape


def test_training_hides_figures_but_never_all():
    for seed in range(20):
        got = demographics.read(
            record(*[1.0] * 6), np.random.default_rng(seed), width=6, drop=0.9
        )
        assert got["known"].any()
        assert not got["value"][~got["known"]].any()
    shown = [
        demographics.read(
            record(*[1.0] * 6), np.random.default_rng(seed), width=6, drop=0.5
        )["known"]
        for seed in range(200)
    ]
    assert 0.4 < np.mean(shown) < 0.6


def test_wrong_widths_and_bins_are_refused():
    with pytest.raises(ValueError, match=r"place 1 has shape \(3,\), allowed: width=4"):
        demographics.read(record(1, 2, 3), None, width=4)
    for bins in (((0, 2), (1, 3)), ((2, 5),), ((2, 2),)):
        with pytest.raises(ValueError, match="histogram"):
            demographics.check({"width": 4, "histograms": bins}, {})
    demographics.check({"width": 4, "histograms": ((2, 4), (0, 2))}, {})


def statistics(records, **options):
    return demographics.constants(options, {}, None, lambda fields, count: records)


def test_statistics_are_of_known_figures_only():
    got = statistics([record(1, NAN, 7), record(3, 2, 7), {}], width=3, drop=0.5)
    values = np.arcsinh([1.0, 3.0])
    np.testing.assert_allclose(
        got["mean"], [values.mean(), np.arcsinh(2), np.arcsinh(7)]
    )
    np.testing.assert_allclose(got["spread"], [values.std(), 1, 1], rtol=1e-6)
    nothing = statistics([{}], width=3)
    assert nothing["mean"].tolist() == [0, 0, 0]


def test_what_a_missing_figure_would_hold_changes_nothing_but_its_absence_does():
    records = [record(i, 2 * i + i % 3, 5.0) for i in range(9)]
    encoder = demographics.Encoder(dim=4, hidden=8)
    shared = statistics(records, width=3)
    x = {"value": np.ones((2, 3), np.float32), "known": np.ones((2, 3), bool)}
    _, made = encoder.apply(
        {"constants": shared}, x, rngs={"params": jax.random.key(0)}, mutable=["params"]
    )
    params = made["params"]

    def run(value, known):
        rows = {"value": np.float32([value]), "known": np.array([known])}
        return np.asarray(encoder.apply({"params": params, "constants": shared}, rows))

    gap = run([1, 9, 2], [True, False, True])
    np.testing.assert_array_equal(gap, run([1, -3, 2], [True, False, True]))
    # The mean is as good as nothing to a sum, but it is known.
    mean = float(shared["mean"][1])
    assert not np.allclose(gap, run([1, mean, 2], [True, True, True]))
