# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Microbatches: the loss and gradient of the whole batch, the memory of one part."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common, five_modal
from unigeo_jax import microbatch, modalities, sharding, tasks
from unigeo_jax.data import pipeline

PLACES = 16


def tiny(size, batch=PLACES):
    """Three small towers with dropout; text is scanned and rematerialised as in B."""
    config = five_modal.get_config("tiny")
    with config.unlocked():
        config.batch, config.microbatch = batch, size
        config.towers = {name: config.towers[name] for name in ("street", "text")}
        config.towers.coords = five_modal.mini(width=32)["coords"]
        for tower in config.towers.values():
            tower.net.depth, tower.net.dropout = 1, 0.1
        config.towers.text.net.update(depth=2, scan=True, remat="dots")
    return config


def random_batch(config, places=PLACES):
    """Any numbers in the modalities' shapes: a fifth absent, two places in one cell."""
    rng = np.random.default_rng(0)
    readers = pipeline.readers(config.towers, modalities.get)

    def draw(one):
        shape = (places, *one.shape[1:])
        if one.dtype == bool:
            return rng.random(shape) < 0.8
        if one.dtype == np.float32:
            return rng.normal(size=shape).astype(one.dtype)
        return rng.integers(0, 255, shape).astype(one.dtype)

    batch = jax.tree.map(draw, pipeline.example_batch(readers))
    batch["cell"][places // 2] = batch["cell"][0]
    return batch


@functools.lru_cache
def compiled(size, devices):
    """(params, batch, key) -> (loss, gradients), `size` places at a time."""
    config = tiny(size)
    mesh = sharding.make_mesh(
        fsdp=2 if devices > 1 else 1, devices=jax.devices()[:devices]
    )
    task = tasks.get("contrastive")(config, mesh)

    def run(params, batch, key):
        (loss, _), grads = jax.value_and_grad(task.loss_fn, has_aux=True)(
            params, batch, key
        )
        return loss, grads

    whole = sharding.replicated(mesh)
    shardings = whole, sharding.batch_sharding(mesh), whole
    return jax.jit(run, in_shardings=shardings, out_shardings=whole)


@functools.lru_cache
def params():
    config = tiny(0)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task = tasks.get("contrastive")(config, mesh)
    example = random_batch(config, 1)
    init = jax.jit(task.init)
    return jax.device_get(init(jax.random.key(1), example))


def loss_and_grads(size, devices=1, seed=0, batch=None):
    batch = random_batch(tiny(0)) if batch is None else batch
    return jax.device_get(
        compiled(size, devices)(params(), batch, jax.random.key(seed))
    )


def assert_same(got, expected):
    """Within 1e-5 of the largest value of each leaf.

    But for the bias of keys, whose gradient is zero in exact maths (softmax does not
    see it): 1e-6 of the largest gradient of all.
    """
    (loss, grads), (expected_loss, expected_grads) = got, expected
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(expected_grads))

    def same(path, a, b):
        name = jax.tree_util.keystr(path)
        keys = name.endswith("['key']['bias']")
        atol = 1e-6 * largest if keys else 1e-5 * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)

    jax.tree_util.tree_map_with_path(same, grads, expected_grads)


@pytest.mark.parametrize(("size", "devices"), [(2, 1), (4, 1), (8, 1), (0, 8), (8, 8)])
def test_loss_and_gradients_are_those_of_the_whole_batch_with_dropout(size, devices):
    assert_same(loss_and_grads(size, devices), loss_and_grads(0))


def test_dropout_is_on_and_follows_the_key():
    losses = [[loss_and_grads(size, seed=s)[0] for s in (0, 1)] for size in (0, 4)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    assert abs(losses[0][0] - losses[0][1]) > 1e-3


def test_a_modality_absent_from_the_whole_batch_gets_no_gradient():
    batch = random_batch(tiny(0))
    batch["here"]["text"][:] = False
    got = loss_and_grads(4, batch=batch)
    assert all(not np.any(g) for g in jax.tree.leaves(got[1]["text"]))
    assert_same(got, loss_and_grads(0, batch=batch))


@pytest.mark.parametrize("size", [0, 8, 16, 32])
def test_embeddings_come_back_in_the_order_of_the_batch(mesh, size):
    rows = np.arange(32)
    x = sharding.to_global({"x": 10.0 * rows.astype(np.float32)}, mesh)

    def tower(x, rows_b):
        return jnp.stack([x["x"], rows_b.astype(jnp.float32)], axis=1)

    embed = functools.partial(microbatch.embed, tower, microbatch=size, mesh=mesh)
    z = jax.jit(embed)(x)
    np.testing.assert_array_equal(z, np.stack([10 * rows, rows], axis=1))


def test_no_row_moves_between_devices_for_the_sake_of_a_microbatch(mesh):
    def loss(w, x, size):
        def tower(x, rows_b):
            image = x["image"].reshape(-1, 12).astype(jnp.float32)  # views into rows
            z = jnp.tanh(image @ w).reshape(*x["mask"].shape, -1)
            return jnp.where(x["mask"][..., None], z, 0).mean(1) * rows_b[:, None]

        z = microbatch.embed(tower, x, microbatch=size, mesh=mesh)
        return (z**2).sum()

    x = {"image": np.ones((64, 3, 2, 6), np.uint8), "mask": np.ones((64, 3), bool)}
    x = sharding.to_global(x, mesh)
    for size in (0, 16):
        program = jax.jit(jax.grad(functools.partial(loss, size=size)))
        text = str(program.lower(jnp.ones((12, 5)), x).compile().as_text())
        moves = r"(all-gather|all-to-all|collective-permute|reduce-scatter)\S*\("
        assert re.findall(moves, text) == []
        assert "all-reduce" in text  # of the parameters' gradient
        assert ("while(" in text) == bool(size)


def test_memory_is_that_of_one_part():
    def temporaries(batch, size):
        config = five_modal.get_config("tiny")
        with config.unlocked():
            config.batch, config.microbatch = batch, size
            towers = five_modal.mini(width=64)
            config.towers = {name: towers[name] for name in ("aerial", "dsm")}
        mesh = sharding.make_mesh(devices=jax.devices()[:1])
        task = tasks.get("contrastive")(config, mesh)
        one = random_batch(config, 1)
        shapes = jax.eval_shape(task.init, jax.random.key(0), one)
        batch = jax.eval_shape(lambda: random_batch(config, batch))
        grad = jax.jit(jax.grad(task.loss_fn, has_aux=True))
        program = grad.lower(shapes, batch, jax.random.key(0)).compile()
        return program.memory_analysis().temp_size_in_bytes

    small = temporaries(32, 0)
    assert temporaries(256, 32) < 1.3 * small < temporaries(256, 0) / 4


@pytest.mark.parametrize(
    ("size", "batch", "devices"),
    [(3, 16, 1), (32, 16, 1), (-8, 16, 1), (4, 16, 8), (12, 24, 8)],
)
def test_a_microbatch_that_does_not_fit_is_refused(size, batch, devices):
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    message = (
        rf"config.microbatch: got {size}; allowed: 0 \(off\), or a divisor of"
        rf" config.batch \({batch}\) that is a multiple of {devices} devices"
    )
    with pytest.raises(ValueError, match=message):
        tasks.get("contrastive")(tiny(size, batch), mesh)


class Stack(nn.Module):
    """Two Dropouts in a scan, each rematerialised."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x):
        run = nn.scan(
            lambda module, x, _: (x, module(x)),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            length=2,
        )
        dropout = nn.remat(nn.Dropout, prevent_cse=False)
        _, y = run(dropout(self.rate, deterministic=False), x, None)
        return y


@functools.partial(jax.jit, static_argnames="rate")
def drop(x, rows_b, rate=0.5, seed=0):
    with microbatch.dropout_by_row(rows_b):
        return Stack(rate).apply({}, x, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize("views", [1, 3])
def test_a_row_is_masked_by_its_number_and_nothing_else(views):
    x = jnp.ones((8 * views, 50))
    y = np.asarray(drop(x, np.arange(8)))
    masks = y.reshape(2 * 8 * views, 50)
    assert len(np.unique(masks, axis=0)) == len(masks)  # by layer, row and view
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs((y == 0).mean() - 0.5) < 0.06
    part = drop(x[: 3 * views], np.array([5, 2, 7]))
    rows = y.reshape(2, 8, views, 50)[:, [5, 2, 7]]
    np.testing.assert_array_equal(part, rows.reshape(part.shape))
    assert np.any(y != drop(x, np.arange(8), seed=1))


def test_dropout_of_rate_zero_draws_nothing():
    run = functools.partial(drop, rows_b=np.arange(8), rate=0.0)
    assert "random_bits" not in str(jax.make_jaxpr(run)(jnp.ones((8, 4))))
    run = functools.partial(drop, rows_b=np.arange(8), rate=0.5)
    assert "random_bits" in str(jax.make_jaxpr(run)(jnp.ones((8, 4))))


def test_dropout_of_what_has_no_rows_is_refused():
    with pytest.raises(
        ValueError, match=r"dropout: got shape \(1, 4\); allowed: a mul"
    ):
        drop(jnp.ones((1, 4)), np.arange(8))


def test_the_configs_have_it_off():
    assert common.training("mini").microbatch == common.training("B").microbatch == 0
