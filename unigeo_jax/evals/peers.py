# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoCLIP's location encoder (2309.16020), read from its wheel without PyTorch.

`pip install --no-deps geoclip` is enough: the package is looked up, never imported.
"""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax import pth
from unigeo_jax.nn import fourier

WEIGHTS = "model/weights/location_encoder_weights.pth"
CAPSULES = (0, 1, 2)
BUCKETS = (64, 512, 4096)  # rows of a compiled program
CHUNK = BUCKETS[-1]


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

    def embed(
        self,
        lat: np.ndarray,
        lon: np.ndarray,
        capsules: tuple[int, ...] = CAPSULES,
    ) -> np.ndarray:
        """Returns float32 (n, 512), un-normalised, as its users take it.

        capsules: those whose sum is wanted, of sigma 1, 16 and 256.
        """
        latlon_n2 = np.stack([lat, lon], -1).astype(np.float32)
        parts = []
        for first in range(0, len(latlon_n2), CHUNK):
            rows = latlon_n2[first : first + CHUNK]
            size = next(b for b in BUCKETS if b >= len(rows))
            filled = np.pad(rows, ((0, size - len(rows)), (0, 0)))
            whole = _forward(self._weights, filled, capsules)
            parts.append(np.asarray(whole)[: len(rows)])
        return np.concatenate(parts or [np.zeros((0, self.dim), np.float32)])


@functools.partial(jax.jit, static_argnums=2)
def _forward(
    weights: dict[str, jax.Array], latlon_n2: jax.Array, capsules: tuple[int, ...]
) -> jax.Array:
    """XLA takes subnormal numbers as zero, where NumPy's products crawl over them."""
    points = fourier.project_equal_earth(latlon_n2)

    def dense(x_nd: jax.Array, name: str) -> jax.Array:
        kernel, bias = weights[f"{name}.weight"].T, weights[f"{name}.bias"]
        return jnp.matmul(x_nd, kernel, precision="highest") + bias[None]

    out_nd = jnp.zeros((latlon_n2.shape[0], GeoClip.dim), jnp.float32)
    for i in capsules:
        name = f"LocEnc{i}"
        frequencies_kfi = weights[f"{name}.capsule.0.b"][None]
        x_nd = fourier.fourier_tokens(points, frequencies_kfi)[:, 0]
        for layer in ("capsule.1", "capsule.3", "capsule.5"):
            x_nd = jax.nn.relu(dense(x_nd, f"{name}.{layer}"))
        out_nd += dense(x_nd, f"{name}.head.0")
    return out_nd
