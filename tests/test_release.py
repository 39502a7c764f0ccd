# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""configs/mobclip.py:release against MobCLIP's release written out in float64 numpy."""

import jax
import numpy as np
import optax
import pytest

from configs import mobclip
from unigeo_jax import modalities, optim, sharding, stopping, tasks, train
from unigeo_jax.data import graph, pipeline

NODES, BATCH, DIM = 24, 12, 8
WIDTHS = {"poi": 10, "aerial": 7, "demographics": 5}
TAU = {"poi": 0.5, "demographics": 0.7, "aerial": 0.2}
HIDDEN = 6


def config(folder):
    config = mobclip.get_config(f"release,tiny,vectors={folder},data=own")
    with config.unlocked():
        config.batch, config.dim = BATCH, DIM
        config.towers.mobility.data.graph = str(folder / "graph")
        for name, width in WIDTHS.items():
            config.towers[name].data.width = width
        config.towers.demographics.net.hidden = HIDDEN
    return config


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(config, flows A, step inputs): directed flows with a sink and a bare node."""
    folder = tmp_path_factory.mktemp("release")
    rng = np.random.default_rng(0)
    flow = rng.exponential(5.0, (NODES, NODES)) * (rng.random((NODES, NODES)) < 0.2)
    flow[7], flow[:, 7], flow[3] = 0, 0, 0
    flow = flow.astype(np.float32)
    origin, destination = np.nonzero(flow)
    graph.write(folder / "graph", origin, destination, flow[origin, destination], NODES)
    tables = {
        name: rng.normal(size=(NODES, width)).astype(np.float32)
        for name, width in WIDTHS.items()
    }
    for name, (file, _, _) in mobclip.WIDTHS.items():
        np.save(folder / f"{file}.npy", tables[name])
    return config(folder), flow.astype(np.float64), tables


def records(count=NODES):
    return [{"node": np.int64(i), "place": i} for i in range(count)]


def prepared(config):
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    readers = pipeline.readers(config.towers, modalities.get)
    tower = config.towers.mobility
    shared = modalities.get("mobility").constants(
        *(tower.data.to_dict(), tower.net.to_dict(), None),
        lambda fields, count: records(),
    )
    constants = sharding.place({"mobility": shared}, mesh)
    read = pipeline.ReadPlaces(records(), np.arange(NODES), readers)
    batch = read.batch(np.random.default_rng(1).permutation(NODES)[:BATCH], None)
    return tasks.contrastive(config, mesh), constants, batch


def drawn(shapes):
    rng = np.random.default_rng(2)
    return jax.tree.map(
        lambda x: (0.5 * rng.normal(size=x.shape)).astype(np.float32), shapes
    )


def reference(params, flow, tables, node_b):
    """The release's loss: mean of six cross-entropies, L2 without epsilon."""
    degree = flow.sum(1) + 1e-10
    scale = np.diag(degree**-0.5)
    a_hat = scale @ flow.T @ scale
    table = params["mobility"]["table"]
    z = {"mobility": (table + a_hat @ table + a_hat @ a_hat @ table)[node_b]}
    for name in WIDTHS:
        x = tables[name][node_b].astype(np.float64)
        if name == "demographics":
            layer = params[name]["hidden"]
            x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
        z[name] = x @ params[name]["head"]["kernel"] + params[name]["head"]["bias"]
    z = {name: x / np.sqrt((x * x).sum(1, keepdims=True)) for name, x in z.items()}
    losses = []
    for name, tau in TAU.items():
        logits = z["mobility"] @ z[name].T / tau
        for one in (logits, logits.T):
            losses.append(np.mean(np.log(np.exp(one).sum(1)) - np.diag(one)))
    assert len(losses) == 6
    return np.mean(losses)


def numeric(function, params, step=1e-5):
    """Central differences of a scalar by every number of a tree, float64."""
    leaves, shape = jax.tree.flatten(params)
    grads = [np.zeros_like(x) for x in leaves]
    for x, grad in zip(leaves, grads, strict=True):
        for at in np.ndindex(x.shape):
            kept = x[at]
            x[at] = kept + step
            above = function(jax.tree.unflatten(shape, leaves))
            x[at] = kept - step
            grad[at] = (above - function(jax.tree.unflatten(shape, leaves))) / (
                2 * step
            )
            x[at] = kept
    return jax.tree.unflatten(shape, grads)


def adamw(params, grads, lr=1e-3, decay=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    """torch.optim.AdamW's first step; no decay for vectors and biases."""

    def one(path, p, g):
        m, v = (1 - b1) * g, (1 - b2) * g * g
        spared = p.ndim < 2 or "bias" in jax.tree_util.keystr(path)
        p = p * (1 if spared else 1 - lr * decay)
        return p - lr * (m / (1 - b1)) / (np.sqrt(v / (1 - b2)) + eps)

    return jax.tree_util.tree_map_with_path(one, params, grads)


def test_the_loss_its_gradient_and_one_step_equal_the_release(case):
    config, flow, tables = case
    task, constants, batch = prepared(config)
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch, constants)
    params = drawn({k: v for k, v in shapes.items() if k != "log_tau"})
    exact = jax.tree.map(lambda x: x.astype(np.float64), params)
    node_b = batch["x"]["mobility"]["node"]

    def by_numpy(tree):
        return reference(tree, flow, tables, node_b)

    params |= {"log_tau": np.zeros(shapes["log_tau"].shape, np.float32)}
    both = jax.jit(jax.value_and_grad(task.loss_fn, has_aux=True))
    (loss, values), grads = both(params, batch, jax.random.key(0), constants)
    assert float(loss) == pytest.approx(by_numpy(exact), rel=1e-5)
    assert len([name for name in values if name.startswith("loss/")]) == 6
    for name, tau in TAU.items():
        pair = {
            f"temperature/{a}-{b}" for a, b in ((name, "mobility"), ("mobility", name))
        }
        (found,) = pair & values.keys()
        assert float(values[found]) == pytest.approx(tau)
    expected = numeric(by_numpy, exact)
    assert not np.any(grads.pop("log_tau"))
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-3, atol=3e-6),
        dict(grads),
        expected,
    )
    # A step by the exact gradient: the first step of Adam is the gradient's sign.
    tx = optim.make(config, params, config.steps)
    given = jax.tree.map(lambda x: x.astype(np.float32), expected)
    given |= {"log_tau": np.zeros_like(params["log_tau"])}
    updates, _ = tx.update(given, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    want = adamw(exact, expected)
    for name in want:
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, atol=2e-7),
            after[name],
            want[name],
        )
    np.testing.assert_array_equal(after["log_tau"], params["log_tau"])
    # And the step that training makes of its own gradient.
    zero = np.zeros((), np.int32)
    state = train.TrainState(zero, zero, zero, params, tx.init(params))
    step = jax.jit(train.make_step(task, tx, seed=0))
    own = step(state, batch, constants)[0].params["mobility"]["table"]
    sure = np.abs(expected["mobility"]["table"]) > 1e-5
    assert sure.sum() > 0.5 * sure.size
    np.testing.assert_allclose(own[sure], want["mobility"]["table"][sure], atol=2e-6)


def test_the_node_table_is_decayed_as_in_the_release_and_spared_by_default(case):
    config, *_ = case
    params = {"mobility": {"table": np.ones((NODES, DIM), np.float32)}}
    params |= {"poi": {"head": {"kernel": np.ones((3, 2)), "bias": np.ones(2)}}}
    released = optim.decay_mask(params, tables=config.optim.decay_tables)
    assert released["mobility"]["table"] and released["poi"]["head"]["kernel"]
    assert not released["poi"]["head"]["bias"]
    spared = optim.decay_mask(params, tables=mobclip.get_config().optim.decay_tables)
    assert not spared["mobility"]["table"] and spared["poi"]["head"]["kernel"]


def test_the_release_has_its_published_numbers():
    config = mobclip.get_config("release,vectors=folder,data=own")
    assert (config.steps, config.batch, config.dim) == (900, 20_480, 128)
    assert sorted(config.towers) == ["aerial", "demographics", "mobility", "poi"]
    assert not config.data.neighbourhood.fraction and not config.loss.same_cell_mask
    assert config.stop.patience == 10 and config.stop.share == 0.1
    # Of its 195,574 cells: 19,557 for validation, epochs of 9 steps, 100 at most.
    places = ([None] * 195_574, {"lat": np.zeros(195_574)})
    (train, _), held = stopping.divide(config, places)
    assert held and (len(train), len(held[0])) == (176_017, 19_557)
    assert pipeline.fitted(config, 1, len(train)).stop.every == 9
    assert config.steps == 100 * 9
    # Where there are fewer places than a batch has, all of them are the batch.
    few = pipeline.fitted(config, 8, 9000)
    assert (few.batch, few.stop.every, config.batch) == (9000, 1, 20_480)
    rates = optim.schedule(
        config.optim.lr, config.steps, config.optim.warmup, config.optim.schedule
    )
    assert float(rates(0)) == float(rates(899)) == pytest.approx(1e-3)
    assert config.towers.mobility.data.adjacency == "release"
    assert not config.towers.mobility.data.log1p and not config.optim.clip
