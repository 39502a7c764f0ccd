# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the records of `us_places`, chunk by chunk."""

import numpy as np

from unigeo_jax.data.datasets import sights, us_zips
from unigeo_jax.data.datasets.chunks import Columns

POI_KM = 25.0


class Maker:
    """Makes the records of some rows of the table of ZIP areas."""

    def __init__(self, row_i: np.ndarray) -> None:
        self._sights = sights.Sights(us_zips.zips()["lat"][row_i], POI_KM)
        self._demographics = us_zips.demographics()

    def make(self, row_i: np.ndarray) -> Columns:
        """Columns of the records of some areas, images already encoded."""
        table = us_zips.zips()
        lat_i, lon_i = table["lat"][row_i], table["lon"][row_i]
        within = self._sights.places.within(lat_i, lon_i, 100.0)
        return self._sights.make(lat_i, lon_i, within) | {
            "place": table["zip"][row_i].astype(np.int64),
            "demographics": self._demographics[row_i],
        }
