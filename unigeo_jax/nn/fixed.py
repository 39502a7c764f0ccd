# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Untrained features of a coordinate that stand beside a learned vector of it.

What is learned from pictures and texts says what a place is like and little of where it
lies: a label that is smooth in space, such as temperature, is lost in it. These give
that back to a probe. Needs jax and numpy only.
"""

from typing import Any

import numpy as np

from unigeo_jax.nn import harmonics

LEVELS = 10  # of harmonics: half a wave of degree 9 is 2,200 km
# As in nn/fourier.py: half a turn is 17,244 km / (2 sigma), 4,311 to 539 km.
SIGMAS = (2.0, 4.0, 8.0, 16.0)
FREQUENCIES = 32  # a sigma
DIM = LEVELS**2 - 1 + 2 * len(SIGMAS) * FREQUENCIES
UNIT_SPHERE = 66.50336 / 180.0  # sigma of the unit vector for one of Equal Earth


def features(lat: Any, lon: Any) -> np.ndarray:
    """(n,) degrees each -> float32 (n, 355), continuous at +-180 and at the poles.

    Harmonics without the constant one, then cosines and sines of random projections of
    the unit vector; the same numbers on every machine.
    """
    latlon_n2 = np.stack([lat, lon], -1).astype(np.float64)
    lat_n, lon_n = np.deg2rad(latlon_n2).T
    flat_n = np.cos(lat_n)
    at_n3 = np.stack(
        [flat_n * np.cos(lon_n), flat_n * np.sin(lon_n), np.sin(lat_n)], axis=-1
    )
    draws_kf3 = np.random.Generator(np.random.PCG64(0)).normal(
        size=(len(SIGMAS), FREQUENCIES, 3)
    )
    sigma_k11 = np.array(SIGMAS)[:, None, None] * UNIT_SPHERE
    turns_nf = at_n3 @ (sigma_k11 * draws_kf3).reshape(-1, 3).T
    waves = np.cos(2 * np.pi * turns_nf), np.sin(2 * np.pi * turns_nf)
    smooth = harmonics.real_harmonics(latlon_n2, LEVELS)[:, 1:]
    return np.concatenate([smooth, *waves], axis=1).astype(np.float32)


def beside(z_nd: np.ndarray, lat: Any, lon: Any) -> np.ndarray:
    """A learned vector, then the fixed features: float32 (n, d + DIM)."""
    return np.concatenate([z_nd, features(lat, lon)], axis=1).astype(np.float32)
