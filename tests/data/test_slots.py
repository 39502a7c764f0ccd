# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Batches through shared memory that is used again arrive as they were."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from unigeo_jax.data import slots

ROOT = pathlib.Path(__file__).resolve().parents[2]


def batch(seed, rows=3):
    rng = np.random.default_rng(seed)
    return {
        "index": np.arange(rows, dtype=np.int32) + seed,
        "here": {"a": rng.random(rows) < 0.5, "b": np.zeros(0, bool)},
        "x": {
            "a": {"image": rng.integers(0, 255, (rows, 5, 5, 3)).astype(np.uint8)},
            "b": rng.random((rows, 2)).astype(np.float32).T,  # not contiguous
        },
    }


def assert_equal(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.flags.c_contiguous
        np.testing.assert_array_equal(a, b)


def test_slots_are_freed_by_reading_and_batches_outlive_them():
    fill = slots.Fill(slots.Block())
    read = slots.empty(fill.map(batch(i)) for i in range(3 * slots.SLOTS))
    kept = next(read)
    for number, got in enumerate(read, 1):
        assert_equal(got, batch(number))
    assert_equal(kept, batch(0))
    one = kept["x"]["a"]["image"]
    del kept, read
    assert_equal({"image": one}, {"image": batch(0)["x"]["a"]["image"]})


def test_without_a_free_slot_or_room_a_batch_comes_as_it_is():
    fill = slots.Fill(slots.Block())
    sent = [fill.map(batch(i)) for i in range(slots.SLOTS + 1)]
    assert [isinstance(x, slots.Filled) for x in sent] == [True] * slots.SLOTS + [False]
    read = slots.empty(iter([*sent, fill.map(batch(7, rows=300))]))
    for number, got in enumerate(list(read)):
        expected = batch(7, rows=300) if number > slots.SLOTS else batch(number)
        np.testing.assert_array_equal(got["x"]["b"], expected["x"]["b"])
    assert isinstance(fill.map(batch(0)), slots.Filled)  # all are free again


def in_slot(block, seed, rows=3):
    """The batch with its contiguous leaves where the block says."""
    empty = block.empty()

    def moved(leaf):
        if not leaf.flags.c_contiguous:
            return leaf
        out = empty(leaf.shape, leaf.dtype)
        out[...] = leaf
        return out

    return jax.tree.map(moved, batch(seed, rows))


def test_a_batch_made_in_a_slot_is_sent_from_there():
    block, n = slots.Block(), slots.SLOTS
    fill = slots.Fill(block)
    first = fill.map(in_slot(block, 0))  # there is no block yet
    many = [in_slot(block, i) for i in range(1, n + 1)]
    images = [x["x"]["a"]["image"] for x in many]
    assert [block.offset(x) is None for x in images] == [False] * (n - 1) + [True]
    sent = [first, *map(fill.map, many)]
    assert [isinstance(x, slots.Filled) for x in sent] == [True] * n + [False]
    assert sent[1].leaves[3][0] == block.offset(images[0])
    for number, got in enumerate(slots.empty(sent[:-1])):
        assert_equal(got, batch(number))
    np.testing.assert_array_equal(sent[-1]["x"]["b"], batch(n)["x"]["b"])


def test_a_batch_that_outgrows_its_slot_is_copied_and_the_slot_is_free():
    block = slots.Block()
    fill = slots.Fill(block)
    fill.map(batch(0))
    for seed in range(2 * slots.SLOTS):
        large = in_slot(block, seed) | {"more": np.zeros(4096)}
        sent = fill.map(large)
        assert not isinstance(sent, slots.Filled)
        assert all(block.offset(x) is None for x in jax.tree.leaves(sent))
    whole = in_slot(block, 1)
    image = whole["x"]["a"]["image"]
    assert block.offset(image) is not None


def test_the_name_of_a_block_is_gone_once_it_is_read():
    sent = slots.Fill(slots.Block()).map(batch(0))
    assert isinstance(sent, slots.Filled)
    next(slots.empty([sent]))
    with pytest.raises(FileNotFoundError):
        next(slots.empty([sent]))


PROCESSES = """
import numpy as np
from absl import flags
from tests.data import test_pipeline as t
flags.FLAGS.mark_as_parsed()
if __name__ == "__main__":
    source = [{"lat": float(i), "lon": 2.0 * i, "height": i} for i in range(40)]
    import jax
    from unigeo_jax import modalities
    from unigeo_jax.data import order, pipeline
    from ml_collections import ConfigDict
    readers = [("coords", modalities.get("coords"), {"jitter_m": 25.0})]
    index = t.index(source)
    read = pipeline.ReadPlaces(source, index["cell"], readers)
    some = {"batch": 8, "steps": 12, "seed": 1, "fraction": 0.0, "size": 1}
    places = order.BatchOrder(index["lat"], index["lon"], **some)
    found = []
    for workers in (0, 2):
        data = ConfigDict({"workers": workers, "threads": 1, "prefetch": 2})
        stream = pipeline.train_batches(read, places, data=data, start=3)
        found.append(list(stream))
    assert len(found[1]) == 9
    jax.tree.map(np.testing.assert_array_equal, *found)
    print("equal")
"""


def test_two_loader_processes_give_the_bits_of_none(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(PROCESSES, "utf-8")
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["equal"], done.stderr
    assert "leaked" not in done.stderr and "ignored" not in done.stderr
