# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the records of `earth`, chunk by chunk."""

import numpy as np

from unigeo_jax.data import splits
from unigeo_jax.data.datasets import earth_captions, earth_crops, sights
from unigeo_jax.data.datasets.chunks import Columns

POI_KM = 50.0


class Maker:
    """Makes the records of some anchors of the bundle."""

    def __init__(self, anchor_i: np.ndarray) -> None:
        lat_i = earth_crops.table("anchors.npz")["lat"][anchor_i]
        self._sights = sights.Sights(lat_i, POI_KM)

    def make(self, anchor_i: np.ndarray) -> Columns:
        """Columns of the records of some anchors, images already encoded."""
        anchors = earth_crops.table("anchors.npz")
        lat_i = anchors["lat"][anchor_i].astype(np.float64)
        lon_i = anchors["lon"][anchor_i].astype(np.float64)
        koppen_i = anchors["koppen"][anchor_i].astype(np.int32)
        places = self._sights.places
        within = {km: places.within(lat_i, lon_i, km) for km in (25.0, 100.0)}
        columns = self._sights.make(lat_i, lon_i, within[100.0])
        return columns | {
            "place": anchor_i.astype(np.int64),
            "cell": splits.cell_ids(lat_i, lon_i),
            "block": splits.block_ids(lat_i, lon_i),
            "koppen": np.where(koppen_i == 255, -1, koppen_i).astype(np.int32),
            "climate": anchors["climate"][anchor_i].astype(np.float32),
            "node": earth_crops.nearest_airport(lat_i, lon_i).astype(np.int64),
            **self._people(columns["country"], within),
        }

    def _people(self, countries, within: dict[float, list[np.ndarray]]) -> Columns:
        """What is counted around each place, and the ages of its country."""
        people = self._sights.places.population
        sums = {k: [people[n].sum() for n in v] for k, v in within.items()}
        counts = {k: [len(n) for n in v] for k, v in within.items()}
        areas = np.log1p([sums[25.0], counts[25.0], sums[100.0], counts[100.0]]).T
        known = [earth_captions.countries().get(c.decode(), {}) for c in countries]
        unknown = np.full(42, np.nan)
        ages = [c.get("age_histogram") or unknown for c in known]
        return {
            "demographics": np.concatenate([areas, ages], 1).astype(np.float32),
            "population_100km": np.array(sums[100.0], np.float32),
        }
