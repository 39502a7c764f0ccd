# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Read the tables of the source bundle that only `us_places` and `poi` need.

Used by `earth_sources` at conversion time only.
"""

import csv
import gzip
import io
import sqlite3
from typing import Any

import numpy as np

from unigeo_jax.data.datasets.earth_places import encode, join_strings

NUMBERS = {  # name in the bundle -> column of the source
    "population": "Population",
    "housing_units": "HouseOfUnits",
    "land_sq_mi": "LandArea",
    "water_sq_mi": "WaterArea",
    "total_wages_usd": "TotalWages",
}


def home_counties(table: bytes) -> dict[str, str]:
    """Return the county of each ZIP area in which most of its homes lie.

    Ties and areas without homes: most addresses of any kind, then the higher code.
    """
    best: dict[str, tuple[float, float, str]] = {}
    for row in csv.DictReader(io.StringIO(table.decode())):
        county = row["COUNTY"].zfill(5)  # the source drops leading zeros
        key = (float(row["RES_RATIO"]), float(row["TOT_RATIO"]), county)
        area = row["ZIP"].zfill(5)
        best[area] = max(best.get(area, key), key)
    return {area: county for area, (_, _, county) in best.items()}


def zip_arrays(database: bytes, zip_county: bytes) -> dict[str, np.ndarray]:
    """Keep what is counted in each ZIP area, in the order of the codes.

    Missing numbers are NaN. `county` is the FIPS code of `home_counties`, -1 = none.
    """
    connection = sqlite3.connect(":memory:")
    connection.deserialize(database)
    columns = ", ".join(["Zipcode, State, Latitude, Longitude", *NUMBERS.values()])
    rows = connection.execute(f"SELECT {columns} FROM zipcode ORDER BY Zipcode")
    code, state, lat, lon, *numbers = zip(*rows.fetchall(), strict=True)
    connection.close()
    states, state_n = encode(list(state))
    home = home_counties(zip_county)
    values = {
        name: np.array(column, np.float64)
        for name, column in zip(NUMBERS, numbers, strict=True)
    }
    return {
        "zip": np.array(code, np.int32),
        "lat": np.array(lat, np.float64),
        "lon": np.array(lon, np.float64),
        "state": state_n.astype(np.uint8),
        "state_names": np.array(states),
        "county": np.array([int(home.get(c, "-1")) for c in code], np.int32),
        **{name: column.astype(np.float32) for name, column in values.items()},
    }


def county_arrays(wages: bytes, unemployment: bytes) -> dict[str, np.ndarray]:
    """Weekly wage of all jobs (first quarter of 2025) and unemployment of 2009.

    One row for each county that either table has, by FIPS code; NaN = not in it.
    """
    wage: dict[int, float] = {}
    for row in csv.DictReader(io.StringIO(wages.decode())):
        of_all = row["own_code"] == "0" and row["agglvl_code"] == "70"
        if of_all and not row["area_fips"].endswith("999"):  # 999: county unknown
            wage[int(row["area_fips"])] = float(row["avg_wkly_wage"])
    rate: dict[int, float] = {}
    for cells in csv.reader(io.StringIO(gzip.decompress(unemployment).decode())):
        _, state, county, _, year, *_, percent = [cell.strip() for cell in cells]
        if year != "2009":
            raise ValueError(f"unemployment: county {state}{county}: year {year}")
        rate[int(state + county)] = float(percent)
    fips = sorted({*wage, *rate})

    def column(values: dict[int, float]) -> np.ndarray:
        return np.array([values.get(code, np.nan) for code in fips], np.float32)

    return {
        "fips": np.array(fips, np.int32),
        "weekly_wage_usd": column(wage),
        "unemployment_percent": column(rate),
    }


def airfield_arrays(table: bytes) -> dict[str, Any]:
    """Name and position of every airport that has an IATA code."""
    rows = [r for r in csv.DictReader(io.StringIO(table.decode())) if r["iata"]]
    rows.sort(key=lambda row: row["iata"])
    return {
        "names": join_strings([" ".join(row["name"].split()) for row in rows]),
        "lat": np.array([row["lat"] for row in rows], np.float64).astype(np.float32),
        "lon": np.array([row["lon"] for row in rows], np.float64).astype(np.float32),
    }
