# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser against AdamW written out, rates a tower, frozen towers and leaves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import five_modal
from unigeo_jax import optim


@pytest.fixture
def params():
    keys = iter(jax.random.split(jax.random.key(1), 4))
    return {
        "aerial": {
            "kernel": jax.random.normal(next(keys), (4, 3)),
            "bias": jnp.ones(3),
        },
        "coords": {
            "frequencies": jax.random.normal(next(keys), (2, 2, 2)),
            "registers": jax.random.normal(next(keys), (1, 2, 3)),
        },
        "log_tau": jnp.full((3,), -2.0, jnp.float32),
    }


@pytest.fixture
def config():
    config = five_modal.get_config("tiny")
    with config.unlocked():
        config.optim.name = "adamw"
        config.optim.clip = 0.0
        config.optim.warmup = 0.1
        config.optim.weight_decay = 0.3
    return config


def run(config, params, grads, steps=3):
    tx = optim.make(config, params, 10)
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def test_updates_equal_adamw_written_out(config, params):
    grads = jax.tree.map(lambda x: 0.1 * x + 0.01, params)
    got = run(config, params, grads)["aerial"]
    o, rate = config.optim, optim.schedule(config.optim.lr, 10, config.optim.warmup)
    for name, decay in (("kernel", o.weight_decay), ("bias", 0.0)):
        x = np.asarray(params["aerial"][name], np.float64)
        g = np.asarray(grads["aerial"][name], np.float64)
        m = v = 0.0
        for step in range(3):
            m, v = o.b1 * m + (1 - o.b1) * g, o.b2 * v + (1 - o.b2) * g * g
            m_hat, v_hat = m / (1 - o.b1 ** (step + 1)), v / (1 - o.b2 ** (step + 1))
            x = x - float(rate(step)) * (m_hat / (np.sqrt(v_hat) + o.eps) + decay * x)
        np.testing.assert_allclose(got[name], x, rtol=1e-5, atol=1e-6)


def test_frequencies_get_no_update_at_all(config, params):
    got = run(config, params, jax.tree.map(jnp.ones_like, params))
    np.testing.assert_array_equal(
        got["coords"]["frequencies"], params["coords"]["frequencies"]
    )
    assert not np.array_equal(got["coords"]["registers"], params["coords"]["registers"])


def test_registers_biases_and_temperatures_do_not_decay(params):
    mask = optim.decay_mask(params)
    assert mask["aerial"] == {"kernel": True, "bias": False}
    assert not mask["coords"]["registers"]
    assert not mask["log_tau"]


def test_a_frozen_tower_stays_and_the_others_move(config, params):
    config.towers.aerial.freeze = True
    got = run(config, params, jax.tree.map(jnp.ones_like, params))
    jax.tree.map(np.testing.assert_array_equal, got["aerial"], params["aerial"])
    assert not np.array_equal(got["log_tau"], params["log_tau"])


def test_the_rate_of_a_tower_scales_its_updates(config, params):
    ones = jax.tree.map(jnp.ones_like, params)
    full = run(config, params, ones, steps=2)["aerial"]["bias"] - 1.0
    config.towers.aerial.lr = 0.25
    quarter = run(config, params, ones, steps=2)["aerial"]["bias"] - 1.0
    np.testing.assert_allclose(quarter, 0.25 * full, rtol=1e-4)


def stacked(tree):
    """The two blocks of `tower_of_two_blocks` as `scan` keeps them."""
    blocks = [tree["Transformer"][f"encoderblock_{i}"]["kernel"] for i in range(2)]
    rest = {k: v for k, v in tree["Transformer"].items() if "block" not in k}
    inner = rest | {"encoderblock": {"kernel": jnp.stack(blocks)}}
    return tree | {"Transformer": inner}


def tower_of_two_blocks():
    leaf = jnp.arange(6.0).reshape(2, 3) / 5
    return {
        "embedding": {"kernel": leaf},
        "pos_embedding": leaf,
        "Transformer": {
            "encoderblock_0": {"kernel": leaf},
            "encoderblock_1": {"kernel": leaf},
            "encoder_norm": {"scale": leaf[0]},
        },
        "MAPHead_0": {"MlpBlock_0": {"Dense_0": {"kernel": leaf}}},
        "head": {"kernel": leaf},
    }


@pytest.mark.parametrize("scan", [False, True])
def test_layer_decay_scales_updates_by_depth_unrolled_and_stacked(config, scan):
    params = {"aerial": tower_of_two_blocks(), "log_tau": jnp.ones(3)}
    if scan:
        params["aerial"] = stacked(params["aerial"])
    grads = jax.tree.map(lambda x: 0.5 * x + 0.1, params)
    config.towers.aerial.lr, config.towers.aerial.layer_decay = 0.5, 0.7
    got = run(config, params, grads, steps=2)

    # AdamW written out: the rate of the first step is 0, so two steps make one move.
    o, rate = config.optim, float(optim.schedule(config.optim.lr, 10, 0.1)(1))

    def moved(x, grad, factor, decays=True):
        x, grad = np.asarray(x, np.float64), np.asarray(grad, np.float64)
        step = grad / (np.abs(grad) + o.eps) + (o.weight_decay if decays else 0.0) * x
        return x - rate * factor * step

    def check(factor, *path, row=None, decays=True):
        x, grad, out = params["aerial"], grads["aerial"], got["aerial"]
        for name in path:
            x, grad, out = x[name], grad[name], out[name]
        if row is not None:
            x, grad, out = x[row], grad[row], out[row]
        expected = moved(x, grad, factor, decays)
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)

    check(0.5 * 0.7**3, "embedding", "kernel")
    check(0.5 * 0.7**3, "pos_embedding")
    for layer, factor in enumerate((0.5 * 0.7**2, 0.5 * 0.7)):
        name = "encoderblock" if scan else f"encoderblock_{layer}"
        check(factor, "Transformer", name, "kernel", row=layer if scan else None)
    check(0.5, "Transformer", "encoder_norm", "scale", decays=False)
    check(0.5, "MAPHead_0", "MlpBlock_0", "Dense_0", "kernel")
    check(0.5, "head", "kernel")
    expected = moved(params["log_tau"], grads["log_tau"], 1.0, decays=False)
    np.testing.assert_allclose(got["log_tau"], expected, rtol=1e-6)


def test_layer_decay_of_1_leaves_every_rate_alone(config):
    params = {"aerial": tower_of_two_blocks(), "log_tau": jnp.ones(3)}
    assert optim.relative_rates(config, params) == {}


@pytest.mark.parametrize(("decay", "blocks"), [(0.0, True), (1.1, True), (0.9, False)])
def test_a_layer_decay_that_cannot_be_is_refused(config, params, decay, blocks):
    config.towers.aerial.layer_decay = decay
    if blocks:
        params["aerial"] = tower_of_two_blocks()
    with pytest.raises(ValueError, match=r"towers\.aerial\.layer_decay: got"):
        optim.make(config, params, 10)


def test_a_frozen_body_keeps_all_but_pooling_and_head(config):
    params = {"aerial": tower_of_two_blocks(), "log_tau": jnp.ones(3)}
    config.towers.aerial.freeze_body = True
    got = run(config, params, jax.tree.map(jnp.ones_like, params))
    before, after = params["aerial"], got["aerial"]
    for name in ("embedding", "pos_embedding", "Transformer"):
        jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
    for name in ("MAPHead_0", "head"):
        moved = jax.tree.map(lambda a, b: bool((a != b).all()), after, before)[name]
        assert all(jax.tree.leaves(moved)), name
    assert not np.array_equal(got["log_tau"], params["log_tau"])

    parts = optim.frozen_parts(config)
    grads = jax.grad(
        lambda p: sum(x.sum() for x in jax.tree.leaves(optim.stop_frozen(p, parts)))
    )(params)["aerial"]
    assert all((x == 0).all() for x in jax.tree.leaves(grads["Transformer"]))
    np.testing.assert_array_equal(grads["head"]["kernel"], 1.0)


def test_freezing_the_body_of_a_tower_without_a_head_is_refused(config, params):
    config.towers.aerial.freeze_body = True
    with pytest.raises(ValueError, match="freeze_body: this tower has neither MAPHead"):
        optim.make(config, params, 10)
    config.towers.aerial.freeze = True  # all of it: freeze_body has nothing to add
    optim.make(config, params, 10)


def test_the_schedule_warms_up_and_ends_at_zero():
    rate = optim.schedule(2e-3, 100, 0.1)
    assert float(rate(0)) == 0.0
    np.testing.assert_allclose(float(rate(10)), 2e-3, rtol=1e-6)
    np.testing.assert_allclose(float(rate(100)), 0.0, atol=1e-9)


def test_muon_moves_matrices_by_orthogonal_steps_of_adams_size(config):
    config.optim.name, config.optim.weight_decay = "muon", 0.0
    config.optim.warmup = 0.0
    rng = np.random.default_rng(2)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {
        "text": {
            "Embed_0": {"embedding": draw(20, 8)},
            "query": {"kernel": draw(32, 4, 8)},
            "out": {"kernel": draw(4, 8, 32)},
            "encoderblock": {"Dense_0": {"kernel": draw(3, 32, 16)}},
        }
    }
    grads = jax.tree.map(lambda x: x + 1.0, params)
    tx = optim.make(config, params, 10)
    state = tx.init(params)
    for _ in range(2):  # the rate of the first step is zero
        updates, state = tx.update(grads, state, params)
    rate = float(optim.schedule(config.optim.lr, 10, 0.0)(1))
    text: Any = dict(updates)["text"]
    matrices = [
        text["query"]["kernel"].reshape(32, 32),
        text["out"]["kernel"].reshape(32, 32),
        *text["encoderblock"]["Dense_0"]["kernel"],
    ]
    for update in matrices:
        singular = np.linalg.svd(np.asarray(update) / rate, compute_uv=False)
        # Five Newton-Schulz steps bring singular values near to equal, not to one.
        whole = 0.2 * np.sqrt(max(update.shape))
        assert 0.6 * whole < singular.min() <= singular.max() < 1.3 * whole
    # Adam with Nesterov momentum: a constant gradient moves all entries alike.
    table = np.abs(np.asarray(text["Embed_0"]["embedding"])) / rate
    np.testing.assert_allclose(table, table[0, 0], rtol=1e-4)
    assert 1.0 < table[0, 0] < 1.2


def test_an_unknown_optimiser_is_refused_with_what_is_allowed(config, params):
    config.optim.name = "sgd"
    with pytest.raises(ValueError, match="got 'sgd'; allowed: adamw, muon"):
        optim.make(config, params, 10)
