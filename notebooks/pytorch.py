# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An exported coordinate encoder as a frozen PyTorch module, for TorchGeo and others.

It runs MODEL/coords.onnx and needs torch, numpy and onnxruntime; jax and unigeo_jax are
needed only once, to write that file, of a run of your own or of the encoder in the
package: python launch/export.py --model=earth --out=MODEL --format=onnx

    encoder = LocationEncoder("MODEL/coords.onnx")
    head = torch.nn.Linear(encoder.dim, 1)
    loss = (head(encoder(lonlat)) - label).square().mean()  # trains the head

TorchGeo's samples hold bounds in the CRS of their dataset: bring their centres to
EPSG:4326 first. Location encoders of TorchGeo and SatCLIP take (lon, lat), as here.
"""

import numpy as np
import onnxruntime
import torch


class LocationEncoder(torch.nn.Module):
    """Turn (b, 2) [lon, lat] in degrees, WGS 84, into float32 (b, dim), detached."""

    def __init__(self, path: str) -> None:
        super().__init__()
        providers = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(path, providers=providers)
        self.dim: int = self._session.get_outputs()[0].shape[1]

    def forward(self, lonlat: torch.Tensor) -> torch.Tensor:
        latlon = lonlat.detach().flip(-1).to("cpu", torch.float64).numpy()
        if (np.abs(latlon[:, 0]) > 90).any() or not np.isfinite(latlon).all():
            raise ValueError("lonlat: allowed: degrees, longitude first, no NaN")
        latlon[:, 1] = (latlon[:, 1] + 180.0) % 360.0 - 180.0
        (z,) = self._session.run(None, {"latlon": latlon.astype(np.float32)})
        return torch.from_numpy(z).to(lonlat.device)
