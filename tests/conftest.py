# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Settings and fixtures of every test: eight fake CPU devices, no network, no cache."""

import os

from tests import xla

# Read when jax starts its backend, so they come before its import.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla.flags(8)}".strip()

# Threads of BLAS and OpenMP (LightGBM) cost many times what they save where other work
# shares the cores.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from jax.sharding import AxisType

jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # library code may read absl flags; no test passes any


def pytest_collection_modifyitems(items):
    """Starts files with slow tests first: processes that share the tests end together.

    A file is one process's; a long one at the end would leave the others idle.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory) -> Path:
    """Returns a folder for datasets, the default one of every test.

    The processes that share the tests share it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "data"
    folder.mkdir(exist_ok=True)
    # Programs that several tests compile are compiled once a session.
    jax.config.update("jax_compilation_cache_dir", str(folder / ".xla"))
    os.environ["UNIGEO_DATA_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def earth_tiny(data_dir) -> Path:
    """Returns the data folder after building the dataset `earth/tiny` in it."""
    from unigeo_jax.data import datasets

    datasets.load("earth/tiny", "train", data_dir)
    return data_dir


@pytest.fixture(scope="session")
def mesh() -> jax.sharding.Mesh:
    """Returns the 4 x 2 mesh over all eight fake devices, axes `data` and `fsdp`."""
    # Auto: the default, Explicit, breaks Linen.
    return jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


@pytest.fixture
def key() -> jax.Array:
    """Returns the random key that a test starts from."""
    return jax.random.key(0)


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
