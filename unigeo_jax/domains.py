# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where an encoder of coordinates knows its way, as a file of 130,000 bytes at most.

Letters: `n` points, `c` cells of 0.25 degrees.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from unigeo_jax import fidelity
from unigeo_jax.data import splits


class Domain(NamedTuple):
    """Where a student knows its way: the 0.25 degree cells near a training place.

    inside_c: bool (720 * 1440,), south-west first, as splits.cell_ids numbers them.
    domain.npz holds it as `inside`, uint8, eight cells a byte (np.packbits), and `km`.
    """

    inside_c: np.ndarray
    km: float

    @classmethod
    def around(cls, lat: np.ndarray, lon: np.ndarray, km: float) -> "Domain":
        """Cells that hold a place, or whose centre lies within `km` of one."""
        row, column = np.divmod(np.arange(720 * 1440), 1440)
        centre = (row + 0.5) / 4 - 90, (column + 0.5) / 4 - 180
        inside_c = fidelity.nearest_km(*centre, lat, lon) <= km
        inside_c[splits.cell_ids(lat, lon)] = True
        return cls(inside_c, km)

    @classmethod
    def read(cls, path: pathlib.Path) -> "Domain":
        with np.load(path, allow_pickle=False) as arrays:
            inside_c = np.unpackbits(arrays["inside"]).astype(bool)
            return cls(inside_c, float(arrays["km"]))

    def write(self, path: pathlib.Path) -> None:
        np.savez_compressed(path, inside=np.packbits(self.inside_c), km=self.km)

    def inside(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Tells which coordinates lie inside: bool (n,)."""
        return self.inside_c[splits.cell_ids(lat, lon)]
