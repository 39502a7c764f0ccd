# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Many generators seeded at once are NumPy's own."""

import numpy as np

from unigeo_jax.data import seeding


def test_states_and_draws_are_those_of_numpy():
    edge = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    drawn = np.random.default_rng(0).integers(0, 2**64, 500, dtype=np.uint64)
    seeds = np.concatenate([np.array(edge, np.uint64), drawn])
    states = seeding.sfc64(seeds)
    assert states.dtype == np.uint64
    for seed, state in zip(seeds.tolist(), states, strict=True):
        whole = np.random.SFC64(seed).state
        np.testing.assert_array_equal(state, whole["state"]["state"])
    bits = np.random.SFC64(0)
    bits.state = bits.state | {"state": {"state": states[-1]}}
    ours = np.random.Generator(bits).normal(size=5)
    own = np.random.Generator(np.random.SFC64(int(seeds[-1]))).normal(size=5)
    np.testing.assert_array_equal(ours, own)
