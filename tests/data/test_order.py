# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The order of places is a pure function of seed and position."""

import grain
import numpy as np
import pytest

from unigeo_jax.data import order


@pytest.fixture
def places():
    rng = np.random.default_rng(3)
    return rng.uniform(-60, 80, 1000), rng.uniform(-180, 180, 1000)


def make(places, **changes):
    options = {"batch": 64, "steps": 50, "seed": 5, "fraction": 0.25, "size": 8}
    return order.BatchOrder(*places, **(options | changes))


def batch(sequence, step, size=64):
    return np.array([sequence[step * size + slot] for slot in range(size)])


def test_the_order_depends_on_seed_and_position_only(places):
    first, second = make(places), make(places)
    late = batch(first, 49)  # read before anything else
    for step in range(50):
        batch(second, step)
    np.testing.assert_array_equal(late, batch(second, 49))
    assert not np.array_equal(late, batch(make(places, seed=6), 49))


def test_the_number_of_steps_does_not_change_the_order(places):
    np.testing.assert_array_equal(
        batch(make(places), 7), batch(make(places, steps=9), 7)
    )


def test_uniform_draws_visit_every_place_once_an_epoch(places):
    sequence = make(places, fraction=0.0, batch=50, steps=40)
    for epoch in range(2):
        seen = [sequence[epoch * 1000 + i] for i in range(1000)]
        assert sorted(seen) == list(range(1000))


def spread(places, numbers):
    """Mean great-circle spread of places about their centre, as chord length."""
    lat, lon = np.radians(places[0][numbers]), np.radians(places[1][numbers])
    xyz = np.stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1
    )
    return np.linalg.norm(xyz - xyz.mean(0), axis=1).mean()


def test_the_stated_share_of_a_batch_comes_as_neighbourhoods(places):
    sequence = make(places)
    near, far = [], []
    for step in range(20):
        numbers = batch(sequence, step)
        near += [spread(places, group) for group in numbers[:16].reshape(2, 8)]
        far += [spread(places, group) for group in numbers[16:].reshape(6, 8)]
    assert np.median(near) < 0.35 * np.median(far)


def test_neighbourhoods_are_cut_anew_in_each_epoch(places):
    sequence = make(places, fraction=1.0, steps=200)
    groups = {
        tuple(sorted(batch(sequence, step)[i : i + 8]))
        for step in range(32)  # two epochs of 1000 places
        for i in range(0, 64, 8)
    }
    assert len(groups) > 200  # 125 groups an epoch; the second epoch's are other ones


def test_places_across_the_antimeridian_wrap():
    lat = np.zeros(3)
    np.testing.assert_array_equal(
        order.morton_order(lat, np.array([-180.0, 0.0, 10.0])),
        order.morton_order(lat, np.array([180.0, 0.0, 10.0])),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 1.5}, "got 1.5; allowed: 0 to 1"),
        ({"size": 0}, "got 0; allowed: 1 or more"),
    ],
)
def test_a_fraction_or_size_out_of_range_is_refused(places, changes, message):
    with pytest.raises(ValueError, match=message):
        make(places, **changes)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="holds no record"):
        make((np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize(("size", "seed"), [(1025, 2**31), (5003, 7)])
def test_many_numbers_are_shuffled_as_grain_shuffles_them(size, seed):
    grains = grain.MapDataset.range(size).seed(seed).shuffle().repeat()
    ours = order.Shuffled(size, seed)
    assert [ours[i] for i in range(7000)] == [grains[i] for i in range(7000)]


@pytest.mark.parametrize("size", [1, 2, 7, 1024])
def test_few_numbers_come_once_an_epoch_in_any_order_of_asking(size):
    ours, again = order.Shuffled(size, 3), order.Shuffled(size, 3)
    drawn = np.array([ours[i] for i in range(40 * size)]).reshape(40, size)
    np.testing.assert_array_equal(np.sort(drawn, 1), np.tile(np.arange(size), (40, 1)))
    assert [again[i] for i in reversed(range(40 * size))] == drawn.ravel()[
        ::-1
    ].tolist()
    assert size == 1 or len({*map(tuple, drawn.tolist())}) >= min(size, 30)
    assert size == 1 or [order.Shuffled(size, 4)[i] for i in range(40)] != [
        ours[i] for i in range(40)
    ]


def test_balanced_regions_come_equally_often_and_each_place_before_any_twice():
    region = np.repeat([4, 7, 9], [90, 9, 1])
    zeros = np.zeros(100)
    options = {"batch": 6, "steps": 15, "seed": 0, "fraction": 0.0, "size": 1}
    drawn = order.BatchOrder(zeros, zeros, region=region, **options)
    numbers = np.array([drawn[p] for p in range(len(drawn))])
    assert [(region[numbers] == r).sum() for r in (4, 7, 9)] == [30, 30, 30]
    assert len(set(numbers[region[numbers] == 4])) == 30
    assert len(set(numbers[region[numbers] == 7][:9])) == 9
    again = order.BatchOrder(zeros, zeros, region=region, **options)
    assert [again[p] for p in (0, 50, 89)] == numbers[[0, 50, 89]].tolist()
