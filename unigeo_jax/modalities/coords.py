# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates: latitude and longitude in degrees, WGS 84."""

import math
from typing import Any

import numpy as np

from unigeo_jax.nn import fourier

METRES_PER_DEGREE = 6_371_008.8 * math.pi / 180.0


def spec(**_) -> np.ndarray:
    """Return the place lat 0, lon 0, float32 (2,)."""
    return np.zeros((2,), np.float32)


def read(
    record: dict[str, Any], rng: np.random.Generator | None, jitter_m: float = 0.0
) -> np.ndarray | None:
    """Return float32 [lat, lon] of the record, moved by `jitter_m` (sd) in training.

    Longitude wraps into [-180, 180). Raises ValueError naming the place where
    latitude is outside [-90, 90] or either is not finite.
    """
    lat, lon = float(record["lat"]), float(record["lon"])
    if not (-90.0 <= lat <= 90.0 and math.isfinite(lon)):
        raise ValueError(
            f"coords: place {record.get('place', '?')} has lat={lat}, lon={lon}; "
            "allowed: lat in [-90, 90] degrees, lon finite"
        )
    if rng is not None and jitter_m:
        rng.random(512)  # past the draws of the other modalities
        north, east = rng.normal(0.0, jitter_m / METRES_PER_DEGREE, 2)
        lon += east / max(math.cos(math.radians(lat)), 1e-9)
        lat += north
        if abs(lat) > 90.0:  # across the pole, down the opposite meridian
            lat, lon = math.copysign(180.0, lat) - lat, lon + 180.0
    out = np.array([lat, (lon + 180.0) % 360.0 - 180.0], np.float32)
    if out[1] >= 180.0:  # rounded up by float32
        out[1] = -180.0
    return out


class Encoder(fourier.LatLonEncoder):
    """Encode [lat, lon], float32 (b, 2) in degrees, by UniGeoCLIP's scaled encoder."""
