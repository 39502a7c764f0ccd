# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A bounding box as H3 cells (GeoParquet) or as a raster of vectors (GeoTIFF, Zarr).

A box is west, south, east, north in degrees; west over east goes across 180 degrees.
Letters: `h`, `w` rows and columns of pixels, `d` embedding.
"""

import itertools
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import h3
import numpy as np
import pyarrow as pa
import tqdm

from unigeo_jax import embed_table, extras

Box = tuple[float, float, float, float]
TILE = 10.0  # degrees: cells are listed a tile of this side or less at a time
CELLS = 50_000  # of a tile, about
KM_A_DEGREE = 111.2
CHUNK = 64  # pixels: sides of a chunk of Zarr, or as many in another shape


class Raster(NamedTuple):
    """A lat/lon raster: its north-west corner and pixels, degrees, and its size."""

    west: float
    north: float
    degrees: float
    width: int
    height: int

    @property
    def lat_h(self) -> np.ndarray:
        return self.north - self.degrees * (np.arange(self.height) + 0.5)

    @property
    def lon_w(self) -> np.ndarray:
        return self.west + self.degrees * (np.arange(self.width) + 0.5)

    @property
    def transform(self) -> tuple[float, ...]:
        """From (column, row) to (lon, lat), in the order of the package affine."""
        return (self.degrees, 0.0, self.west, 0.0, -self.degrees, self.north)


Strips = Iterator[tuple[int, np.ndarray]]  # first row, numbers (d, rows, w)


def parse(words: list[str]) -> Box:
    """A box of four words; raises ValueError as `check` does."""
    try:
        west, south, east, north = map(float, words)
    except ValueError:
        raise _refuse(",".join(words)) from None
    check((west, south, east, north))
    return west, south, east, north


def check(box: Box) -> None:
    """Raise ValueError unless west, south, east, north enclose something."""
    west, south, east, north = box
    lon = -180 <= west <= 180 and -180 <= east <= 180 and west != east
    if not (lon and -90 <= south < north <= 90):
        raise _refuse(box)


def _refuse(box: Any) -> ValueError:
    return ValueError(
        f"--bbox: got {box}; allowed: west,south,east,north in degrees, south below"
        " north, west and east different and in [-180, 180]"
    )


def cells(
    enc: Any,
    box: Box,
    resolution: int,
    output: pathlib.Path,
    dtype: str = "float32",
    rows: int = 65_536,
) -> int:
    """Embed the H3 cells whose centres lie in `box`; return how many.

    Columns h3 (text), lat and lon (the centre), geometry, embedding. Raises ValueError
    for a box or resolution that is none, or an output of another job.
    """
    check(box)
    if not 0 <= resolution <= 15:
        raise ValueError(f"--h3: got {resolution}; allowed: 0 to 15")
    job = embed_table.about(enc, f"h3:{resolution}:{box}:{rows}", dtype)
    batches = _cells(box, resolution)
    schema = pa.schema([("h3", pa.string()), ("lat", "f8"), ("lon", "f8")])
    tables = embed_table.regroup(batches, schema, rows)
    return embed_table.write(enc, tables, output, job, source=f"--bbox {box}")


def _cells(box: Box, resolution: int) -> Iterator[pa.RecordBatch]:
    area_km2 = h3.average_hexagon_area(resolution, unit="km^2")
    side = min(TILE, math.sqrt(CELLS * area_km2) / KM_A_DEGREE)
    for west, south, east, north in _tiles(box, side):
        corners = [(south, west), (south, east), (north, east), (north, west)]
        names = sorted(h3.polygon_to_cells(h3.LatLngPoly(corners), resolution))
        if names:
            lat, lon = zip(*map(h3.cell_to_latlng, names), strict=True)
            yield pa.RecordBatch.from_pydict({"h3": names, "lat": lat, "lon": lon})


def _tiles(box: Box, side: float) -> Iterator[Box]:
    west, south, east, north = box
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    for a, b in spans:
        for x in _edges(a, b, side):
            for y in _edges(south, north, side):
                yield x[0], y[0], x[1], y[1]


def _edges(first: float, last: float, side: float) -> list[tuple[float, float]]:
    count = math.ceil((last - first) / side)
    at = np.linspace(first, last, count + 1).tolist()
    return list(itertools.pairwise(at))


def raster(
    enc: Any,
    box: Box,
    degrees: float,
    output: pathlib.Path,
    dtype: str = "float32",
    rows: int = 65_536,
) -> int:
    """Embed the centres of a lat/lon raster into a GeoTIFF, a band a number, or Zarr.

    degrees: the side of a pixel; the box has to hold a whole number of them. output:
    .tif, or .zarr: version 3, arrays `embedding` (h, w, d) in chunks, `lat`, `lon`.
    dtype: float32, int8, in Zarr float16. Strips of about `rows` pixels are kept as
    they are done, so that the same call resumes, and `output` appears whole, by a
    rename. Returns the number of pixels; raises ValueError as `cells`.
    """
    kinds = {".tif": (_tif_job, _tif), ".tiff": (_tif_job, _tif)}
    kinds[".zarr"] = (_zarr_job, _zarr)
    if (kind := output.suffix.lower()) not in kinds:
        raise ValueError(f"--output: got {output}; allowed: {', '.join(kinds)}")
    find_job, write = kinds[kind]
    check(box)
    west, south, east, north = box
    width = _count((east - west) % 360 or 360, degrees)
    height = _count(north - south, degrees)
    grid = Raster(west, north, degrees, width, height)
    if dtype == "float16" and kind != ".zarr":
        raise ValueError("--dtype: got 'float16'; allowed in GeoTIFF: float32, int8")
    job = embed_table.about(enc, f"raster:{degrees}:{box}:{rows}", dtype)
    parts = output.with_name(output.name + ".parts")
    if output.exists():
        embed_table.refuse_other(output, {embed_table.KEY: find_job(output)}, job)
    else:
        embed_table.claim(parts, job)
        step = max(1, rows // width)
        step = step // CHUNK * CHUNK if step > CHUNK else step
        part = output.with_name(f".{output.name}.part{output.suffix}")
        if part.is_dir():
            shutil.rmtree(part)
        write(part, grid, job, step, _strips(enc, grid, parts, job, step))
        os.replace(part, output)
    embed_table.clear(parts, job)
    return width * height


def _strips(
    enc: Any, grid: Raster, parts: pathlib.Path, job: dict[str, Any], step: int
) -> Strips:
    """Embed all strips that are not there yet; then read them, one by one."""
    firsts = range(0, grid.height, step)
    for first in tqdm.tqdm(firsts, unit=" strips", mininterval=1.0):
        path = parts / f"{first:08d}.npy"
        if not path.exists():
            lat_h = grid.lat_h[first : first + step]
            lat, lon = np.meshgrid(lat_h, grid.lon_w, indexing="ij")
            z_nd = enc.embed(lat=lat.ravel(), lon=lon.ravel())
            strip = embed_table.stored(z_nd, job).reshape(*lat.shape, -1)
            part = path.with_suffix(".part.npy")
            np.save(part, np.moveaxis(strip, -1, 0), allow_pickle=False)
            os.replace(part, path)
    for first in firsts:
        yield first, np.load(parts / f"{first:08d}.npy", allow_pickle=False)


def _tif_job(path: pathlib.Path) -> bytes:
    rasterio = extras.need("rasterio", "a GeoTIFF")
    with rasterio.open(path) as file:
        return file.tags().get("unigeo_jax", "{}").encode()


def _tif(
    part: pathlib.Path, grid: Raster, job: dict[str, Any], step: int, strips: Strips
) -> None:
    rasterio = extras.need("rasterio", "a GeoTIFF", "windows")
    profile = {
        **{"driver": "GTiff", "width": grid.width, "height": grid.height},
        **{"count": job["dim"], "crs": "EPSG:4326", "compress": "deflate"},
        **{"interleave": "band", "bigtiff": "if_safer", "dtype": job["dtype"]},
        "transform": rasterio.Affine(*grid.transform),
    }
    with rasterio.open(part, "w", **profile) as file:
        file.update_tags(unigeo_jax=json.dumps(job))
        if "int8_scale" in job:
            file.scales = [job["int8_scale"] / 127] * job["dim"]
        for first, strip in strips:
            size = (grid.width, strip.shape[1])
            file.write(strip, window=rasterio.windows.Window(0, first, *size))


def _zarr_job(path: pathlib.Path) -> bytes:
    zarr = extras.need("zarr", "a Zarr store")
    try:
        known = zarr.open_group(path, mode="r").attrs.get("unigeo_jax", {})
    except (OSError, ValueError):  # no store
        known = {}
    return json.dumps(known).encode()


def _zarr(
    part: pathlib.Path, grid: Raster, job: dict[str, Any], step: int, strips: Strips
) -> None:
    zarr = extras.need("zarr", "a Zarr store")
    about = {"crs": "EPSG:4326", "transform": grid.transform, "unigeo_jax": job}
    root = zarr.create_group(part, zarr_format=3, attributes=about)
    for name, unit, at in (("lat", "north", grid.lat_h), ("lon", "east", grid.lon_w)):
        words = {"units": f"degrees_{unit}"}
        root.create_array(name, data=at, dimension_names=[name], attributes=words)
    if "int8_scale" in job:
        about["scale_factor"] = job["int8_scale"] / 127  # as xarray and CF read it
    tall = min(step, CHUNK, grid.height)
    wide = min(CHUNK * CHUNK // tall, grid.width)
    array = root.create_array(
        "embedding",
        shape=(grid.height, grid.width, job["dim"]),
        chunks=(tall, wide, job["dim"]),
        dtype=job["dtype"],
        dimension_names=["lat", "lon", "number"],
        attributes=about,
    )
    for first, strip in strips:
        array[first : first + strip.shape[1]] = np.moveaxis(strip, 0, -1)


def _count(span: float, degrees: float) -> int:
    count = round(span / degrees) if degrees > 0 else 0
    if count < 1 or abs(count * degrees - span) > 1e-6 * span:
        raise ValueError(
            f"--cell_deg: got {degrees} for a side of {span}; allowed: a whole number"
            " of pixels on each side of the box"
        )
    return count
