# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Real spherical harmonics of a coordinate, by recurrence, for any degree.

MobCLIP (2506.01297) and SatCLIP (2311.17179) take phi = lon + 180, theta = lat + 90
degrees, index l^2 + l + m, no Condon-Shortley phase; so does this file.

Differs from MobCLIP: the released closed forms lose 3e-5 at degree 31 and end at 40;
the recurrence of the normalised Legendre functions is exact to rounding at any degree.
"""

import functools
import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 256  # coordinates at a time on a CPU, so that degrees stay in its cache


def real_harmonics(latlon: Any, levels: int, m0_pi: bool = False) -> Any:
    """Returns the levels^2 harmonics of degrees 0 to levels - 1: (..., levels^2).

    Args:
      latlon: (..., 2) lat, lon in degrees. numpy arrays are computed in their own
        precision by numpy, jax arrays by jax, in float32 at least.
      m0_pi: multiplies every m = 0 entry by pi, as the released models do.

    sin(theta) is taken from cos(lat) and the recurrence runs upwards in l, which is
    stable: float64 to 1e-12, float32 to 1e-4 at degree 31. All orders m >= 0 of a
    degree are one array, (levels, b), and jax scans over degrees: written out, a
    compiler works each one out anew from the first.
    """
    xp: ModuleType = jnp if isinstance(latlon, jax.Array) else np
    latlon = latlon if xp is jnp else np.asarray(latlon)
    latlon = latlon.astype(xp.promote_types(latlon.dtype, xp.float32))
    shape, latlon_b2 = latlon.shape[:-1], latlon.reshape(-1, 2)
    whole = functools.partial(_harmonics, xp=xp, levels=levels, m0_pi=m0_pi)

    def blocks(latlon_b2: Any) -> Any:
        b = len(latlon_b2)
        padded = xp.pad(latlon_b2, ((0, -b % BLOCK), (0, 0))).reshape(-1, BLOCK, 2)
        if xp is np:
            return np.concatenate([whole(rows) for rows in padded])[:b]
        return jax.lax.map(whole, padded).reshape(-1, levels**2)[:b]

    count: Any = latlon_b2.shape[0]
    if not isinstance(count, int) or count <= BLOCK:  # unknown yet to jax.export
        out = whole(latlon_b2)
    elif xp is np:
        out = blocks(latlon_b2)
    else:
        out = jax.lax.platform_dependent(latlon_b2, cpu=blocks, default=whole)
    return out.reshape(*shape, levels**2)


def _harmonics(latlon_b2: Any, xp: ModuleType, levels: int, m0_pi: bool) -> Any:
    """All at once: (b, levels^2)."""
    angle_b2 = latlon_b2 * (math.pi / 180.0)
    lat_b, lon_b = angle_b2[:, 0], angle_b2[:, 1]
    # theta = lat + 90 and phi = lon + 180 degrees.
    x_1b, sine_b = -xp.sin(lat_b)[None], xp.cos(lat_b)
    turn = -xp.cos(lon_b), -xp.sin(lon_b)

    def around(carry: Any, _: Any) -> Any:
        """cos and sin of the next m phi."""
        cos_b, sin_b = carry
        carry = cos_b * turn[0] - sin_b * turn[1], sin_b * turn[0] + cos_b * turn[1]
        return carry, carry

    def up(carry: Any, known: Any) -> Any:
        """The next degree of all orders, from the two before it."""
        before_mb, now_mb, corner_b = carry
        a_m1, b_m1, here_m1, grow = known
        next_mb = a_m1 * (x_1b * now_mb - b_m1 * before_mb) + here_m1 * corner_b[None]
        return (now_mb, next_mb, corner_b * sine_b * grow), next_mb

    one_b = xp.ones_like(sine_b)
    _, (cos_mb, sin_mb) = _scan(xp, around, (one_b, 0 * one_b), None, levels)
    cos_mb, sin_mb = math.sqrt(2) * cos_mb[:-1], math.sqrt(2) * sin_mb[:-1]
    middle_1b = one_b[None] * (math.pi if m0_pi else 1.0)
    cos_mb = xp.concatenate([middle_1b, cos_mb])
    known = [xp.asarray(k, latlon_b2.dtype) for k in _recurrence(levels)]
    corner_b = one_b * math.sqrt(1 / (4 * math.pi))
    start = (0 * cos_mb, 0 * cos_mb, corner_b)
    _, legendre_lmb = _scan(xp, up, start, known, levels)
    rows = [legendre_lmb[0, :1] * cos_mb[:1]]
    for degree in range(1, levels):
        # Orders -m and m have one Legendre function.
        legendre_mb = legendre_lmb[degree, : degree + 1]
        rows.append(xp.flip(legendre_mb[1:] * sin_mb[:degree], 0))
        rows.append(legendre_mb * cos_mb[: degree + 1])
    return xp.concatenate(rows).T


def _recurrence(levels: int) -> tuple[np.ndarray, ...]:
    """P_l = a (x P_{l-1} - b P_{l-2}) + here * corner, which then grows.

    Returns a, b, here, each (levels, levels, 1) for l and m from 0; here is 1 where
    m = l; and grow / s of the corner that follows: (levels,).
    """
    degree, order = np.meshgrid(np.arange(levels), np.arange(levels), indexing="ij")
    wide = np.maximum(degree**2 - order**2, 1)
    a = np.where(order < degree, np.sqrt((4.0 * degree**2 - 1).clip(0) / wide), 0)
    lower = (degree - 1.0) ** 2
    b = np.sqrt(np.maximum(lower - order**2, 0) / np.maximum(4 * lower - 1, 1))
    b = np.where(order < degree - 1, b, 0)
    grow = np.sqrt(1 + 1 / (2.0 * np.arange(1, levels + 1)))
    return a[..., None], b[..., None], (order == degree)[..., None], grow


def _scan(xp: ModuleType, step: Any, carry: Any, known: Any, length: int) -> Any:
    """jax.lax.scan, or the same loop in numpy."""
    if xp is jnp:
        return jax.lax.scan(step, carry, known, length)
    found = []
    for number in range(length):
        carry, out = step(carry, known and [k[number] for k in known])
        found.append(out)
    return carry, jax.tree.map(lambda *x: np.stack(x), *found)
