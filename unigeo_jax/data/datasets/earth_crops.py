# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the rasters and tables of the bundle say about a list of places.

All rasters are plate carree: row 0 is north, longitude runs from -180 to 180.
Letters: `i` places, `t` tile rows or columns, `c` channels.
"""

import functools
import io

import numpy as np
import PIL.Image
import scipy.spatial

from unigeo_jax.data import bundled, splits

LAND_COVER_CLASSES = 17
TEXT_REACH_KM = 200.0
VOID_M = -32768  # no height
ICE = 15  # IGBP class: snow and ice
GREENLAND = (  # south, north, west, east: boxes around its ice, clear of its neighbours
    (59.5, 67.0, -60.0, -27.0),  # Iceland lies to the east
    (67.0, 75.0, -60.0, -11.0),
    (75.0, 79.5, -74.0, -11.0),  # Canada lies to the west
    (79.5, 81.0, -68.0, -11.0),
    (81.0, 84.0, -62.0, -11.0),
)


@functools.cache
def raster(name: str) -> np.ndarray:
    """Read an image of the bundle: uint8 (height, width) or (height, width, 3)."""
    data = io.BytesIO(bundled.read(name))
    with PIL.Image.open(data, formats=("PNG", "JPEG")) as image:
        return np.asarray(image)


@functools.cache
def table(name: str) -> dict[str, np.ndarray]:
    """Read an npz of the bundle as a dict of arrays."""
    data = io.BytesIO(bundled.read(name))
    with np.load(data, allow_pickle=False) as arrays:
        return dict(arrays)


def pixel(lat_i, lon_i, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the pixel that holds each place: int64 (i,), int64 (i,)."""
    row_i = np.floor((90.0 - np.asarray(lat_i, np.float64)) / 180.0 * height)
    col_i = np.floor((np.asarray(lon_i, np.float64) + 180.0) / 360.0 * width)
    return row_i.astype(np.int64), col_i.astype(np.int64) % width


def crops(image: np.ndarray, lat_i, lon_i, size: int) -> np.ndarray:
    """Cut a square of `size` pixels around each place: (i, size, size[, c]).

    A crop of even size n covers rows [r - n/2, r + n/2). Columns wrap at the
    antimeridian, rows repeat the edge at the poles. A crop is as many degrees wide
    as tall, so on the ground it narrows with cos(lat).
    """
    height, width = image.shape[:2]
    row_i, col_i = pixel(lat_i, lon_i, height, width)
    offset_t = np.arange(size) - size // 2
    row_it = np.clip(row_i[:, None] + offset_t, 0, height - 1)
    col_it = (col_i[:, None] + offset_t) % width
    return image[row_it[:, :, None], col_it[:, None, :]]


def elevation() -> np.ndarray:
    """Heights of the whole Earth in metres, int16 (2160, 4320); no data = 0 m."""
    steps = raster("elevation.png").astype(np.int16)
    return np.where(steps == 255, 0, 28 * steps - 450).astype(np.int16)


def surface() -> np.ndarray:
    """As `elevation`, but void on Greenland's ice, where the map is of the bedrock."""
    height_m, cover = elevation(), raster("landcover.png")
    sizes = zip(height_m.shape, cover.shape, strict=True)
    at = [((np.arange(n) + 0.5) / n * m).astype(int) for n, m in sizes]
    ice = cover[np.ix_(*at)] == ICE
    for south, north, west, east in GREENLAND:
        row, col = pixel([north, south], [west, east], *ice.shape)
        box = slice(*row), slice(*col)
        height_m[box][ice[box]] = VOID_M
    return height_m


def land_cover_fractions(lat_i, lon_i) -> tuple[np.ndarray, np.ndarray]:
    """IGBP class at the place int32 (i,), and shares in its cell float32 (i, 17)."""
    cover_itt = crops(raster("landcover.png"), lat_i, lon_i, 5)
    classes = np.arange(LAND_COVER_CLASSES)
    share_ic = (cover_itt.reshape(len(cover_itt), -1, 1) == classes).mean(1)
    return cover_itt[:, 2, 2].astype(np.int32), share_ic.astype(np.float32)


def ndvi(lat_i, lon_i) -> np.ndarray:
    """Yearly maximum and minimum of NDVI over 3 x 3 pixels: float32 (i, 2), or NaN."""
    both = []
    for name in ("ndvi_max.png", "ndvi_min.png"):
        step_it = crops(raster(name), lat_i, lon_i, 3).reshape(len(lat_i), -1)
        seen_it = step_it > 0
        count_i = seen_it.sum(1)
        total_i = np.where(seen_it, (step_it - 1.0) / 254 * 1.2 - 0.2, 0.0).sum(1)
        both.append(np.where(count_i > 0, total_i / np.maximum(count_i, 1), np.nan))
    return np.stack(both, -1).astype(np.float32)


class Places:
    """Named places of the bundle, found by distance."""

    def __init__(self) -> None:
        columns = table("places.npz")
        self.lat, self.lon = columns["lat"], columns["lon"]
        self.population = columns["population"].astype(np.int64)
        self.elevation_m = columns["elevation_m"]
        self.country = columns["country"]
        self.admin1, self.admin2 = columns["admin1"], columns["admin2"]
        self.names = bytes(columns["names"]).decode().split("\n")
        self.admin_names = bytes(columns["admin_names"]).decode().split("\n")
        self.country_codes = [str(code) for code in columns["country_codes"]]
        at = splits.unit_vectors(self.lat, self.lon)
        self.tree = scipy.spatial.KDTree(at)
        self.cities = np.flatnonzero(self.population >= 100_000)
        self.city_tree = scipy.spatial.KDTree(at[self.cities])

    def nearest(self, lat_i, lon_i, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest places: distances in km (i, count) and numbers (i, count)."""
        return _nearest(self.tree, lat_i, lon_i, count)

    def nearest_cities(self, lat_i, lon_i, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`, among places of at least 100,000 people."""
        km_in, number_in = _nearest(self.city_tree, lat_i, lon_i, count)
        return km_in, self.cities[number_in]

    def within(self, lat_i, lon_i, km: float) -> list[np.ndarray]:
        """Numbers of all places within `km` of each place, in no order."""
        at_i = splits.unit_vectors(lat_i, lon_i)
        found = self.tree.query_ball_point(at_i, splits.chord(km), return_sorted=False)
        return [np.array(numbers, np.int64) for numbers in found]


def _nearest(tree, lat_i, lon_i, count: int) -> tuple[np.ndarray, np.ndarray]:
    straight_in, number_in = tree.query(splits.unit_vectors(lat_i, lon_i), k=count)
    km_in = 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.minimum(straight_in / 2, 1.0))
    return km_in, number_in


def bearings(lat_i, lon_i, lat_j, lon_j) -> np.ndarray:
    """Bearing from places i to places j in degrees clockwise from north, [0, 360)."""
    lat_i, lat_j = np.deg2rad(lat_i, dtype="f8"), np.deg2rad(lat_j, dtype="f8")
    turn = np.deg2rad(np.subtract(lon_j, lon_i, dtype="f8"))
    east = np.sin(turn) * np.cos(lat_j)
    north = np.cos(lat_i) * np.sin(lat_j) - np.sin(lat_i) * np.cos(lat_j) * np.cos(turn)
    return np.rad2deg(np.arctan2(east, north)) % 360.0


def nearest_airport(lat_i, lon_i, km: float = 50.0) -> np.ndarray:
    """Node of the flight graph within `km` of each place, -1 = none: int32 (i,)."""
    airports = table("airports.npz")
    tree = scipy.spatial.KDTree(splits.unit_vectors(airports["lat"], airports["lon"]))
    km_i, node_i = _nearest(tree, lat_i, lon_i, 1)
    return np.where(km_i <= km, node_i, -1).astype(np.int32)
