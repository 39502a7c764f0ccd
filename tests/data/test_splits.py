# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Splits and the choice of places, against the counts in the specification."""

import collections

import numpy as np
import pytest

from unigeo_jax.data import splits
from unigeo_jax.data.datasets import earth_crops


@pytest.fixture(scope="module")
def anchors():
    table = earth_crops.table("anchors.npz")
    return table["lat"].astype(np.float64), table["lon"].astype(np.float64)


@pytest.fixture(scope="module")
def chosen(anchors):
    places = earth_crops.table("places.npz")
    airports = earth_crops.table("airports.npz")
    points = (places["lat"], places["lon"], airports["lat"], airports["lon"])
    return splits.choose(*anchors, *points)


def test_blocks_and_anchors_fall_into_the_splits_as_measured(anchors):
    split_i = splits.assign(*anchors, near=0)
    assert collections.Counter(split_i.tolist()) == {
        "train": 175_054,
        "val": 26_912,
        "test": 28_776,
    }
    block_i = splits.block_ids(*anchors)
    blocks = {
        s: len(np.unique(block_i[split_i == s])) for s in ("train", "val", "test")
    }
    assert blocks == {"train": 216, "val": 34, "test": 31}


def test_sixty_thousand_places_are_chosen_as_measured(anchors, chosen):
    lat_i, lon_i = anchors[0][chosen], anchors[1][chosen]
    split_i = splits.assign(lat_i, lon_i)
    assert collections.Counter(split_i.tolist()) == {
        "train": 44_450 - 2000,
        "near": 2000,
        "val": 8865,
        "test": 6685,
    }
    assert np.all(np.diff(chosen) > 0)
    assert round(float((lat_i > 60).mean()), 3) == 0.069


def test_near_places_lie_in_training_blocks_and_held_out_blocks_hold_no_other(
    anchors, chosen
):
    lat_i, lon_i = anchors[0][chosen], anchors[1][chosen]
    split_i, block_i = splits.assign(lat_i, lon_i), splits.block_ids(lat_i, lon_i)
    of = {s: set(block_i[split_i == s].tolist()) for s in splits.SPLITS}
    assert of["near"] <= of["train"]
    assert not of["train"] & (of["val"] | of["test"])
    assert not of["val"] & of["test"]


def test_a_place_keeps_its_split_whatever_else_is_in_the_table(anchors):
    some = np.arange(0, len(anchors[0]), 97)
    whole = splits.assign(*anchors, near=0)[some]
    alone = splits.assign(anchors[0][some], anchors[1][some], near=0)
    np.testing.assert_array_equal(whole, alone)


@pytest.mark.parametrize("lat", [-89.9, -5.0, 0.0, 63.2, 90.0])
def test_both_sides_of_the_antimeridian_are_one_meridian(lat):
    for ids in (splits.block_ids, splits.cell_ids):
        assert ids([lat], [180.0]) == ids([lat], [-180.0]) == ids([lat], [540.0])


def test_blocks_follow_the_rule_of_the_specification():
    lat_i, lon_i = (
        np.array([-90.0, 0.0, 45.9, 90.0]),
        np.array([-180.0, 0.0, 7.6, 179.9]),
    )
    expected = [0, 36 * 9 + 18, 36 * 13 + 18, 36 * 17 + 35]
    np.testing.assert_array_equal(splits.block_ids(lat_i, lon_i), expected)


def test_near_any_agrees_with_every_distance_written_out():
    rng = np.random.default_rng(0)
    lat_i, lon_i = rng.uniform(-90, 90, 400), rng.uniform(-180, 180, 400)
    lat_j, lon_j = rng.uniform(-90, 90, 7), rng.uniform(-180, 180, 7)
    dot_ij = splits.unit_vectors(lat_i, lon_i) @ splits.unit_vectors(lat_j, lon_j).T
    km_ij = splits.EARTH_RADIUS_KM * np.arccos(np.clip(dot_ij, -1, 1))
    for km in (500.0, 3000.0):
        found_i = splits.near_any(lat_i, lon_i, lat_j, lon_j, km)
        np.testing.assert_array_equal(found_i, km_ij.min(1) <= km)
        assert 0 < found_i.sum() < len(found_i)
