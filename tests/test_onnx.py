# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX files of coordinate encoders with drawn weights give the encoders' vectors."""

import jax
import numpy as np
import pytest

from tests import small_models
from unigeo_jax import onnx_graph
from unigeo_jax.modalities import atlas, coords, student


def test_maps_and_grids_leave_as_onnx(draw, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    maps = ((2, 4, 3, 5), (3, 6, 2, 2))
    net = {"levels": 3, "widths": (8,), "fine_channels": 5, "maps": maps}
    net |= {"grids": ((6.0, 20, 2), (0.5, 33, 3)), "turns": (4, 5)}
    net = atlas.Encoder(20, **net)
    rng = np.random.default_rng(0)
    latlon = rng.uniform([-90, -180], [90, 180], (99, 2)).astype(np.float32)
    latlon[:4] = [[90, 0], [-90, 180], [0, -180], [0, 180]]
    variables = draw(net, latlon)
    for number, (rows, columns, kept, channels) in enumerate(maps):
        tiles = rng.integers(-99, 99, (kept * atlas.TILE**2, channels), np.int8)
        variables["params"][f"tiles_{number}"] = tiles
        index = rng.integers(0, kept, (rows, columns), np.int32)
        variables["params"][f"index_{number}"] = index
    for number, (_, *shape) in enumerate(net.grids):
        table = rng.integers(-99, 99, shape, np.int8)
        variables["params"][f"grid_{number}"] = {"table": table}
    path, about = tmp_path / "s.onnx", {"model_id": "s", "package_version": "0"}
    onnx_graph.write(path, lambda x: net.apply(variables, x), about)
    session = runtime.InferenceSession(path)
    for rows in (latlon, latlon[:1]):
        (found,) = session.run(None, {"latlon": rows})
        want = np.asarray(net.apply(variables, rows))
        np.testing.assert_allclose(found, want, atol=1e-6 * np.abs(want).max())


def test_scanned_blocks_export_as_those_that_are_not(draw, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    options = {"sigmas": (1.0, 1000.0), "frequencies": 8, "heads": 4, "depth": 2}
    net = coords.Encoder(**options, dim=6, scan=True)
    latlon = np.array([[10.0, 20.0], [-89.0, 180.0], [0.0, -180.0]], np.float32)
    variables = draw(net, latlon)
    variables["params"]["frequencies"][1] *= 1000 / 0.3
    held, data = small_models.program(net, variables)
    want = net.apply(variables, latlon)
    got = jax.export.deserialize(bytearray(data)).call(held, latlon)
    np.testing.assert_allclose(got, want, atol=1e-5)
    path, about = tmp_path / "s.onnx", {"model_id": "s", "package_version": "0"}
    onnx_graph.write(path, lambda x: net.apply(variables, x), about)
    (got,) = runtime.InferenceSession(path).run(None, {"latlon": latlon})
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("m0_pi", [False, True])
def test_harmonics_and_scales_leave_as_onnx(draw, tmp_path, m0_pi):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net = student.Encoder(
        5, levels=12, m0_pi=m0_pi, sigmas=(1.0, 1024.0), frequencies=4, widths=(8,)
    )
    rng = np.random.default_rng(0)
    latlon = rng.uniform([-90, -180], [90, 180], (99, 2)).astype(np.float32)
    latlon[:3] = [[90, 0], [-90, 180], [0, -180]]
    variables = draw(net, latlon)
    variables["params"]["frequencies"][1] *= 1024 / 0.3
    path, about = tmp_path / "s.onnx", {"model_id": "s", "package_version": "0"}
    onnx_graph.write(path, lambda x: net.apply(variables, x), about)
    session = runtime.InferenceSession(path)
    for rows in (latlon, latlon[:1]):
        (found,) = session.run(None, {"latlon": rows})
        np.testing.assert_allclose(found, net.apply(variables, rows), atol=1e-5)
