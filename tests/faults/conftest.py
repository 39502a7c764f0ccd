# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A server of forks, and what an undisturbed run gave, for all tests of this folder."""

import random

import pytest

from benchmarks import fault_ground, fault_server, faults
from tests import xla


@pytest.fixture(scope="session")
def ground(earth_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ground")
    draw = random.Random(random.SystemRandom().random())
    with fault_server.Server(folder / "log", xla.flags()) as server:
        ground = fault_ground.Ground(server, folder, earth_tiny, draw, {})
        fault_ground.write_inputs(ground, seed=0)
        faults.straight(ground)
        yield ground
