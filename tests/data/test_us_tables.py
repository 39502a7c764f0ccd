# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Known values of the tables of `us_places`."""

import numpy as np
import pytest

from unigeo_jax.data.datasets import earth_crops


@pytest.fixture(scope="module")
def table():
    return earth_crops.table


@pytest.mark.parametrize(
    ("code", "state", "county", "lat", "lon"),
    [
        (10001, "NY", 36061, 40.75, -74.0),  # Manhattan
        (94103, "CA", 6075, 37.77, -122.41),  # San Francisco: a code with a zero
        (601, "PR", 72001, 18.18, -66.75),  # Adjuntas
        (6103, "CT", 9110, 41.77, -72.67),  # Hartford: a planning region since 2022
    ],
)
def test_zip_areas_lie_in_their_state_and_home_county(
    table, code, state, county, lat, lon
):
    zips = table("us_zips.npz")
    assert len(zips["zip"]) == 33_120
    assert (np.diff(zips["zip"]) > 0).all()
    row = int(np.searchsorted(zips["zip"], code))
    assert zips["zip"][row] == code
    assert zips["state_names"][zips["state"][row]] == state
    assert zips["county"][row] == county
    assert zips["lat"][row] == pytest.approx(lat, abs=0.05)
    assert zips["lon"][row] == pytest.approx(lon, abs=0.05)


def test_counties_have_wages_and_unemployment_of_the_right_size(table):
    counties = table("us_counties.npz")
    row = counties["fips"].tolist().index
    wage, rate = counties["weekly_wage_usd"], counties["unemployment_percent"]
    assert wage[row(6085)] > 3000  # Santa Clara
    assert wage[row(1001)] == 1006  # Autauga
    assert rate[row(1001)] == pytest.approx(9.7)
    assert np.isfinite(wage).sum() > 3100
    assert np.isfinite(rate).sum() > 3100
    assert 300 < np.nanmin(wage) < np.nanmax(wage) < 10_000
