# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cuts chips of a stated ground size out of rasters of any CRS, by windows.

A chip is a square on the ground, north up, `metres` a side and `size` pixels. Round
its centre the map from metres to the raster's coordinates is taken as linear (exact to
a fraction of a pixel for chips up to some 50 km). Where its axes then run along the
raster's, to 5 % as in UTM, Web Mercator or degrees, the window is read as it is;
anywhere else, and at borders, pixels are resampled along the linear map. Downsizing
averages valid pixels only; enlarging is bilinear and adds no detail.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from unigeo_jax import extras, outside
from unigeo_jax.data.own import problems, remote

COLUMN = "column:"  # path of a source: the table names a file for every place
DEGREES = "EPSG:4326"
STRAIGHT = 0.05
LEAST_VALID = 0.5  # of a chip's pixels, else the place has none
MAX_BANDS = 4096  # that are read; GDAL opens a damaged file of 65,535
# WGS 84: metres a degree of latitude and of longitude, to 0.01 %.
A, E2 = 6378137.0, 0.00669437999014


@dataclasses.dataclass(frozen=True)
class Source:
    """What is cut. metres 0: the raster's own resolution.

    path: a file, or "column:NAME", a column with a file for every place, all of them
    like that of the first. bands: numbers from 1, () = all. nodata: where the file
    does not say; None = as it says. low, high: values that become 0 and 255 in
    pictures; equal: 2nd and 98th percentile.
    """

    name: str
    path: str
    metres: float = 0.0
    size: int = 64
    bands: tuple[int, ...] = ()
    nodata: float | None = None
    low: float = 0.0
    high: float = 0.0


def metres_a_degree(lat_i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres a degree of latitude, and of longitude (at least 1 km at the poles)."""
    s2 = np.sin(np.deg2rad(lat_i)) ** 2
    w = 1.0 - E2 * s2
    north = np.deg2rad(A * (1 - E2) / w**1.5)
    east = np.deg2rad(A / np.sqrt(w)) * np.cos(np.deg2rad(lat_i))
    return north, np.maximum(east, 1000.0)


class Raster:
    """An open raster and the chips in it.

    Raises:
      ValueError: cannot be opened or read, has no CRS, or not these bands.
    """

    def __init__(self, source: Source) -> None:
        rasterio = library()
        try:
            self._file = rasterio.open(source.path)
        except rasterio.errors.RasterioError as error:
            raise ValueError(
                f"raster {source.name}: {source.path} cannot be opened: {error}"
            ) from error
        if self._file.crs is None:
            raise ValueError(
                f"raster {source.name}: {source.path} has no CRS; allowed: a raster"
                " that says where it lies (gdal_edit.py -a_srs EPSG:... FILE)"
            )
        self._where = f"raster {source.name}: {source.path}"
        with outside.refused(self._where):
            self._describe(source)

    def _describe(self, source: Source) -> None:
        rasterio = library()
        count = self._file.count
        bands = source.bands or tuple(range(1, count + 1))
        if len(bands) > MAX_BANDS or not 1 <= min(bands) <= max(bands) <= count:
            raise ValueError(
                f"{self._where}: {len(bands)} bands, {str([*bands])[:60]};"
                f" allowed: 1 to {count}, at most {MAX_BANDS} of them"
            )
        self.bands, self.nodata = list(bands), self._file.nodata
        if source.nodata is not None:
            self.nodata = source.nodata
            options = {"src_nodata": source.nodata, "nodata": source.nodata}
            self._file = rasterio.vrt.WarpedVRT(self._file, **options)
        flags_of = self._file.mask_flag_enums  # asks for every band
        masks = [flags_of[b - 1] for b in bands]
        flag = rasterio.enums.MaskFlags
        self._masked = any(flag.per_dataset in m or flag.alpha in m for m in masks)
        self.dtype = np.dtype(self._file.dtypes[bands[0] - 1])
        self.resolution_m = self._native_metres()
        self.size = source.size
        self.metres = source.metres or self.resolution_m * source.size
        self.source = dataclasses.replace(
            source, metres=self.metres, bands=tuple(bands), nodata=self.nodata
        )
        if source.low == source.high:
            low, high = self._percentiles()
            self.source = dataclasses.replace(self.source, low=low, high=high)

    def close(self) -> None:
        self._file.close()

    def about(self) -> dict[str, Any]:
        """What the data card says of it."""
        file = self._file
        return {
            "file": pathlib.PurePath(self.source.path).name,
            "crs": file.crs.to_string()[:200],
            "pixels": [file.height, file.width],
            "bands": self.bands,
            "dtype": str(self.dtype),
            "nodata": None if self.nodata is None else float(self.nodata),
            "metres_a_pixel": round(self.resolution_m, 3),
            "chip_metres": round(self.metres, 3),
            "chip_pixels": self.size,
            "enlarged": round(self.resolution_m * self.size / self.metres, 3),
            "low_high": [self.source.low, self.source.high],
        }

    def _native_metres(self) -> float:
        file = self._file
        x, y = apply(file.transform, file.width / 2, file.height / 2)
        lon, lat = library().warp.transform(file.crs, DEGREES, [x], [y])[:2]
        _, _, jacobian = self._linear(np.array(lat), np.array(lon), 100.0)
        return float(1.0 / math.sqrt(abs(np.linalg.det(jacobian[0]))))

    def _percentiles(self) -> tuple[float, float]:
        """2nd and 98th percentile of the valid pixels of a reduced raster."""
        if self.dtype == np.uint8:
            return 0.0, 255.0
        scale = max(1.0, max(self._file.shape) / 512)
        shape = [max(1, int(n / scale)) for n in self._file.shape]
        data = self._file.read(self.bands, out_shape=(len(self.bands), *shape))
        values = data[self._valid(data)].astype(np.float64)
        if not len(values):
            return 0.0, 1.0
        low, high = np.percentile(values, [2, 98])
        return float(low), float(high if high > low else low + 1)

    def _linear(
        self, lat_i: np.ndarray, lon_i: np.ndarray, metres: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column and row (i) of places, and their derivative (i, 2, 2).

        The derivative is that of (column, row) by metres (east, south).
        """
        north_i, east_i = metres_a_degree(lat_i)
        lat_step, lon_step = metres / 2 / north_i, metres / 2 / east_i
        around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
        lats = np.concatenate([lat_i + s * lat_step for s, _ in around])
        lons = np.concatenate([lon_i + e * lon_step for _, e in around])
        at = np.stack(self._pixel(np.clip(lats, -90, 90), lons), -1)
        centre, east, west, up, down = at.reshape(5, -1, 2)
        jacobian = np.stack([east - west, down - up], -1) / metres
        return centre[:, 0], centre[:, 1], jacobian

    def _pixel(
        self, lat_i: np.ndarray, lon_i: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Column and row (i) of places, in pixels."""
        crs, at = self._file.crs, (lon_i.tolist(), lat_i.tolist())
        x, y = library().warp.transform(DEGREES, crs, *at)[:2]
        return apply(~self._file.transform, np.asarray(x), np.asarray(y))

    def cut(
        self, lat_i: np.ndarray, lon_i: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        """Yield a place's chip (size, size, bands), what is valid, and why it has none.

        The last is "" for a chip that is there, else "outside" or "nodata". Raises
        ValueError where the file is damaged.
        """
        with outside.refused(self._where):
            column_i, row_i, jacobian_i = self._linear(lat_i, lon_i, self.metres)
        for column, row, jacobian in zip(column_i, row_i, jacobian_i, strict=True):
            with outside.refused(self._where):
                chip = self._chip(column, row, jacobian * self.metres)
            if chip is None:
                yield np.zeros(0), np.zeros(0, bool), "outside"
                continue
            chip = chip.transpose(1, 2, 0)
            valid = self._valid(chip)
            if self._mask is not None:
                valid &= self._mask
            share = np.count_nonzero(valid.all(-1)) / self.size**2
            yield chip, valid, "" if share >= LEAST_VALID else "nodata"

    def _chip(self, column: float, row: float, side: np.ndarray) -> np.ndarray | None:
        """Pixels (bands, size, size); `side` (2, 2): the chip's edges in pixels."""
        rasterio, file = library(), self._file
        self._mask: np.ndarray | None = None
        if not (np.isfinite([column, row]).all() and np.isfinite(side).all()):
            return None
        reach = np.abs(side).sum(1) / 2
        if not (
            -reach[0] < column < file.width + reach[0]
            and -reach[1] < row < file.height + reach[1]
        ):
            return None
        shape = (len(self.bands), self.size, self.size)
        wide, high = side[0, 0], side[1, 1]
        skew = max(abs(side[0, 1] / (high or 1)), abs(side[1, 0] / (wide or 1)))
        left, top = column - wide / 2, row - high / 2
        kinds = rasterio.enums.Resampling
        down = max(abs(wide), abs(high)) > 1.2 * self.size
        how = kinds.average if down else kinds.bilinear
        inside = left >= 0 and top >= 0
        inside &= left + wide <= file.width and top + high <= file.height
        if inside and wide > 0 and high > 0 and skew < STRAIGHT:
            window = rasterio.windows.Window(left, top, wide, high)
            options = {"window": window, "out_shape": shape, "resampling": how}
            if self._masked:
                mask = file.read_masks(self.bands, window=window, out_shape=shape)
                self._mask = np.moveaxis(mask > 0, 0, -1)
            return file.read(self.bands, **options)
        pixel = side / self.size
        corner = column - side[0].sum() / 2, row - side[1].sum() / 2
        grid = file.transform
        axes = np.array([[grid.a, grid.b], [grid.d, grid.e]]) @ pixel
        x, y = apply(grid, *corner)
        to = rasterio.Affine(axes[0, 0], axes[0, 1], x, axes[1, 0], axes[1, 1], y)
        # A pixel outside the file is void: heights and colours of 0 are not.
        out = np.full(shape, np.nan, np.float64)
        rasterio.warp.reproject(
            rasterio.band(file, self.bands),
            out,
            dst_transform=to,
            dst_crs=file.crs,
            src_nodata=self.nodata,
            dst_nodata=np.nan,
            resampling=how,
        )
        return out

    def _valid(self, values: np.ndarray) -> np.ndarray:
        valid = np.isfinite(values)
        if self.nodata is not None and np.isfinite(self.nodata):
            valid &= values != self.nodata
        return valid

    def contains(self, lat_i: np.ndarray, lon_i: np.ndarray) -> np.ndarray:
        """Which places lie inside the raster: bool (i,)."""
        with outside.refused(self._where):
            column_i, row_i = self._pixel(lat_i, lon_i)
        ok = np.isfinite(column_i) & (column_i >= 0) & (column_i < self._file.width)
        return ok & (row_i >= 0) & (row_i < self._file.height)


def apply(grid: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Where an affine map puts points."""
    return grid.a * x + grid.b * y + grid.c, grid.d * x + grid.e * y + grid.f


def picture(chip: np.ndarray, valid: np.ndarray, source: Source) -> np.ndarray:
    """uint8 of a chip, `low` to `high` becoming 0 to 255; 0 where nothing is valid."""
    values = np.where(valid, chip, source.low).astype(np.float32)
    if (source.low, source.high) != (0.0, 255.0):
        values = (values - source.low) * (255.0 / (source.high - source.low))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def drop_swapped(
    places: list[dict[str, Any]],
    opened: list[Raster],
    found: problems.Problems,
) -> list[dict[str, Any]]:
    """Drop places in no raster whose swapped coordinates are in one.

    Raises:
      ValueError: no place at all is in some raster.
    """
    if not opened:
        return places
    lat_n = np.array([p["lat"] for p in places])
    lon_n = np.array([p["lon"] for p in places])
    inside, swapped = np.zeros(len(places), bool), np.zeros(len(places), bool)
    could = np.abs(lon_n) <= 90
    for raster in opened:
        here = raster.contains(lat_n, lon_n)
        inside |= here
        turned = raster.contains(np.where(could, lon_n, 0), np.where(could, lat_n, 0))
        swapped |= turned & could
        if not here.any():
            hint = "; lat and lon swapped?" if swapped.any() else ""
            raise ValueError(
                f"raster {raster.source.name}: none of {len(places)} places lies in"
                f" {raster.source.path}{hint} (a wrong CRS?)"
            )
    bad = swapped & ~inside
    for number in np.flatnonzero(bad):
        what = f"lat={lat_n[number]}, lon={lon_n[number]}"
        row = places[number]["row"]
        found.add(row, "lat", "lat and lon swapped?", problems.DROPPED, what)
    return [p for p, out in zip(places, bad, strict=True) if not out]


def open_first(source: Source, places: list[dict[str, Any]], root: str) -> Raster:
    """Open a source; of one with a file for every place the first that can be read.

    Raises:
      ValueError: what `Raster` raises, or no place has a file.
    """
    if not source.path.startswith(COLUMN):
        return Raster(source)
    last: Exception | None = None
    for place in places:
        try:
            file = inside(root, place[source.path])
            found = Raster(dataclasses.replace(source, path=file))
        except ValueError as error:
            last = error
            continue
        found.source = dataclasses.replace(found.source, path=source.path)
        return found
    raise ValueError(
        f"raster {source.name}: no place has a file in column"
        f" {source.path.removeprefix(COLUMN)} that can be read ({last})"
    )


def cut_files(
    like: Source, places: list[dict[str, Any]], root: str
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """What `Raster.cut` yields, out of a file for every place.

    A file that cannot be read, or of other bands, gives "file: " and why.
    """
    none = np.zeros(0), np.zeros(0, bool)
    for place in places:
        if not place[like.path]:
            yield *none, "outside"
            continue
        try:
            file = inside(root, place[like.path])
            raster = Raster(dataclasses.replace(like, path=file))
        except ValueError as error:
            yield *none, f"file: {error}"
            continue
        try:
            yield next(raster.cut(np.array([place["lat"]]), np.array([place["lon"]])))
        except ValueError as error:
            if remote.is_remote(root):  # it may be the network, which is never masked
                raise
            yield *none, f"file: {error}"
        finally:
            raster.close()


def inside(root: str, path: str) -> str:
    """A path below `root`, a folder or an address; ValueError for one that is not."""
    if remote.is_remote(root):
        return remote.below(root, path)
    folder = pathlib.Path(root).resolve()
    full = (folder / path).resolve()
    if not path or not full.is_relative_to(folder):
        raise ValueError(f"{path!r} is not below the folder of images (--images)")
    return str(full)


@functools.cache
def library() -> Any:
    """rasterio, with the parts used here; ValueError where it is not installed."""
    parts = ("enums", "errors", "vrt", "warp", "windows")
    return extras.need("rasterio", "rasters", *parts)
