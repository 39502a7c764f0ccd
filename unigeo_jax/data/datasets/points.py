# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points of interest around a place: the field `poi`, one line each, nearest first.

A line is `kind<tab>name<tab>km`. The bundle knows no shop and no school: its points
are GeoNames' named places, airports, and cities that the encyclopaedia describes.
"""

import functools
import json
import re
from typing import Any

import numpy as np
import scipy.spatial

from unigeo_jax.data import bundled, splits
from unigeo_jax.data.datasets import earth_captions, earth_crops

MOST = 32  # points a place
KINDS = {  # GeoNames feature codes in plain words
    "PPL": "populated place",
    "PPLA": "seat of a first division",
    "PPLA2": "seat of a second division",
    "PPLA3": "seat of a third division",
    "PPLA4": "seat of a fourth division",
    "PPLA5": "seat of a fifth division",
    "PPLC": "capital",
    "PPLCH": "former capital",
    "PPLF": "farm village",
    "PPLG": "seat of government",
    "PPLH": "former settlement",
    "PPLL": "locality",
    "PPLQ": "abandoned settlement",
    "PPLR": "religious settlement",
    "PPLS": "group of settlements",
    "PPLW": "destroyed settlement",
    "PPLX": "section of a town",
    "STLMT": "settlement",
}
AIRPORT, DESCRIBED = "airport", "city of the encyclopaedia"
_PREDICATE = re.compile(r"\b(?:is|are|was) (?:the |an? )?([^.;]{3,})")


def predicate(lead: str, most: int = 80) -> str:
    """What the first sentence says its subject is, cut at a word: "" if unclear."""
    found = _PREDICATE.search(lead)
    text = found.group(1) if found else ""
    return text if len(text) <= most else text[: text.rfind(" ", 0, most)].rstrip(" ,")


@functools.cache
def _described() -> list[tuple[str, float, float]]:
    """Name and predicate, latitude and longitude of each city that has a lead."""
    leads = json.loads(bundled.read("leads.json"))
    found = []
    for lead in leads:
        if lead["kind"] == "city":
            says = predicate(earth_captions.without_telltales(lead["text"]))
            name = ", ".join(filter(None, [lead["name"], says]))
            found.append((name, lead["lat"], lead["lon"]))
    return found


class Points:
    """All points of the bundle, found by distance."""

    def __init__(self, places: earth_crops.Places) -> None:
        airports = earth_crops.table("airfields.npz")
        table = earth_crops.table("places.npz")
        names = bytes(airports["names"]).decode().split("\n")
        cities, city_lat, city_lon = zip(*_described(), strict=True)
        # A code that KINDS lacks is still a place with a name.
        self._kinds = [KINDS.get(str(c), KINDS["PPL"]) for c in table["feature_codes"]]
        self._kinds += [AIRPORT, DESCRIBED]
        counts = [len(names), len(cities)]
        others = np.repeat(np.arange(-2, 0) + len(self._kinds), counts)
        self._kind = np.concatenate([table["feature"], others])
        self._names = [*places.names, *names, *cities]
        at = splits.unit_vectors(
            np.concatenate([places.lat, airports["lat"], city_lat]),
            np.concatenate([places.lon, airports["lon"], city_lon]),
        )
        self._tree = scipy.spatial.KDTree(at)

    def lines(self, lat_i, lon_i, km: float) -> list[str]:
        """The nearest points within `km` of each place: at most MOST lines, or ""."""
        found: Any = self._tree.query(
            splits.unit_vectors(lat_i, lon_i),
            k=MOST,
            distance_upper_bound=float(splits.chord(km)),
        )
        straight_in, number_in = found
        km_in = 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.minimum(straight_in, 2) / 2)
        kinds, kind, names = self._kinds, self._kind, self._names
        return [
            "\n".join(
                f"{kinds[kind[n]]}\t{names[n]}\t{far:.1f}"
                for n, far in zip(number_n, km_n, strict=True)
                if n < len(names)
            )
            for number_n, km_n in zip(number_in.tolist(), km_in.tolist(), strict=True)
        ]
