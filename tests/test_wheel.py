# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The wheel works where only jax and numpy are, with the network off."""

import pathlib
import zipfile

import pytest

from benchmarks import wheel_worker
from tests import small_models


@pytest.mark.slow
def test_the_wheel_embeds_offline_beside_jax_and_numpy_alone(tmp_path):
    built = wheel_worker.build(tmp_path)
    names = zipfile.ZipFile(built).namelist()
    for name in ("data/bundle/vocabulary.model", "explore.html", "models/__init__.py"):
        assert f"unigeo_jax/{name}" in names
    assert not [n for n in names if n.startswith(("tests", "launch", "benchmarks"))]
    python = wheel_worker.install(tmp_path, built, quick=True)
    model = small_models.write(tmp_path / "model")
    found = wheel_worker.embed(python, str(model), tmp_path)
    assert found["shape"] == [1, 8] and found["dtype"] == "float32"
    assert abs(found["norm"] - 1) < 1e-5
    assert pathlib.Path(found["file"]).is_relative_to(tmp_path / "env")
    assert wheel_worker.embed(python, "earth", tmp_path)["dtype"] == "float32"
    with pytest.raises(RuntimeError, match="no such folder"):
        wheel_worker.embed(python, "mars", tmp_path)
