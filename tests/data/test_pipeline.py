# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Batches: equal for any number of processes, any start, with and without memory."""

import types

import jax
import numpy as np
import pytest

from configs import common
from unigeo_jax.data import memo, pipeline, slots


def fake_source(n=40, absent=()):
    """Records whose values say who they are; `absent` places lack the height."""
    return [
        {
            "lat": float(i),
            "lon": 2.0 * i,
            "height": None if i in absent else np.float32(i),
        }
        for i in range(n)
    ]


def _read(record, rng, scale=1.0):
    if record["height"] is None:
        return None
    noise = 0.0 if rng is None else rng.random()
    return np.array([scale * record["height"], noise], np.float32)


HEIGHT = types.SimpleNamespace(
    spec=lambda scale=1.0: np.zeros(2, np.float32), read=_read
)
READERS = [("height", HEIGHT, {"scale": 2.0}), ("again", HEIGHT, {})]


def index(source):
    lat = np.array([record["lat"] for record in source])
    return {"lat": lat, "lon": 2 * lat, "cell": np.arange(len(lat)) + 2**40}


def batches(source, start=0, process=(0, 1), memory=False, **data):
    config = common.training("mini")
    config.update(batch=8, steps=6, seed=1)
    config.data.neighbourhood = {"fraction": 0.25, "size": 2}
    config.data.update(data)
    places = pipeline.positions(index(source), config)
    records = memo.if_small(source, 100) if memory else source
    read = pipeline.ReadPlaces(records, index(source)["cell"], READERS)
    return list(
        pipeline.train_batches(
            read, places, data=config.data, start=start, process=process
        )
    )


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_resumed_run_sees_the_same_batches_and_augmentations():
    assert_equal(batches(fake_source())[3:], batches(fake_source(), start=3))


def test_processes_together_see_the_global_batch_of_one_process():
    whole = batches(fake_source())
    parts = [batches(fake_source(), process=(p, 4)) for p in range(4)]
    for step, batch in enumerate(whole):
        for p in range(4):
            assert_equal(jax.tree.map(lambda x, p=p: x[p::4], batch), parts[p][step])


def test_memory_changes_nothing():
    assert_equal(batches(fake_source()), batches(fake_source(), memory=True))


def test_more_threads_change_nothing():
    assert_equal(batches(fake_source()), batches(fake_source(), threads=4, prefetch=8))


def test_modalities_of_a_place_draw_the_same_numbers():
    for batch in batches(fake_source()):
        np.testing.assert_array_equal(
            batch["x"]["height"][:, 1], batch["x"]["again"][:, 1]
        )
        assert len(set(batch["x"]["height"][:, 1])) == 8


def test_a_record_lacking_a_modality_is_masked_and_the_others_stay():
    absent = {1, 5, 9}
    for batch in batches(fake_source(absent=absent)):
        lacks = np.isin(batch["index"], list(absent))
        np.testing.assert_array_equal(batch["here"]["height"], ~lacks)
        assert not batch["x"]["height"][lacks].any()
        np.testing.assert_array_equal(
            batch["x"]["height"][~lacks, 0], 2.0 * batch["index"][~lacks]
        )


def test_a_modality_that_no_place_has_is_refused_by_name():
    source = fake_source(absent=range(40))
    with pytest.raises(
        ValueError, match=r"none of 40 places has again, height; record"
    ):
        pipeline.check_modalities(source, READERS, "fake:train")
    pipeline.check_modalities(fake_source(absent=range(39)), READERS, "fake:train")


def test_cell_words_tell_64_bit_cells_apart():
    source = fake_source(3)
    cells = np.array([7, 7 + 2**32, -1])
    words = pipeline.ReadPlaces(source, cells, READERS).batch(np.arange(3), None)[
        "cell"
    ]
    assert words.dtype == np.int32
    np.testing.assert_array_equal(words, [[0, 7], [1, 7], [-1, -1]])


def test_the_gallery_is_fixed_and_marks_its_filling():
    source = fake_source()
    parts = list(pipeline.gallery(source, index(source), READERS, size=10, batch=4))
    numbers = np.concatenate([batch["index"] for batch in parts])
    np.testing.assert_array_equal(numbers[-2:], -1)
    assert len(set(numbers[:-2])) == 10
    heights = np.concatenate([batch["x"]["height"][:, 0] for batch in parts])
    np.testing.assert_array_equal(heights[:-2], 2.0 * numbers[:-2])
    assert all(
        not batch["x"]["height"][:, 1].any() for batch in parts
    )  # no augmentation


def test_a_gallery_of_two_processes_is_that_of_one():
    source = fake_source()

    def rows(process):
        parts = pipeline.gallery(
            source, index(source), READERS, size=10, batch=4, process=process
        )
        return [batch["index"] for batch in parts]

    both = [
        np.concatenate(pair) for pair in zip(rows((0, 2)), rows((1, 2)), strict=True)
    ]
    np.testing.assert_array_equal(both, rows((0, 1)))


def test_a_batch_that_the_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="got 8; allowed: a multiple of 3 processes"):
        batches(fake_source(), process=(0, 3))


def test_batches_that_gather_completes_fill_their_slots_too():
    source = fake_source()
    made = types.SimpleNamespace(
        **vars(HEIGHT), gather=lambda x, seeds, folder, **_: np.tile(x, (1, 100))
    )
    readers = [("early", made, {}), ("height", HEIGHT, {})]
    read = pipeline.ReadPlaces(source, index(source)["cell"], readers)
    block = slots.Block()
    fill = slots.Fill(block)
    seeds = np.arange(8, dtype=np.uint64)
    sent = []
    for step in range(4):
        batch = read.batch(np.arange(8), seeds + step, block.empty())
        if step > 0:  # there is no block before
            assert block.offset(batch["x"]["height"]) is not None
        sent.append(fill.map(batch))
    assert all(isinstance(x, slots.Filled) for x in sent)
    for step, got in enumerate(slots.empty(sent)):
        assert_equal(got, read.batch(np.arange(8), seeds + step))
