# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The mesh, the FSDP rule with plain numbers, host rows to global arrays."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from unigeo_jax import sharding


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
