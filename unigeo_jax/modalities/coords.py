# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates: latitude and longitude in degrees, WGS 84, and a time if asked for."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from unigeo_jax.nn import fourier

METRES_PER_DEGREE = 6_371_008.8 * math.pi / 180.0


def spec(time: bool = False, **_) -> np.ndarray:
    """Return the place lat 0, lon 0, float32 (2,), or (4,) with an unknown time."""
    return np.zeros((4 if time else 2,), np.float32)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    jitter_m: float = 0.0,
    time: bool = False,
    time_drop: float = 0.2,
) -> np.ndarray | None:
    """Return float32 [lat, lon] of the record, moved by `jitter_m` (sd) in training.

    With `time` the fields year (with its fraction) and month (1 to 12) follow, 0 where
    unknown. Training hides both of a share `time_drop` of the places, so that the model
    knows what a place is like whose time is unknown.

    Longitude wraps into [-180, 180). Raises ValueError naming the place where
    latitude is outside [-90, 90] or either is not finite.
    """
    lat, lon = float(record["lat"]), float(record["lon"])
    if not (-90.0 <= lat <= 90.0 and math.isfinite(lon)):
        raise ValueError(
            f"coords: place {record.get('place', '?')} has lat={lat}, lon={lon}; "
            "allowed: lat in [-90, 90] degrees, lon finite"
        )
    if rng is not None and (jitter_m or time):
        rng.random(512)  # past the draws of the other modalities
    if rng is not None and jitter_m:
        north, east = rng.normal(0.0, jitter_m / METRES_PER_DEGREE, 2)
        lon += east / max(math.cos(math.radians(lat)), 1e-9)
        lat += north
        if abs(lat) > 90.0:  # across the pole, down the opposite meridian
            lat, lon = math.copysign(180.0, lat) - lat, lon + 180.0
    out = np.array([lat, (lon + 180.0) % 360.0 - 180.0], np.float32)
    if out[1] >= 180.0:  # rounded up by float32
        out[1] = -180.0
    if not time:
        return out
    when = np.array([record["year"], record["month"]], np.float32)
    if rng is not None and rng.random() < time_drop:
        when[:] = 0.0
    return np.concatenate([out, np.nan_to_num(when, posinf=0.0, neginf=0.0)])


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse a time that is read and not encoded, or the other way, or at depth 0."""
    depth = net.get("depth", Encoder.depth)
    year = net.get("time", ())
    if bool(data.get("time")) != bool(year) or (year and not (depth and year[1] > 0)):
        raise ValueError(
            f"coords: got data.time={data.get('time', False)}, net.time={year},"
            f" net.depth={depth}; allowed: neither of the two, or True and the years'"
            " mean and deviation above 0, with a depth of 1 or more"
        )


class Encoder(fourier.LatLonEncoder):
    """Encode [lat, lon], float32 (b, 2) in degrees, by UniGeoCLIP's scaled encoder.

    With `time` [lat, lon, year, month], (b, 4), 0 for unknown.
    """
