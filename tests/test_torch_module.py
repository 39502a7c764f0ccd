# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""notebooks/pytorch.py: an exported encoder inside PyTorch gives the same vectors."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

import unigeo_jax
from unigeo_jax import onnx_graph, reexport
from unigeo_jax.modalities import student

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
PATH = pathlib.Path(__file__).parents[1] / "notebooks" / "pytorch.py"


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("torch_example", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_encoder_of_the_package_is_one_too(module, tmp_path):
    reexport.run("earth", tmp_path / "out", ["onnx"])
    encoder = module.LocationEncoder(str(tmp_path / "out" / "coords.onnx"))
    enc = unigeo_jax.load("earth")
    assert encoder.dim == enc.info["dim"]
    lonlat = torch.tensor([[2.35, 48.86], [-46.6, -23.5]])
    want = enc.embed(lat=lonlat[:, 1].numpy(), lon=lonlat[:, 0].numpy())
    np.testing.assert_allclose(encoder(lonlat), want, atol=1e-5 * want.std())


def test_a_torch_head_trains_on_the_vectors_of_the_model(module, draw, tmp_path):
    net = student.Encoder(6, sigmas=(1.0,), frequencies=4, widths=(8,))
    latlon = np.array([[48.0, 2.0], [-33.0, 151.0], [90.0, 0.0]], np.float32)
    variables = draw(net, latlon)
    about = {"model_id": "s", "package_version": "0"}
    onnx_graph.write(tmp_path / "s.onnx", lambda x: net.apply(variables, x), about)
    encoder = module.LocationEncoder(str(tmp_path / "s.onnx"))
    lonlat = torch.tensor(latlon).flip(-1)
    np.testing.assert_allclose(
        encoder(lonlat), jax.jit(net.apply)(variables, latlon), atol=1e-5
    )
    around = lonlat + torch.tensor([360.0, 0.0])
    np.testing.assert_allclose(encoder(around), encoder(lonlat), atol=1e-5)
    head = torch.nn.Linear(encoder.dim, 1)
    head(encoder(lonlat)).square().mean().backward()
    assert head.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="longitude first"):
        encoder(torch.tensor([[2.0, 100.0]]))
