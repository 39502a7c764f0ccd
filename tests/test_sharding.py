# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The mesh, the FSDP rule with plain numbers, host rows to global arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from unigeo_jax import sharding
from unigeo_jax.aot import cost


@pytest.mark.parametrize(
    ("shape", "axis_size", "expected"),
    [
        ((768, 3072), 8, P(None, "fsdp")),
        ((3072, 768), 8, P("fsdp")),
        ((12, 768, 3072), 8, P(None, None, "fsdp")),
        ((256_000, 768), 8, P("fsdp")),
        ((1000, 1003), 8, P("fsdp")),  # the larger dimension does not divide
        ((1001, 1003), 8, P()),  # none divides
        ((768,), 8, P()),  # too small to be worth a gather
        ((768, 3072), 1, P()),
    ],
)
def test_fsdp_splits_the_largest_dimension_that_divides(shape, axis_size, expected):
    assert sharding.fsdp_spec(shape, axis_size) == expected


def test_the_mesh_takes_all_devices_and_refuses_other_numbers():
    assert dict(sharding.make_mesh(data=-1, fsdp=2).shape) == {"data": 4, "fsdp": 2}
    with pytest.raises(ValueError, match="needs 6 devices, this job has 8"):
        sharding.make_mesh(data=3, fsdp=2)
    with pytest.raises(ValueError, match="allowed: fsdp >= 1"):
        sharding.make_mesh(data=-2, fsdp=1)


class OnSlice:
    """A CPU device that says which slice it is in, as those of a TPU pod do."""

    def __init__(self, device, slice_index):
        self.device, self.slice_index = device, slice_index

    def __getattr__(self, name):
        return getattr(self.device, name)


def test_data_goes_across_slices_and_fsdp_stays_within_one(monkeypatch):
    monkeypatch.setattr(sharding, "Mesh", lambda grid, *_, **__: grid)
    # Slices of four, in an order in which neighbours are of different ones.
    devices = [OnSlice(device, device.id % 2) for device in jax.devices()]
    for fsdp in (1, 2, 4):
        grid = sharding.make_mesh(fsdp=fsdp, devices=devices)
        slices = np.vectorize(lambda device: device.slice_index)(grid)
        assert slices.shape == (8 // fsdp, fsdp)
        assert (slices == np.sort(slices[:, 0])[:, None]).all()
        assert len({device.id for device in grid.flat}) == 8
    with pytest.raises(ValueError, match=r"fsdp=8; allowed: a divisor of the 4 dev"):
        sharding.make_mesh(fsdp=8, devices=devices)


def test_a_batch_is_split_over_all_devices_and_reads_back_in_order():
    mesh = sharding.make_mesh(data=-1, fsdp=2)
    rows = np.arange(48, dtype=np.float32).reshape(16, 3)
    array = sharding.to_global({"x": rows}, mesh)["x"]
    assert len({shard.device for shard in array.addressable_shards}) == 8
    assert all(shard.data.shape == (2, 3) for shard in array.addressable_shards)
    np.testing.assert_array_equal(np.asarray(array), rows)


def test_state_shardings_cover_every_leaf():
    mesh = sharding.make_mesh(data=2, fsdp=4)
    tree = {"a": jax.ShapeDtypeStruct((512, 512), np.float32), "b": {}}
    assert sharding.state_shardings(tree, mesh)["a"].spec == P(None, "fsdp")


def test_parameters_are_gathered_and_not_activations(monkeypatch):
    monkeypatch.setattr(sharding, "MIN_FSDP_SIZE", 1)
    mesh = sharding.make_mesh(data=2, fsdp=4)

    def loss(params, x):
        for w in params:
            x = jnp.tanh(x @ w)
        return (x**2).mean()

    def collectives(batch, wrap):
        params = [jax.ShapeDtypeStruct((64, 64), jnp.float32)] * 3
        split = sharding.state_shardings(params, mesh)
        x = jax.ShapeDtypeStruct((batch, 64), jnp.float32)
        step = jax.jit(
            jax.grad(wrap(loss)),
            in_shardings=(split, sharding.batch_sharding(mesh)),
            out_shardings=split,
        )
        found = cost.read(step.lower(params, x).compile().as_text()).collectives
        return {kind: each.bytes for kind, each in found.items()}

    def whole(function):
        return sharding.on_whole(function, mesh)

    assert collectives(8, whole) == collectives(512, whole)
    assert collectives(8, lambda f: f) != collectives(512, lambda f: f)


def test_gradients_are_the_same_whether_parameters_are_split_or_not():
    mesh = sharding.make_mesh(data=2, fsdp=4)

    def loss(w, x):
        return (jnp.tanh(x @ w) ** 2).mean()

    w, x = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32) / 4
    split = sharding.state_shardings(w, mesh)
    grad = jax.jit(
        jax.grad(sharding.on_whole(loss, mesh)),
        in_shardings=(split, sharding.batch_sharding(mesh)),
    )
    assert grad(w, x).sharding.is_equivalent_to(split, 2)
    np.testing.assert_allclose(grad(w, x), jax.grad(loss)(w, x), rtol=1e-5, atol=1e-8)
