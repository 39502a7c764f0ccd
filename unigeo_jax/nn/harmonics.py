# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Real spherical harmonics of a coordinate, by recurrence, for any degree.

MobCLIP (2506.01297) and SatCLIP (2311.17179) take phi = lon + 180, theta = lat + 90
degrees, index l^2 + l + m, no Condon-Shortley phase; so does this file.

Differs from MobCLIP: the released closed forms lose 3e-5 at degree 31 and end at 40;
the recurrence of the normalised Legendre functions is exact to rounding at any degree.
"""

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def real_harmonics(latlon: Any, levels: int, m0_pi: bool = False) -> Any:
    """Returns the levels^2 harmonics of degrees 0 to levels - 1: (..., levels^2).

    Args:
      latlon: (..., 2) lat, lon in degrees. numpy arrays are computed in their own
        precision by numpy, jax arrays by jax, in float32 at least.
      m0_pi: multiplies every m = 0 entry by pi, as the released models do.

    sin(theta) is taken from cos(lat) and the recurrence runs upwards in l, which is
    stable: float64 to 1e-12, float32 to 1e-4 at degree 31.
    """
    xp: ModuleType = jnp if isinstance(latlon, jax.Array) else np
    latlon = latlon if xp is jnp else np.asarray(latlon)
    latlon = latlon.astype(xp.promote_types(latlon.dtype, xp.float32))
    angle = latlon * (math.pi / 180.0)
    lat, lon = angle[..., 0], angle[..., 1]
    # theta = lat + 90 and phi = lon + 180 degrees.
    x, sine, phi_cos, phi_sin = -xp.sin(lat), xp.cos(lat), -xp.cos(lon), -xp.sin(lon)
    columns: list[Any] = [None] * levels**2
    cos_m, sin_m = xp.ones_like(x), xp.zeros_like(x)
    diagonal = xp.full_like(x, math.sqrt(1 / (4 * math.pi)))
    for m in range(levels):
        if m:
            diagonal = diagonal * sine * math.sqrt((2 * m + 1) / (2 * m))
            cos_m, sin_m = (
                cos_m * phi_cos - sin_m * phi_sin,
                sin_m * phi_cos + cos_m * phi_sin,
            )
        before, now = xp.zeros_like(x), diagonal
        for degree in range(m, levels):
            middle = degree * (degree + 1)
            if m == 0:
                columns[middle] = now * math.pi if m0_pi else now
            else:
                columns[middle + m] = now * cos_m * math.sqrt(2)
                columns[middle - m] = now * sin_m * math.sqrt(2)
            a = math.sqrt((4 * (degree + 1) ** 2 - 1) / ((degree + 1) ** 2 - m**2))
            b = math.sqrt((degree**2 - m**2) / (4 * degree**2 - 1)) if degree else 0.0
            before, now = now, a * (x * now - b * before)
    return xp.stack(columns, axis=-1)
