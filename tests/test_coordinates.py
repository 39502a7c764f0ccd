# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Degrees and times as people give them: what is taken, what is refused."""

import datetime

import numpy as np
import pytest

from unigeo_jax import coordinates


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [
        ([1.0, np.nan], [0, 0], "row 1.*nan.*no NaN"),
        ([1.0, 120.0], [0, 10], "row 1: lat=120.*swapped"),
        ([1.0], [700.0], "row 0.*lon in"),
        (["1.0"], [2.0], "allowed: numbers"),
        ([], [], "one place or more"),
        ([1.0, 2.0], [1.0], "one latitude and one longitude"),
    ],
)
def test_bad_coordinates_are_one_clear_error(lat, lon, words):
    with pytest.raises(ValueError, match=words):
        coordinates.degrees(lat, lon)


def test_swapped_coordinates_that_are_plausible_are_warned_of():
    lon_of_asia, lat_of_asia = np.linspace(5, 89, 40), np.linspace(5, 60, 40)
    with pytest.warns(UserWarning, match="swapped"):
        coordinates.degrees(
            np.maximum(lon_of_asia, 89 * (np.arange(40) > 12)), lat_of_asia
        )


JUNE = 2021 + 180 / 366  # the 30th


@pytest.mark.parametrize(
    "time",
    [
        ["2021-06-30", "", "1999-01-01"],
        ["2021-06-30T23:59:59Z", None, "1999-01-01 00:00"],
        [datetime.date(2021, 6, 30), None, datetime.datetime(1999, 1, 1, 12)],
        np.array(["2021-06-30", "NaT", "1999-01-01"], "M8[D]"),
        np.array(["2021-06-30T23:59", "NaT", "1999-01-01"], "M8[ns]"),
        np.array(["2021-06-30", np.nan, "1999-01-01"], object),
    ],
)
def test_texts_dates_and_datetime64_are_year_and_month(time):
    got = coordinates.times(time, 3)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[JUNE, 6], [0, 0], [1999, 1]], rtol=1e-7)


def test_columns_of_pandas_are_times():
    pandas = pytest.importorskip("pandas")
    column = pandas.to_datetime(pandas.Series(["2021-06-30", None]))
    for time in (column, column.dt.tz_localize("UTC"), column.astype(object)):
        np.testing.assert_allclose(coordinates.times(time, 2), [[JUNE, 6], [0, 0]])


def test_a_month_has_a_middle_and_a_year_no_month():
    for time in (["2021-06", "2021"], [np.datetime64("2021-06"), np.datetime64("NaT")]):
        np.testing.assert_allclose(
            coordinates.times(time, 2)[0], [2021 + 165 / 366, 6], rtol=1e-7
        )
    year = [2021 + 182 / 366, 0]
    for time in ("2021", 2021, np.datetime64("2021"), [2021, 2021]):
        np.testing.assert_allclose(coordinates.times(time, 2), [year, year], rtol=1e-7)


def test_one_time_counts_for_all_and_none_is_unknown():
    np.testing.assert_allclose(coordinates.times("1999-01-01", 3), [[1999, 1]] * 3)
    np.testing.assert_array_equal(coordinates.times(None, 3), np.zeros((3, 2)))
    np.testing.assert_array_equal(
        coordinates.times(np.datetime64("NaT"), 2), np.zeros((2, 2))
    )


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (["2021", "last summer"], r"row 1: time='last summer'; allowed: ISO 8601"),
        (["2021-13-01", "2021"], r"row 0: time='2021-13-01'"),
        ([2021.5, 2020.0], r"row 0: time='2021.5'"),
        (["2021"] * 3, r"got shape \(3,\); allowed: one time, or one a place \(2\)"),
        ([], r"got shape \(0,\)"),
    ],
)
def test_what_is_no_time_is_refused_by_its_row(time, words):
    with pytest.raises(ValueError, match=words):
        coordinates.times(time, 2)
