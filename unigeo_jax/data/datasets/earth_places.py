# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Read the GeoNames places of the `earth` source bundle and name their divisions.

Used by `earth_sources` at conversion time only.
"""

import csv
import io
from collections import Counter

import numpy as np

EARTH_RADIUS_KM = 6371.0088


def join_strings(strings: list[str]) -> np.ndarray:
    """Join names by newline into one uint8 array."""
    return np.frombuffer("\n".join(strings).encode(), np.uint8)


def read_places(tsv: bytes) -> dict[str, list[str]]:
    """Read the GeoNames table (19 tab-separated columns) as columns of strings."""
    rows = [line.split("\t") for line in tsv.decode().splitlines() if line]
    columns = {
        "name": 1,
        "ascii": 2,
        "alternates": 3,
        "lat": 4,
        "lon": 5,
        "feature": 7,
        "country": 8,
        "admin1": 10,
        "admin2": 11,
        "population": 14,
        "elevation": 16,
        "timezone": 17,
    }
    return {name: [row[i] for row in rows] for name, i in columns.items()}


def encode(strings: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the sorted distinct strings and the index of each string in them."""
    names, index = np.unique(np.array(strings), return_inverse=True)
    return names.tolist(), index


def unit_vectors(lat_deg: list[str], lon_deg: list[str]) -> np.ndarray:
    """Return points on the unit sphere (n, 3) for text columns of degrees."""
    lat, lon = np.radians(np.array([lat_deg, lon_deg], np.float64))
    cos = np.cos(lat)
    return np.stack([cos * np.cos(lon), cos * np.sin(lon), np.sin(lat)], 1)


def nearest_admin_rows(
    places: dict[str, list[str]], admins: list[dict[str, str]], reach_km: float
) -> list[list[tuple[float, dict[str, str]]]]:
    """Return (km, row) of each place's near rows in its country, nearest first."""
    from scipy.spatial import KDTree

    lat, lon = ([row[axis] for row in admins] for axis in ("lat", "lon"))
    points = unit_vectors(places["lat"], places["lon"])
    reach = reach_km / EARTH_RADIUS_KM
    angle, rows = KDTree(unit_vectors(lat, lon)).query(
        points, k=8, distance_upper_bound=reach
    )
    order = np.lexsort((rows, angle))  # ties by row number: a stable result
    km = (np.take_along_axis(angle, order, 1) * EARTH_RADIUS_KM).tolist()
    near = np.take_along_axis(rows, order, 1).tolist()
    return [
        [
            (d, admins[i])
            for d, i in zip(distances, found, strict=True)
            if i < len(admins) and admins[i]["cc"] == country
        ]
        for distances, found, country in zip(km, near, places["country"], strict=True)
    ]


def majority_names(
    codes: list[tuple[str, ...]], names: list[str]
) -> dict[tuple[str, ...], str]:
    """Name each division code by at least 80 % of its places' votes."""
    votes: dict[tuple[str, ...], Counter[str]] = {}
    for code, name in zip(codes, names, strict=True):
        if name and all(code):
            votes.setdefault(code, Counter())[name] += 1
    best = {code: count.most_common(1)[0] for code, count in votes.items()}
    return {
        code: name for code, (name, n) in best.items() if n >= 0.8 * votes[code].total()
    }


def own_admin_row(
    near: list[tuple[float, dict[str, str]]], name: str
) -> dict[str, str] | None:
    """Return the row at the same point (100 m), or of the same name within 5 km."""
    if near and near[0][0] < 0.1:
        return near[0][1]
    return next((row for km, row in near if km < 5 and row["name"] == name), None)


def admin_names(
    places: dict[str, list[str]], table: bytes
) -> tuple[list[str], list[str]]:
    """Name the first and second division of each place; "" where unknown.

    In order of trust: the place's own row in the table, the name that its division
    code bears elsewhere, the nearest row within 20 km (second division: within 5 km,
    and only where the first one agrees).
    """
    near = nearest_admin_rows(
        places, list(csv.DictReader(io.StringIO(table.decode()))), 20.0
    )
    own = [own_admin_row(*pair) for pair in zip(near, places["ascii"], strict=True)]
    code1 = list(zip(places["country"], places["admin1"], strict=True))
    code2 = list(
        zip(*(places[k] for k in ("country", "admin1", "admin2")), strict=True)
    )
    name1 = [row["admin1"] if row else "" for row in own]
    name2 = [row["admin2"] if row else "" for row in own]
    vote1, vote2 = majority_names(code1, name1), majority_names(code2, name2)
    for k, found in enumerate(near):
        km, row = found[0] if found else (np.inf, {"admin1": "", "admin2": ""})
        name1[k] = name1[k] or vote1.get(code1[k]) or row["admin1"]
        near2 = row["admin2"] if km < 5 and row["admin1"] == name1[k] else ""
        name2[k] = name2[k] or vote2.get(code2[k]) or near2
    return name1, name2


def place_arrays(
    places: dict[str, list[str]], name1: list[str], name2: list[str]
) -> dict[str, np.ndarray]:
    """Keep name, position, size, country, divisions, height, kind and time zone."""
    names, division = encode(["", *name1, *name2])  # "" sorts first: index 0
    division = (division[1:] - 1).astype(np.int32)
    country_codes, country = encode(places["country"])
    feature_codes, feature = encode(places["feature"])
    timezone_names, timezone = encode(places["timezone"])
    height = np.array(places["elevation"], np.int64)
    return dict(
        names=join_strings(places["name"]),
        lat=np.array(places["lat"], np.float64).astype(np.float32),
        lon=np.array(places["lon"], np.float64).astype(np.float32),
        population=np.array(places["population"], np.int64),
        country=country.astype(np.uint8),
        country_codes=np.array(country_codes),
        admin1=division[: len(name1)],
        admin2=division[len(name1) :],
        admin_names=join_strings(names[1:]),
        elevation_m=np.where(height < -500, -32768, height).astype(np.int16),
        feature=feature.astype(np.uint8),
        feature_codes=np.array(feature_codes),
        timezone=timezone.astype(np.uint16),
        timezone_names=np.array(timezone_names),
    )
