# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The contrastive task: which loss it takes, and that the sigmoid one trains."""

from typing import Any

import jax
import numpy as np
import pytest

from configs import five_modal
from unigeo_jax import modalities, sharding, tasks, train
from unigeo_jax.data import pipeline


class Devices:
    """What `loss_impl` asks of a mesh."""

    axis_names = ("data", "fsdp")

    def __init__(self, size):
        self.size = size


def chosen(batch, devices, dim=768, itemsize=2, **loss):
    config = five_modal.get_config("size=B")
    config.batch, config.dim = batch, dim
    config.loss.update(loss)
    weights_mm = tasks.pair_weights(tuple(config.towers), config.loss)
    impl = tasks.loss_impl(config, weights_mm, Devices(devices), itemsize)
    return impl.func.__module__.rsplit(".", 1)[1]


def test_auto_takes_the_first_form_that_fits_in_the_stated_bytes():
    # Logits of ten pairs, float32, 2^26 bytes: 1,295 places on one device.
    assert chosen(1295, 1) == "contrastive" and chosen(1296, 1) == "tiled"
    assert chosen(2590, 4) == "contrastive" and chosen(2592, 4) == "tiled"
    # Four pairs with a pivot leave more room.
    assert chosen(2047, 1, pairs="pivot:text") == "contrastive"
    # Gathered embeddings and their gradient, 6 bytes a number: 2^29 at 23,301 places.
    assert chosen(23_296, 8) == "tiled" and chosen(23_304, 8) == "ring"
    assert chosen(23_304, 1) == "tiled"


@pytest.mark.parametrize("impl", ["plain", "tiled", "ring"])
def test_the_form_asked_for_is_the_form_taken(impl):
    expected = {"plain": "contrastive"}.get(impl, impl)
    assert chosen(64, 8, impl=impl) == expected


def test_an_unknown_form_is_an_error_that_names_the_known():
    with pytest.raises(ValueError, match="'flash'; allowed: auto, plain, tiled, ring"):
        chosen(64, 8, impl="flash")


def test_the_sigmoid_loss_trains_its_temperatures_and_biases():
    config = five_modal.get_config("tiny")
    with config.unlocked():
        for name in ("street", "dsm", "text"):
            del config.towers[name]
    config.loss.kind, config.loss.impl, config.loss.tile = "sigmoid", "tiled", 8
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    example: Any = pipeline.example_batch(
        pipeline.readers(config.towers, modalities.get)
    )
    run = train.prepare(config, mesh, example)
    rng = np.random.default_rng(0)
    batch: Any = jax.tree.map(lambda x: np.repeat(x, 16, axis=0), example)
    batch["x"]["coords"] = rng.uniform(-80, 80, (16, 2)).astype(np.float32)
    batch["here"] = {name: np.ones(16, bool) for name in ("aerial", "coords")}
    batch["cell"] = np.stack([np.arange(16)] * 2, axis=1).astype(np.int32)
    state = run.init()
    before = jax.device_get(state.params)
    assert (before["logit_bias"] == -10).all()
    losses = []
    for _ in range(4):
        bias = float(state.params["logit_bias"][1])
        state, values = run.step(state, batch, {})
        losses.append(float(values["loss"]))
        assert values["bias/aerial-coords"] == bias
    assert losses[-1] < losses[0]
    # Of m = n nothing is contrasted, so nothing moves there.
    for name in ("log_tau", "logit_bias"):
        moved = np.asarray(state.params[name]) != before[name]
        assert moved.tolist() == [False, True, False]
