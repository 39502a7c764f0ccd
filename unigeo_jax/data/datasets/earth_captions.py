# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Captions of places, facts first: segments separated by newlines, best first.

`Zermatt 5 km NE` says that Zermatt lies 5 km to the north-east *of the place*. No
coordinate and no elevation is ever written. The masked caption keeps distances,
bearings and populations and drops every proper name.
"""

import functools
import json
import math
import re

import numpy as np

from unigeo_jax.data import bundled
from unigeo_jax.data.datasets import earth_crops

COMPASS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_NEAREST, _CITIES = 12, 3
# Sentences that would give a coordinate or a height away.
_TELLTALE = re.compile(
    r"°|º|\d\s*\u2032|\b(latitudes?|longitudes?|coordinates?|elevations?|altitudes?)\b"
    r"|\bsea level\b|\b\d+\s+\d+\s*[NSEW]\b|\b\d+\.\d+\s*[NSEW]\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)")


def rounded(number: float) -> str:
    """Write a count in words with two significant digits: `1.2 million`."""
    number = float(f"{number:.2g}")
    if number >= 1e6:
        return f"{number / 1e6:g} million"
    return f"{number / 1e3:g} thousand" if number >= 1e3 else f"{number:g}"


def distance(km: float) -> str:
    """Write a distance to about 5 percent, so that few phrases name them all."""
    limits = ((20, 1), (100, 5), (200, 10), (1000, 50), (math.inf, 100))
    step = next(step for limit, step in limits if km < limit)
    return f"{max(int(km / step + 0.5), 1) * step} km"


def compass(bearing_deg: float) -> str:
    """Name the nearest of eight points of the compass."""
    return COMPASS[int(bearing_deg / 45.0 + 0.5) % 8]


def without_telltales(text: str) -> str:
    """Drop the sentences that speak of coordinates or of heights."""
    sentences = _SENTENCE.split(" ".join(text.split()))
    return " ".join(s for s in sentences if not _TELLTALE.search(s))


@functools.cache
def countries() -> dict[str, dict]:
    """Facts of each country by two-letter code."""
    return json.loads(bundled.read("countries.json"))


@functools.cache
def _country_segments(code: str) -> tuple[str, ...]:
    """Facts of a country as segments, the same for all its places."""
    country = countries().get(code)
    if country is None:
        return ()
    facts, found = country.get("facts") or {}, []
    for key, form in (
        ("climate", "climate: {}"),
        ("terrain", "terrain: {}"),
        ("gdp_per_head_usd", "GDP per head {} dollars"),
        ("median_age_years", "median age {}"),
        ("languages", "languages: {}"),
    ):
        value = facts.get(key)
        if isinstance(value, int | float):
            value = rounded(value) if key == "gdp_per_head_usd" else f"{value:g}"
        value = without_telltales(value or "")
        if value:
            found.append(form.format(value))
    if country.get("capital"):
        found.insert(0, f"capital {country['capital']}")
    if country.get("population"):
        found.insert(1, f"country of {rounded(country['population'])} people")
    return tuple(found)


@functools.cache
def _leads() -> dict[tuple, str]:
    """Encyclopaedia leads by city (place), region (name, country) or country (code)."""
    found = {}
    for lead in json.loads(bundled.read("leads.json")):
        key = {
            "city": ("city", lead.get("place")),
            "region": ("region", lead.get("admin1"), lead["country"]),
            "country": ("country", lead["country"]),
        }[lead["kind"]]
        found[key] = without_telltales(lead["text"])
    return found


class Writer:
    """Writes captions from the tables of the bundle."""

    def __init__(self, places: earth_crops.Places) -> None:
        self._places = places

    def write(
        self, lat_i, lon_i, within_100: list[np.ndarray]
    ) -> list[tuple[str, str]]:
        """Caption and masked caption of each place, "" where nothing is near.

        `within_100`: numbers of the named places within 100 km of each place.
        """
        places = self._places
        km_in, number_in = places.nearest(lat_i, lon_i, _NEAREST)
        city_km_in, city_in = places.nearest_cities(lat_i, lon_i, _CITIES)
        km_in = np.concatenate([km_in, city_km_in], 1)
        number_in = np.concatenate([number_in, city_in], 1)
        bearing_in = earth_crops.bearings(
            np.asarray(lat_i)[:, None],
            np.asarray(lon_i)[:, None],
            places.lat[number_in],
            places.lon[number_in],
        )
        return [
            self._caption(*row) if row[0][0] <= earth_crops.TEXT_REACH_KM else ("", "")
            for row in zip(
                km_in.tolist(),
                number_in.tolist(),
                bearing_in.tolist(),
                within_100,
                strict=True,
            )
        ]

    def _caption(self, km_n, number_n, bearing_n, within) -> tuple[str, str]:
        places, nearest = self._places, number_n[0]
        where = {
            number: f"{distance(km)} {compass(bearing)}"
            for km, number, bearing in zip(km_n, number_n, bearing_n, strict=True)
        }
        code = places.country_codes[places.country[nearest]]
        country = countries().get(code, {})
        name = places.names[nearest]
        people = int(places.population[nearest])
        crowd = int(places.population[within].sum())
        # Large and distant, then close and small: both tell the region apart.
        others = [
            n for n in (*number_n[_NEAREST:], *number_n[1:_NEAREST]) if n != nearest
        ]
        others = list(dict.fromkeys(others))
        big, close = others[:2], others[2:]
        close.sort(key=lambda n: -int(places.population[n]))

        text = [f"{name} {where[nearest]}"]
        admins = [places.admin2[nearest], places.admin1[nearest]]
        admins = [places.admin_names[index] for index in admins if index >= 0]
        text += [*admins[-1:], country.get("name", code)]
        text += [f"{places.names[n]} {where[n]}" for n in big]
        text += [admin for admin in admins[:-1] if admin not in admins[-1:]]
        text += [f"{places.names[n]} {where[n]}" for n in close[:2]]
        shared = [f"{rounded(crowd) if crowd else 'almost no'} people within 100 km"]
        text += shared
        text.append(country.get("continent", ""))
        if people:
            text.append(f"{name} has {rounded(people)} people")
        text += [f"{places.names[n]} {where[n]}" for n in close[2:4]]
        text += _country_segments(code)
        keys = [("city", n) for km, n in zip(km_n, number_n, strict=True) if km < 100]
        keys += [("region", admin, code) for admin in admins] + [("country", code)]
        text.append(next((_leads()[key] for key in keys if key in _leads()), ""))

        masked = [f"place {where[nearest]}"]
        masked += [f"city {where[n]}" for n in big]
        masked += shared
        masked.append(f"{rounded(len(within))} places within 100 km")
        masked += [f"place {where[n]}" for n in close[:4]]
        if people:
            masked.append(f"nearest place has {rounded(people)} people")
        return "\n".join(filter(None, text)), "\n".join(masked)
