# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The protocol of the eleven tasks on US targets: ZIP areas as cells of counties.

Targets are those of `us_places`, kept for evaluation only: by county weekly wage and
unemployment, each once a county, not once a ZIP area; by ZIP area wages per head.
Regions held out whole are states for counties, H3 cells for ZIP areas.
"""

import numpy as np

from unigeo_jax.data.datasets import earth_crops, us_zips
from unigeo_jax.evals.mora_tables import Cells, Labels

TARGETS = {  # of counties: column of the bundle
    "us_weekly_wage": "weekly_wage_usd",
    "us_unemployment": "unemployment_percent",
}
HEADS = "us_wages_per_head"


def read() -> tuple[list[Labels], Cells]:
    """Labels of counties and ZIP areas, and the ZIP areas.

    Codes are five digits of FIPS and ZIP. Weights: inhabitants, and land in sq km.
    """
    table, counties = us_zips.zips(), earth_crops.table("us_counties.npz")
    area_n = _code(table["zip"])
    county_n, county_u = _code(table["county"]), _code(counties["fips"])
    cells = Cells(
        *(table["lat"], table["lon"], {"cell": area_n, "county": county_n}),
        weight={
            "population": table["population"].astype(np.float64),
            "area": table["land_sq_mi"].astype(np.float64) * us_zips.SQ_KM,
        },
    )
    found = [
        Labels(
            *(name, "county", county_u, counties[column].astype(np.float64)),
            parents={"state": county_u.astype("<U2")},
        )
        for name, column in TARGETS.items()
    ]
    heads_n = us_zips.targets()["wages_per_head"]
    parents = {"county": county_n, "state": county_n.astype("<U2")}
    found.append(Labels(HEADS, "cell", area_n, heads_n, "log1p", parents=parents))
    return found, cells


def _code(number_n: np.ndarray) -> np.ndarray:
    return np.array([f"{number:05}" for number in number_n])
