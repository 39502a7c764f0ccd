# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where and when: degrees and times as people give them, checked, as arrays."""

import datetime
import math
import warnings
from typing import Any

import numpy as np

UNKNOWN = ("", "na", "nan", "nat", "none", "null")  # texts of no time, any case


def degrees(lat: Any, lon: Any) -> np.ndarray:
    """Check degrees and return them as float32 (n, 2) [lat, lon], wrapped.

    Raises ValueError naming the first bad row; warns where they seem to be swapped.
    """
    try:
        lat_n, lon_n = (np.atleast_1d(np.asarray(x)) for x in (lat, lon))
        if lat_n.dtype.kind not in "iuf" or lon_n.dtype.kind not in "iuf":
            raise TypeError(f"{lat_n.dtype} and {lon_n.dtype}")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"lat, lon: got {error}; allowed: numbers, degrees WGS 84"
        ) from error
    if lat_n.ndim != 1 or lat_n.shape != lon_n.shape or not len(lat_n):
        raise ValueError(
            f"lat, lon: got shapes {lat_n.shape} and {lon_n.shape}; allowed: one"
            " latitude and one longitude a place, one place or more"
        )
    lat_n, lon_n = lat_n.astype(np.float64), lon_n.astype(np.float64)
    bad_n = ~((np.abs(lat_n) <= 90.0) & (np.abs(lon_n) <= 540.0))
    if bad_n.any():
        row = int(np.flatnonzero(bad_n)[0])
        finite_n = bad_n & np.isfinite(lat_n) & np.isfinite(lon_n)
        swapped = (np.abs(lon_n) <= 90.0).all() and finite_n.sum() == bad_n.sum()
        raise ValueError(
            f"row {row}: lat={lat_n[row]}, lon={lon_n[row]} ({bad_n.sum()} such rows);"
            " allowed: lat in [-90, 90], lon in [-540, 540] degrees, no NaN"
            + ("; are lat and lon swapped?" if swapped else "")
        )
    polar = len(lat_n) >= 20 and np.median(np.abs(lat_n)) > 66 and np.ptp(lat_n) > 60
    if polar and np.abs(lon_n).max() <= 75:
        warnings.warn(
            "most latitudes are polar and all longitudes within 75 degrees: are"
            " lat and lon swapped?",
            stacklevel=3,
        )
    beyond_n = np.abs(lon_n) > 180.0
    lon_n = np.where(beyond_n, (lon_n + 180.0) % 360.0 - 180.0, lon_n)
    return np.stack([lat_n, lon_n], axis=1).astype(np.float32)


def times(time: Any, rows: int) -> np.ndarray:
    """Float32 (n, 2), year with its fraction and month 1 to 12, of a time a place.

    time: ISO 8601 texts, dates, datetime64 or whole years, a place each, or one for all
      `rows`. 0 is unknown: of None, NaT, an empty text, and of the month of a year.

    Raises ValueError naming the first row that is none of these.
    """
    given = np.atleast_1d(np.asarray("" if time is None else time))
    if given.shape not in ((1,), (rows,)):
        raise ValueError(
            f"time: got shape {given.shape}; allowed: one time, or one a place ({rows})"
        )
    if given.dtype.kind == "M":
        day = np.datetime_data(given.dtype)[0] not in ("generic", "Y", "M")
        given = np.datetime_as_string(given.astype("M8[D]") if day else given)
    text_i, first_i, at_n = np.unique(given.astype(str), True, True)
    found_i2 = np.zeros((len(text_i), 2), np.float32)
    for i in np.argsort(first_i):
        try:
            found_i2[i] = np.nan_to_num(year_and_month(str(text_i[i])))
        except ValueError as error:
            raise ValueError(f"row {first_i[i]}: {error}") from error
    return np.broadcast_to(found_i2[at_n], (rows, 2))


def year_and_month(text: str) -> tuple[float, float]:
    """Year, with its fraction, and month 1 to 12 of an ISO 8601 time; NaN if unknown.

    2021-06 is the middle of June; 2021 the middle of the year, of an unknown month.
    Raises ValueError for any other text.
    """
    text = text.strip()
    if text.lower() in UNKNOWN:
        return math.nan, math.nan
    middle = {4: "-07-02", 7: "-15"}.get(len(text), "")
    try:
        at = datetime.datetime.fromisoformat(text + middle)
    except ValueError as error:
        raise ValueError(
            f"time={text!r}; allowed: ISO 8601, as 2021-06-30, 2021-06 or 2021"
        ) from error
    year = at.year + (at.timetuple().tm_yday - 1) / 366
    return year, math.nan if len(text) == 4 else float(at.month)
