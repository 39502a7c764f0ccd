# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Steps: equal on any layout of devices, safe from NaN, open to new modalities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common, five_modal
from unigeo_jax import checkpoint, modalities, sharding, tasks, train
from unigeo_jax.data import datasets, pipeline


def tiny(**changes):
    config = five_modal.get_config("tiny")
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def host_batches(config, data_dir, start=0):
    readers = pipeline.readers(config.towers, modalities.get)
    source, index = datasets.load("earth/tiny", "train", data_dir)
    read = pipeline.ReadPlaces(source, index["cell"], readers)
    places = pipeline.positions(index, config)
    return pipeline.train_batches(read, places, data=config.data, start=start)


def prepare(config, data=-1, fsdp=1, devices=None):
    mesh = sharding.make_mesh(data=data, fsdp=fsdp, devices=devices)
    example = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))
    return train.prepare(config, mesh, example), mesh


def steps(run, mesh, state, batches, count):
    losses = []
    for batch in itertools.islice(batches, count):
        state, values = run.step(state, sharding.to_global(batch, mesh), {})
        losses.append(float(values["loss"]))
    return state, losses


@pytest.fixture(scope="module")
def straight(earth_tiny):
    """Losses and final state of 12 steps on one device."""
    config = tiny(steps=12)
    run, mesh = prepare(config, devices=jax.devices()[:1])
    state, losses = steps(run, mesh, run.init(), host_batches(config, earth_tiny), 12)
    return jax.device_get(state), losses


def test_the_loss_falls(straight):
    _, losses = straight
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (2, 4)])
def test_eight_devices_give_the_losses_of_one(
    earth_tiny, straight, monkeypatch, data, fsdp
):
    monkeypatch.setattr(sharding, "MIN_FSDP_SIZE", 1)
    config = tiny(steps=12)
    run, mesh = prepare(config, data=data, fsdp=fsdp)
    state = run.init()
    split = [x for x in jax.tree.leaves(state.params) if not x.is_fully_replicated]
    assert bool(split) == (fsdp > 1)
    _, losses = steps(run, mesh, state, host_batches(config, earth_tiny), 12)
    np.testing.assert_allclose(losses, straight[1], rtol=1e-5)


def test_resuming_on_the_same_devices_repeats_every_bit(earth_tiny, straight, tmp_path):
    config = tiny(steps=12)
    run, mesh = prepare(config, devices=jax.devices()[:1])
    state, _ = steps(run, mesh, run.init(), host_batches(config, earth_tiny), 5)
    saves = checkpoint.Checkpoints(tmp_path / "checkpoints")
    saves.save(5, state)
    saves.wait()
    state = saves.restore(5, run.abstract)
    state, _ = steps(run, mesh, state, host_batches(config, earth_tiny, 5), 7)
    saves.close()
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), straight[0])


def test_a_modality_absent_from_the_whole_batch_gets_no_gradient(earth_tiny):
    config = tiny()
    run, mesh = prepare(config, devices=jax.devices()[:1])
    batch = next(host_batches(config, earth_tiny))
    batch["here"]["street"][:] = False
    batch["x"]["street"]["image"][:] = 77
    state = run.init()
    grad = jax.jit(jax.grad(run.task.loss_fn, has_aux=True))
    grads, _ = grad(state.params, sharding.to_global(batch, mesh), jax.random.key(0))
    assert all(not np.any(g) for g in jax.tree.leaves(grads["street"]))
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    assert any(np.any(g) for g in jax.tree.leaves(grads["aerial"]))


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters():
    def loss_fn(params, batch, key, constants):
        return jnp.sum(params["w"] * batch["x"]), {}

    task = tasks.Task(lambda *_: None, loss_fn, lambda p: p, lambda p, x: x)
    tx = optax.adam(0.1)
    params = {"w": jnp.ones(3)}
    zero = jnp.zeros((), jnp.int32)
    state = train.TrainState(zero, zero, zero, params, tx.init(params))
    step = jax.jit(train.make_step(task, tx, seed=0))
    good = {"x": jnp.array([1.0, 2.0, 3.0]), "here": {}}
    bad = {"x": jnp.array([1.0, jnp.nan, 3.0]), "here": {}}
    state, _ = step(state, good, {})
    for skipped in (1, 2):
        after, values = step(state, bad, {})
        jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
        jax.tree.map(np.testing.assert_array_equal, after.opt_state, state.opt_state)
        assert int(values["skipped"]) == skipped
        assert int(after.step) == int(state.step) + 1
        state = after
    state, values = step(state, good, {})
    assert (int(values["skipped"]), int(values["skips"])) == (0, 2)
    assert not np.array_equal(state.params["w"], after.params["w"])


def test_one_file_and_one_config_line_add_night_lights(earth_tiny):
    config = tiny()
    with config.unlocked():
        config.towers.night = common.tower({}, {}, module="tests.night_lights")
    run, mesh = prepare(config, devices=jax.devices()[:1])
    before = run.init()
    before_host = jax.device_get(before.params["night"])
    state, values = run.step(
        before, sharding.to_global(next(host_batches(config, earth_tiny)), mesh), {}
    )
    assert float(values["here/night"]) == 1.0
    assert (
        len([name for name in values if name.startswith("loss/") and "night" in name])
        == 10
    )
    # Warm-up starts at rate zero: the second step is the first that moves.
    batch = next(host_batches(config, earth_tiny, start=1))
    state, _ = run.step(state, sharding.to_global(batch, mesh), {})
    moved = jax.tree.map(
        lambda a, b: np.any(a != b), before_host, jax.device_get(state.params["night"])
    )
    assert all(jax.tree.leaves(moved))


def test_temperatures_stay_within_their_bounds_and_can_return(earth_tiny):
    config = tiny(**{"optim.lr": 3.0, "optim.warmup": 0.01, "steps": 6})
    run, mesh = prepare(config, devices=jax.devices()[:1])
    state, _ = steps(run, mesh, run.init(), host_batches(config, earth_tiny), 6)
    log_tau = np.asarray(state.params["log_tau"])
    assert log_tau.min() >= np.float32(np.log(0.01)) - 1e-6
    assert log_tau.max() <= 1e-6
