# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The middle of many heights, in one pass."""

import numpy as np


def spread(known: np.ndarray) -> tuple[np.floating, np.floating, np.floating]:
    """Least, median and greatest of floats (n,), n > 0; NaN is the greatest."""
    half = known.size // 2
    parted = np.partition(known, half)
    median, below = parted[half], parted[:half]
    if known.size % 2 == 0:
        median = (median + below.max()) * known.dtype.type(0.5)
    return below.min(initial=parted[half]), median, parted[half:].max()
