# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An index says whose vectors it holds, whenever its writer was killed."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from unigeo_jax import indices

ROOT = pathlib.Path(__file__).parents[1]
OLD, NEW = ({"model_id": name, "sha256": 64 * name} for name in "ab")
KILLED = """
import io, os, pathlib, signal, sys
import numpy as np
from unigeo_jax import indices

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
whole, point = (np.save, pathlib.Path.replace), sys.argv[2]
def half(file, z, **named):
    file.write(bytes(999))
    file.flush()
    die()
def unnamed(file, z, **named):
    whole[0](file, z, **named)
    file.flush()
    die()
def renamed(self, path):
    whole[1](self, path)
    die()
if point in ("half", "unnamed"):
    np.save = {"half": half, "unnamed": unnamed}[point]
else:
    pathlib.Path.replace = {"before": die, "after": renamed}[point]
about = {"model_id": "b", "sha256": 64 * "b"}
indices.write(pathlib.Path(sys.argv[1]), np.full((40, 4), 2.0), about)
"""


@pytest.mark.parametrize("point", ["half", "unnamed", "before", "after"])
def test_a_kill_leaves_the_old_index_or_the_new_one(tmp_path, point):
    path = indices.write(tmp_path / "places", np.ones((50, 3), np.float64), OLD)
    command = [sys.executable, "-c", KILLED, str(path), point]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    here, gone = (NEW, OLD) if point == "after" else (OLD, NEW)
    found = indices.read(path, here["sha256"])
    assert isinstance(found, np.memmap) and found.dtype == np.float32
    assert found.shape == ((40, 4) if here is NEW else (50, 3))
    np.testing.assert_array_equal(found, 2 if here is NEW else 1)
    with pytest.raises(ValueError, match=f"is of model {here['model_id']}, .*allowed"):
        indices.read(path, gone["sha256"])
    indices.write(path, np.zeros((2, 2)), NEW)
    assert [p.name for p in tmp_path.iterdir()] == ["places.npy"]


def test_numpy_reads_it_as_any_other_file(tmp_path):
    path = indices.write(tmp_path / "x.npy", np.eye(3), OLD)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), np.eye(3))


def test_a_file_that_is_cut_or_of_somebody_else_is_one_clear_error(tmp_path):
    path = indices.write(tmp_path / "x.npy", np.eye(9), OLD)
    data = path.read_bytes()
    np.save(tmp_path / "other.npy", np.eye(9, dtype=np.float32))
    (tmp_path / "list.npy").write_bytes((tmp_path / "other.npy").read_bytes() + b"[]")
    for size in (0, 10, 200, len(data) - 130, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"x\.npy.*a file that save_index wrote"):
            indices.read(path, OLD["sha256"])
    (tmp_path / "deep.npy").write_bytes(data[: -len(json.dumps(OLD))] + b"[" * 60_000)
    for name in ("other", "list", "deep", "missing"):
        with pytest.raises(ValueError, match="a file that save_index wrote"):
            indices.read(tmp_path / name, OLD["sha256"])
