# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folds: what stays together, what is dropped, what is refused."""

import hashlib

import numpy as np
import pytest

from unigeo_jax.evals import folds


def places(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-60, 75, n), rng.uniform(-180, 180, n)


@pytest.mark.parametrize("kind", folds.KINDS)
def test_every_row_is_tested_once_and_never_trained_on_then(kind):
    lat, lon = places()
    group = np.repeat(np.arange(8), 50)
    split = folds.make(kind, lat, lon, seed=1, group=group)
    tested = np.zeros(len(lat), int)
    for train, test in split.parts():
        assert not set(train) & set(test)
        assert len(train) + len(test) == len(lat)
        tested[test] += 1
    assert (tested == 1).all()
    assert (np.bincount(split.fold_n) > 40).all()


def test_squares_and_groups_stay_together_in_outer_and_inner_folds():
    lat, lon = places()
    group = np.repeat(np.arange(8), 50).astype(str)
    square = folds.blocks(lat, lon, 10)
    for kind, unit in (("blocked", square), ("region", group)):
        split = folds.make(kind, lat, lon, seed=0, group=group)
        for name in np.unique(unit):
            rows = unit == name
            assert len(set(split.fold_n[rows])) == 1
            for inner_n in split.inner_kn:
                assert len(set(inner_n[rows])) == 1
        assert set(split.inner_kn[0]) == {-1, 0, 1, 2}


def test_blocked_folds_are_of_about_equal_size():
    lat, lon = places(3000)
    sizes = np.bincount(folds.make("blocked", lat, lon, seed=0).fold_n)
    assert sizes.max() - sizes.min() < 0.05 * len(lat)


def test_the_seed_alone_decides():
    lat, lon = places()
    a, b, c = (folds.make("blocked", lat, lon, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.inner_kn, b.inner_kn)
    assert (a.fold_n != c.fold_n).any()


def test_the_buffer_drops_what_is_near_a_test_row_and_nothing_else():
    lat, lon = places(1000)
    split = folds.make("blocked", lat, lon, seed=0, buffer_km=300)
    plain = folds.make("blocked", lat, lon, seed=0)
    np.testing.assert_array_equal(split.fold_n, plain.fold_n)
    for train, test in split.parts():
        km = folds.km_to_nearest(lat[train], lon[train], lat[test], lon[test])
        assert km.min() > 300
        dropped = np.setdiff1d(np.arange(1000), np.concatenate([train, test]))
        assert len(dropped)
        km = folds.km_to_nearest(lat[dropped], lon[dropped], lat[test], lon[test])
        assert km.max() <= 300
    assert folds.km_to_training(split, lat, lon).min() > 300


def test_thinned_folds_keep_the_tests_and_some_of_the_training():
    lat, lon = places()
    split = folds.make("random", lat, lon, seed=0)
    thin = folds.thin(split, 30)
    np.testing.assert_array_equal(thin.fold_n, split.fold_n)
    for (train, _), (some, _) in zip(split.parts(), thin.parts(), strict=True):
        assert len(some) == 30
        assert set(some) <= set(train)


def test_the_file_names_every_row_and_its_hash_is_that_of_the_file(tmp_path):
    lat, lon = places(60)
    split = folds.make("random", lat, lon, seed=0)
    digest = folds.write(tmp_path / "a" / "folds.csv", split, lat, lon)
    data = (tmp_path / "a" / "folds.csv").read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    lines = data.decode().splitlines()
    assert lines[0].startswith("row,lat,lon,fold,inner_of_fold_0")
    assert [int(line.split(",")[3]) for line in lines[1:]] == split.fold_n.tolist()
    other = folds.make("random", lat, lon, seed=1)
    assert folds.write(tmp_path / "b.csv", other, lat, lon) != digest


@pytest.mark.parametrize(
    ("kind", "n", "options", "words"),
    [
        ("random", 4, {}, ["4 rows", "5 or more"]),
        ("blocked", 50, {"block_deg": 180.0}, ["squares of 180 degrees"]),
        ("blocked", 50, {"block_deg": 0.0}, ["block_deg=0.0"]),
        ("blocked", 50, {"buffer_km": 2e4}, ["buffer of 20000 km"]),
        ("region", 50, {"group": np.zeros(50)}, ["1 groups", "3 or more"]),
        ("region", 50, {"group": np.zeros(3)}, ["(3,)", "(50,)"]),
        ("region", 50, {}, ["None"]),
        ("striped", 50, {}, ["striped", "random, blocked, region"]),
    ],
)
def test_what_cannot_be_folded_is_refused(kind, n, options, words):
    lat, lon = places(n)
    with pytest.raises(ValueError, match="folds") as error:
        folds.make(kind, lat, lon, seed=0, **options)
    for word in words:
        assert word in str(error.value)
