# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the modality tests."""

import jax
import numpy as np
import pytest


@pytest.fixture
def draw():
    """Returns `draw(module, *inputs)`: variables from numpy, no zero among them.

    Compiling a tower's own `init` costs more than all of a test here.
    """

    def draw(module, *inputs):
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        rng = np.random.default_rng(0)
        values = [
            (0.3 * rng.normal(size=a.shape)).astype(np.float32)
            for a in jax.tree.leaves(shapes)
        ]
        return jax.tree.unflatten(jax.tree.structure(shapes), values)

    return draw
