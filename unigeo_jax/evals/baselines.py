# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What needs no training, to stand beside every encoder.

Two kinds: features of the coordinates, which the same probes read, and interpolators,
which turn the labels of the training rows into those of the test rows.
Letters: `n` rows, `d` features, `y` targets (one-hot for classes), `i` neighbours.
"""

from collections.abc import Callable
from typing import Any

import h3
import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial

from unigeo_jax.data import splits
from unigeo_jax.evals.folds import Folds
from unigeo_jax.nn import fixed, fourier, harmonics

Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]

IDW_NEIGHBOURS = 8
H3_RESOLUTIONS = (5, 4, 3, 2, 1, 0)  # cells of about 8, 23, 60, 158, 419, 1,108 km
WIDE = 768  # of Fourier features that stand for themselves, not for a width
# Half a turn over 17,244 km / (2 sigma). Two that are strong on climate; four low ones;
# four that reach from there to 67 km, for maps of a country.
TWO_SIGMAS = (1.0, 4.0)
LOW_SIGMAS = (0.5, 1.0, 2.0, 4.0)
FINE_SIGMAS = (2.0, 8.0, 32.0, 128.0)


def features(width: int) -> dict[str, Embed]:
    """{name: (lat, lon) -> float (n, d)}; `width` is that of the encoder judged."""
    found: dict[str, Embed] = {
        "latlon": lambda lat, lon: np.stack([lat, lon], -1),
        "sphere": splits.unit_vectors,
    }
    for levels in (10, 20, 40):
        found[f"harmonics{levels}"] = _harmonics(levels)
    if width != WIDE:
        found[f"fourier{width}"] = _fourier(LOW_SIGMAS, width)
    found[f"fourier{WIDE}"] = _fourier(LOW_SIGMAS, WIDE)
    found["fourier_1_4"] = _fourier(TWO_SIGMAS, WIDE)
    found["fourier_fine"] = _fourier(FINE_SIGMAS, WIDE)
    return found


def union(embed: Embed) -> Embed:
    """What an encoder and the untrained features know together.

    Its vectors, harmonics up to degree 19, the fine Fourier features; each standardised
    by the probe, so their scales do not matter.
    """
    parts = (embed, _harmonics(20), _fourier(FINE_SIGMAS, WIDE))

    def together(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        return np.concatenate([part(lat, lon) for part in parts], axis=1)

    return together


def beside(embed: Embed) -> Embed:
    """The vectors of an encoder with the fixed features of nn/fixed.py beside them."""

    def both(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        return fixed.beside(embed(lat, lon), lat, lon)

    return both


def _harmonics(levels: int) -> Embed:
    def embed(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        # The first one is constant.
        return harmonics.real_harmonics(np.stack([lat, lon], -1), levels)[:, 1:]

    return embed


def _fourier(sigmas: tuple[float, ...], width: int) -> Embed:
    """Untrained multi-scale Fourier features of the unit vector, `width` in all."""
    count = max(width // (2 * len(sigmas)), 1)
    module = fourier.FourierTokens(sigmas, count, "sphere")
    params = module.init(jax.random.key(0), jnp.zeros((1, 2)))

    def embed(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        latlon = jnp.asarray(np.stack([lat, lon], -1), jnp.float32)
        return np.asarray(module.apply(params, latlon)).reshape(len(latlon), -1)

    return embed


def mean(lat: np.ndarray, lon: np.ndarray, y_ny: np.ndarray, folds: Folds):
    """The mean of the training rows; for classes, their shares."""
    del lat, lon
    out_ny = np.full(y_ny.shape, np.nan)
    for train, test in folds.parts():
        out_ny[test] = y_ny[train].mean(0)
    return out_ny


def inverse_distance(
    lat: np.ndarray, lon: np.ndarray, y_ny: np.ndarray, folds: Folds
) -> np.ndarray:
    """Means of the 8 nearest training rows, weighted by 1 / great-circle distance.

    Rows at the very place of a test row (within a metre) stand for it alone.
    """
    at_n3 = splits.unit_vectors(lat, lon)
    out_ny = np.full(y_ny.shape, np.nan)
    for train, test in folds.parts():
        order: Any = np.arange(1, min(IDW_NEIGHBOURS, len(train)) + 1)
        tree = scipy.spatial.KDTree(at_n3[train])
        chord_ti, near_ti = tree.query(at_n3[test], k=order)
        km_ti = 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.clip(chord_ti / 2, 0, 1))
        weight_ti = 1 / np.maximum(km_ti, 1e-3)
        here_ti = km_ti <= 1e-3
        weight_ti = np.where(here_ti.any(1)[:, None], here_ti, weight_ti)
        weight_ti = weight_ti / weight_ti.sum(1, keepdims=True)
        out_ny[test] = np.einsum("ti,tiy->ty", weight_ti, y_ny[train][near_ti])
    return out_ny


def cell_mean(
    lat: np.ndarray, lon: np.ndarray, y_ny: np.ndarray, folds: Folds
) -> np.ndarray:
    """The mean of the training rows in the finest H3 cell that has any.

    Cells from resolution 5 up to 0, then the mean of all: what a look-up table knows.
    """
    places = list(zip(np.asarray(lat).tolist(), np.asarray(lon).tolist(), strict=True))
    cells = np.array(
        [
            [h3.str_to_int(h3.latlng_to_cell(*at, r)) for at in places]
            for r in H3_RESOLUTIONS
        ]
    )
    out_ny = np.full(y_ny.shape, np.nan)
    for train, test in folds.parts():
        out_ny[test] = y_ny[train].mean(0)
        for cell_n in cells[::-1]:
            names, inverse_n = np.unique(cell_n[train], return_inverse=True)
            counts = np.bincount(inverse_n)
            sums_cy = np.zeros((len(names), y_ny.shape[1]))
            np.add.at(sums_cy, inverse_n, y_ny[train])
            at = np.minimum(np.searchsorted(names, cell_n[test]), len(names) - 1)
            found = names[at] == cell_n[test]
            out_ny[test[found]] = (sums_cy / counts[:, None])[at[found]]
    return out_ny


INTERPOLATORS = {"mean": mean, "h3_cell_mean": cell_mean, "idw": inverse_distance}
