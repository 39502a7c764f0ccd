# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoCLIP's location encoder (2309.16020), read from its wheel without PyTorch.

`pip install --no-deps geoclip` is enough: the package is looked up, never imported.
"""

import importlib.util
import pathlib

import jax.numpy as jnp
import numpy as np

from unigeo_jax import pth
from unigeo_jax.nn import fourier

WEIGHTS = "model/weights/location_encoder_weights.pth"


class GeoClip:
    """GeoCLIP's location encoder: three capsules of Fourier features and an MLP."""

    dim = 512
    # What its training saw: photographs from everywhere, without a hold-out.
    saw = ("satellite", "vegetation")

    def __init__(self, path: pathlib.Path | None = None) -> None:
        """Reads the weights of `path`, else those in the installed package.

        Raises:
          ValueError: the package is not installed, or the file is not its weights.
        """
        if path is None:
            spec = importlib.util.find_spec("geoclip")
            if spec is None or not spec.submodule_search_locations:
                raise ValueError(
                    "peer geoclip: not installed; run pip install --no-deps geoclip"
                )
            path = pathlib.Path(spec.submodule_search_locations[0]) / WEIGHTS
        self._weights = pth.read(path)
        wanted = [
            f"LocEnc{i}.{part}.weight"
            for i in range(3)
            for part in ("capsule.1", "capsule.3", "capsule.5", "head.0")
        ]
        missing = sorted({*wanted} - {*self._weights})
        if missing:
            raise ValueError(f"{path}: no location encoder of GeoCLIP: lacks {missing}")

    def embed(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Returns float32 (n, 512), un-normalised, as its users take it."""
        return np.concatenate(
            [
                self._embed(lat[i : i + 8192], lon[i : i + 8192])
                for i in range(0, len(lat), 8192)
            ]
            or [np.zeros((0, self.dim), np.float32)]
        )

    def _embed(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        latlon = jnp.asarray(np.stack([lat, lon], -1), jnp.float32)
        points = fourier.project_equal_earth(latlon)
        out_nd = np.zeros((len(lat), self.dim), np.float32)
        for i in range(3):
            name = f"LocEnc{i}"
            frequencies_kfi = jnp.asarray(self._weights[f"{name}.capsule.0.b"])[None]
            x_nd = np.asarray(fourier.fourier_tokens(points, frequencies_kfi))[:, 0]
            for layer in ("capsule.1", "capsule.3", "capsule.5"):
                x_nd = np.maximum(self._dense(x_nd, f"{name}.{layer}"), 0)
            out_nd += self._dense(x_nd, f"{name}.head.0")
        return out_nd

    def _dense(self, x_nd: np.ndarray, name: str) -> np.ndarray:
        return x_nd @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
