# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Principal axes of features, which the probes of all folds, seeds and targets share.

Smooth functions of a place are nearly dependent where the rows cover a part of the
Earth: 1,599 spherical harmonics on land have about 1,100 axes along which rows differ
at all, Fourier features of a country a tenth of their number. A penalty on the weights
of features standardised by the rows of a fold stays exactly that along the axes: with
X = P V^T and standard deviations s of the fold, weights are w = s^-2 V a, so that

    |s w|^2 = b^T b   for   X w = P L b,   L L^T = V^T s^-2 V.

Letters: `n` rows, `d` features, `r` axes.
"""

from typing import NamedTuple

import numpy as np


class Axes(NamedTuple):
    """Features standardised over all rows, float64, and along their axes.

    x_nd: features; p_nr: the same rows along the axes, ascending; value_r: their
    summed squares; axis_dr: orthonormal columns.
    """

    x_nd: np.ndarray
    p_nr: np.ndarray
    value_r: np.ndarray
    axis_dr: np.ndarray


def principal(x_nd: np.ndarray, least: float) -> Axes:
    """Finds the axes whose summed squares over the rows are above `least`.

    A penalty shrinks what lies along an axis of summed squares v by penalty / (v +
    penalty): what is left out would have been next to nothing where `least` is a
    thousandth of the smallest penalty.

    Raises:
      ValueError: features are not finite.
    """
    if not np.isfinite(x_nd).all():
        raise ValueError("probe: features are not finite; allowed: finite numbers")
    x_nd = np.array(x_nd, np.float64)
    x_nd -= x_nd.mean(0)
    x_nd /= deviation(np.einsum("nd,nd->d", x_nd, x_nd) / len(x_nd))
    value_d, axis_dd = np.linalg.eigh(x_nd.T @ x_nd)
    kept = value_d > least
    kept[-1] = True  # of constant features too
    axis_dr = np.ascontiguousarray(axis_dd[:, kept])
    return Axes(x_nd, x_nd @ axis_dr, np.maximum(value_d[kept], 0), axis_dr)


def deviation(variance_d: np.ndarray) -> np.ndarray:
    """Standard deviations, 1 where a feature does not vary but for rounding."""
    return np.sqrt(np.where(variance_d < 1e-12, 1.0, variance_d))


def root(axis_dr: np.ndarray, scale_d: np.ndarray) -> np.ndarray:
    """L of the module's equation, (r, r), for features of deviations `scale_d`."""
    scaled_dr = axis_dr / scale_d[:, None]
    return np.linalg.cholesky(scaled_dr.T @ scaled_dr)
