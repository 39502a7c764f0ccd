# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Steps that must not count: not finite, or a spike; and the way round bad data."""

import itertools
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import five_modal
from unigeo_jax import (
    checkpoint,
    metrics,
    optim,
    seams,
    sharding,
    skips,
    tasks,
    train,
    workdir,
)
from unigeo_jax.data import order, pipeline


def loss_fn(params, batch, key, constants):
    del key, constants
    return jnp.mean((batch["x"] @ params["w"]) ** 2), {}


def setup(tx, devices):
    """A state and a step of a tiny task on `devices` devices."""
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    task = tasks.Task(lambda *_: None, loss_fn, lambda p: p, lambda p, x: x)
    params = {"w": jnp.arange(1.0, 4.0)}
    zero = jnp.zeros((), jnp.int32)
    state = train.TrainState(zero, zero, zero, params, tx.init(params))
    state = jax.device_put(state, sharding.replicated(mesh))
    return mesh, state, jax.jit(train.make_step(task, tx, seed=0))


def batch(poison=None, scale=1.0):
    rows = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32) * scale
    if poison is not None:
        rows[poison, 1] = np.nan
    return {"x": rows, "here": {}, "index": np.arange(16, dtype=np.int32) + 100}


def copies(tree):
    """What every device holds, as host arrays."""
    return [
        [np.asarray(shard.data) for shard in x.addressable_shards]
        for x in jax.tree.leaves(tree)
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_row_on_one_device_skips_the_step_on_all_devices_alike(value):
    mesh, state, step = setup(optax.adam(0.1), 8)
    state, _ = step(state, sharding.to_global(batch(), mesh), {})
    before = copies((state.params, state.opt_state))
    bad = batch()
    bad["x"][5, 0] = value  # rows 4 and 5 lie on device 2
    after, values = step(state, sharding.to_global(bad, mesh), {})
    for old, new in zip(before, copies((after.params, after.opt_state)), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    assert int(values["skipped"]) == 1


def test_the_places_of_a_skipped_step_are_named_and_too_many_end_the_run(capsys):
    def feed(start):
        while True:
            yield batch(poison=[3, 7] if start + 1 in (4, 5, 6) else None)
            start += 1

    def saved():
        return 2

    watch = skips.Skips(feed, most=3)
    for number, skipped in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 2)):
        watch.add(number, jnp.int32(skipped), saved)
    assert not capsys.readouterr().err  # the last two may still run
    watch.report(saved)
    err = capsys.readouterr().err
    assert "step 4 was not finite and is skipped; process 0 of 1" in err
    assert "inputs not finite of places [103, 107]" in err
    assert err.count("\n") == 2
    watch.add(6, jnp.int32(3), saved)
    with pytest.raises(FloatingPointError, match=r"steps 4 to 6; last good .* step 2"):
        watch.report(saved)


def test_too_many_skipped_steps_end_the_run_two_steps_later_without_a_report():
    watch = skips.Skips(lambda start: iter([batch()]), most=3)
    begun = []
    with pytest.raises(FloatingPointError, match="steps 4 to 6"):
        for number in range(1, 100):
            begun.append(number)
            watch.add(number, jnp.int32(max(0, number - 3)), lambda: None)
    assert begun[-1] == 8


def test_places_of_a_cell_that_another_has_are_counted():
    cell = np.zeros((16, 2), np.int32)
    cell[:, 0] = [1, 2, 3, 4, 1, 2, 1, 9, *range(20, 28)]
    cell[[3, 12], 1] = 1 << 30
    cell[12, 0] = 4  # the same two words as place 3
    cell[13, 0] = 4  # only one of them
    for devices in (1, 8):
        mesh = sharding.make_mesh(devices=jax.devices()[:devices])
        found = metrics.repeats(sharding.to_global(batch() | {"cell": cell}, mesh))
        assert found == {"same_cell": 4.0}


def test_a_run_that_is_not_finite_ends_long_before_its_next_report(tmp_path, capsys):
    config = five_modal.get_config("tiny")
    with config.unlocked():
        config.steps, config.batch = 200, 16
        config.log_every, config.max_skips = 100, 4
        config.checkpoint.every = 8
    mesh, state, step = setup(optax.adam(0.1), 1)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    abstract = checkpoint.abstract_like(state, shardings)
    run: Any = train.Prepared(*(None, lambda: state, step, abstract))
    cell, begun = np.zeros((16, 2), np.int32), []

    def feed(start):
        for number in itertools.count(start + 1):
            begun.append(number)
            yield batch(poison=[3] if number > 10 else None) | {"cell": cell}

    with pytest.raises(FloatingPointError, match=r"steps 11 to 14; .* step 8"):
        parts = (mesh, run, {}, feed, lambda params: ({}, ""), lambda params: params)
        train.carry_on(config, tmp_path, *parts)
    named = re.findall(r"step (\d+) was not finite", capsys.readouterr().err)
    assert named == ["11", "12", "13", "14"]
    assert max(begun) == 16
    assert checkpoint.steps(tmp_path / "checkpoints") == [8]


def test_where_all_inputs_are_finite_all_places_of_the_step_are_named(capsys):
    watch = skips.Skips(lambda start: iter([batch()]), most=9)
    watch.add(1, jnp.int32(1), lambda: None)
    watch.report(lambda: None)
    assert "all inputs finite; places [100, 101," in capsys.readouterr().err


def test_a_loss_spike_leaves_everything_as_it_was_and_is_counted():
    tx = optim.without_spikes(optax.adam(0.01), window=4, factor=6.0)
    mesh, state, step = setup(tx, 1)
    rng = np.random.default_rng(1)
    for _ in range(5):
        usual = sharding.to_global(batch(scale=1 + 0.1 * rng.random()), mesh)
        state, values = step(state, usual, {})
    assert int(values["spikes"]) == 0
    kept = state
    state, values = step(kept, sharding.to_global(batch(scale=50.0), mesh), {})
    assert int(values["spikes"]) == 1
    jax.tree.map(np.testing.assert_array_equal, state.params, kept.params)
    jax.tree.map(
        np.testing.assert_array_equal, state.opt_state.inner, kept.opt_state.inner
    )
    state, values = step(state, usual, {})
    assert int(values["spikes"]) == 1
    assert not np.array_equal(state.params["w"], kept.params["w"])
    with pytest.raises(ValueError, match=r"config\.spike: got window=1"):
        optim.without_spikes(tx, window=1, factor=6.0)


class Numbers:
    """Reads nothing: the batch is the numbers of its records."""

    def __len__(self):
        return 50

    def batch(self, numbers, seeds, empty):
        return {"index": numbers, "seeds": seeds}


def test_data_after_a_rewind_are_left_out_and_all_else_stays():
    places = order.BatchOrder(
        np.linspace(-80, 80, 50),
        np.zeros(50),
        batch=4,
        steps=20,
        seed=0,
        fraction=0.0,
        size=1,
    )

    def steps(skip, start=0):
        data = ConfigDict({"threads": 1, "prefetch": 1, "workers": 0, "skip": skip})
        return [
            x["index"].tolist()
            for x in pipeline.train_batches(
                Numbers(), places, data=data, start=start, process=(0, 1)
            )
        ]

    plain, rewound = steps(()), steps(((6, 5),))
    assert rewound[:6] == plain[:6]
    assert rewound[6:15] == plain[11:]
    assert steps(((6, 5),), start=8) == rewound[8:]  # a resumed run skips the same


def test_a_workdir_of_before_these_keys_is_still_that_of_the_config(tmp_path):
    config = five_modal.get_config("tiny")
    old = json.loads(config.to_json())
    del old["spike"], old["data"]["skip"], old["data"]["max_bad"]
    (tmp_path / "config.json").write_text(json.dumps({"config": old}))
    workdir.check(tmp_path, config)
    with config.unlocked():
        config.data.skip = ((3, 2),)
    with pytest.raises(ValueError, match=r"data\.skip"):
        workdir.check(tmp_path, config)


@pytest.mark.parametrize("text", ["burn@step", "kill", "kill@step:x", "kill@"])
def test_a_fault_that_is_none_is_an_error(text):
    with pytest.raises(ValueError, match="UNIGEO_FAULT: got"):
        seams.parse(text)
    assert seams.parse("kill@save.begin:2+0.5") == [
        seams.Fault("kill", "save.begin", 2, 0.5)
    ]
