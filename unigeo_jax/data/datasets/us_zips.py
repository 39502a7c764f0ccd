# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the bundle counts in 33,120 ZIP areas of the US: inputs, targets, positions.

Rows are in the order of the ZIP codes. Letters: `n` ZIP areas.
"""

import numpy as np

from unigeo_jax.data import splits
from unigeo_jax.data.datasets import earth_crops

SQ_KM = 2.589988110336  # in a square mile
FEWEST_PEOPLE = 100  # for wages per head
BLOCK_DEG = 2
NEAR = 1000
# The best of 300 for balance alone: of areas and of people in four quarters of the US.
SALT = "us-places-235"
TINY = {"train": 256, "val": 96, "test": 96, "near": 64}
DEMOGRAPHICS = (
    "log1p population",
    "log1p housing units",
    "people per housing unit",
    "log1p land, sq km",
    "log1p water, sq km",
)


def zips() -> dict[str, np.ndarray]:
    """The table: zip, lat, lon, state, county, population, housing_units, ..."""
    return earth_crops.table("us_zips.npz")


def demographics() -> np.ndarray:
    """What a model may read of each ZIP area: float32 (n, 5), NaN = missing.

    Wages, unemployment and density are not in it. Population and land together do
    give the density away, so that target lists `demographics` among its leaks.
    """
    table = zips()
    people, homes = table["population"], table["housing_units"]
    land, water = table["land_sq_mi"] * SQ_KM, table["water_sq_mi"] * SQ_KM
    a_home = np.where(homes > 0, people / np.maximum(homes, 1), np.nan)
    land = np.where(land > 0, land, np.nan)
    columns = np.log1p(people), np.log1p(homes), a_home, np.log1p(land), np.log1p(water)
    return np.stack(columns, 1).astype(np.float32)


def targets() -> dict[str, np.ndarray]:
    """What is kept for evaluation only, float64 (n,), NaN = none.

    wages_per_head: dollars a year and inhabitant, areas of at least 100 people;
    weekly_wage: dollars, all jobs of the county, first quarter of 2025;
    unemployment: percent, county, 2009; density: people per square km.
    A county's value repeats in all its areas.
    """
    table, counties = zips(), earth_crops.table("us_counties.npz")
    people = table["population"].astype(np.float64)
    land = table["land_sq_mi"].astype(np.float64) * SQ_KM
    row_n = np.searchsorted(counties["fips"], table["county"])
    row_n = np.minimum(row_n, len(counties["fips"]) - 1)
    known_n = counties["fips"][row_n] == table["county"]

    def of_county(name: str) -> np.ndarray:
        return np.where(known_n, counties[name][row_n].astype(np.float64), np.nan)

    wages = table["total_wages_usd"] / np.maximum(people, 1)
    settled = (people > 0) & (land > 0)
    return {
        "wages_per_head": np.where(people >= FEWEST_PEOPLE, wages, np.nan),
        "weekly_wage": of_county("weekly_wage_usd"),
        "unemployment": of_county("unemployment_percent"),
        "density": np.where(settled, people / np.where(settled, land, 1), np.nan),
    }


def plan(config: str) -> dict[str, np.ndarray]:
    """Rows of the table of ZIP areas of each split, in record order.

    The order is that of a hash, so that any prefix of a split is a random sample.
    """
    table = zips()
    found = splits.plan(
        *(table["lat"], table["lon"], table["zip"]),
        **{"deg": BLOCK_DEG, "near": NEAR, "salt": SALT},
    )
    if config == "tiny":
        found = {split: row_i[: TINY[split]] for split, row_i in found.items()}
    return found
