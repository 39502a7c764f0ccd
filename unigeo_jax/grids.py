# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A bounding box as H3 cells (GeoParquet) or as a raster of vectors (GeoTIFF).

A box is west, south, east, north in degrees; west over east goes across 180 degrees.
"""

import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import tqdm

from unigeo_jax import embed_table, extras

Box = tuple[float, float, float, float]
TILE = 10.0  # degrees: cells are listed a tile at a time


def check(box: Box) -> None:
    """Raise ValueError unless west, south, east, north enclose something."""
    west, south, east, north = box
    lon = -180 <= west <= 180 and -180 <= east <= 180 and west != east
    if not (lon and -90 <= south < north <= 90):
        raise ValueError(
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
    for west, south, east, north in _tiles(box):
        corners = [(south, west), (south, east), (north, east), (north, west)]
        names = sorted(h3.polygon_to_cells(h3.LatLngPoly(corners), resolution))
        if names:
            lat, lon = zip(*map(h3.cell_to_latlng, names), strict=True)
            yield pa.RecordBatch.from_pydict({"h3": names, "lat": lat, "lon": lon})


def _tiles(box: Box) -> Iterator[Box]:
    west, south, east, north = box
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    for a, b in spans:
        for x in _edges(a, b):
            for y in _edges(south, north):
                yield x[0], y[0], x[1], y[1]


def _edges(first: float, last: float) -> list[tuple[float, float]]:
    count = math.ceil((last - first) / TILE)
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
    """Embed the centres of a lat/lon raster into a GeoTIFF, a band a number.

    degrees: the side of a pixel; the box has to hold a whole number of them. dtype:
    float32 or int8. Strips of about `rows` pixels are kept as they are done, so that
    the same call resumes. Returns the number of pixels; raises ValueError as `cells`.
    """
    rasterio = extras.need("rasterio", "a raster", "windows")
    check(box)
    west, south, east, north = box
    width = _count((east - west) % 360 or 360, degrees)
    height = _count(north - south, degrees)
    if dtype == "float16":
        raise ValueError("--dtype: got 'float16'; allowed in GeoTIFF: float32, int8")
    job = embed_table.about(enc, f"raster:{degrees}:{box}:{rows}", dtype)
    parts = output.with_name(output.name + ".parts")
    if output.exists():
        with rasterio.open(output) as file:
            known = {embed_table.KEY: file.tags().get("unigeo_jax", "{}").encode()}
        embed_table.refuse_other(output, known, job)
        embed_table.clear(parts, job)
        return width * height
    embed_table.claim(parts, job)
    lon = west + degrees * (np.arange(width) + 0.5)
    lat = north - degrees * (np.arange(height) + 0.5)
    step = max(1, rows // width)
    firsts = range(0, height, step)
    for first in tqdm.tqdm(firsts, unit=" strips", mininterval=1.0):
        path = parts / f"{first:08d}.npy"
        if not path.exists():
            at = np.meshgrid(lat[first : first + step], lon, indexing="ij")
            z_nd = enc.embed(lat=at[0].ravel(), lon=at[1].ravel())
            strip = embed_table.stored(z_nd, job).reshape(*at[0].shape, -1)
            part = path.with_suffix(".part.npy")
            np.save(part, np.moveaxis(strip, -1, 0), allow_pickle=False)
            os.replace(part, path)
    profile = {
        **{"driver": "GTiff", "width": width, "height": height, "dtype": dtype},
        **{"count": enc.info["dim"], "crs": "EPSG:4326", "compress": "deflate"},
        **{"interleave": "band", "bigtiff": "if_safer"},
        "transform": rasterio.Affine(degrees, 0.0, west, 0.0, -degrees, north),
    }
    _join(parts, firsts, output, profile, job)
    return width * height


def _join(
    parts: pathlib.Path, firsts: range, output: pathlib.Path, profile: dict, job: dict
) -> None:
    rasterio = extras.need("rasterio", "a raster", "windows")
    part = output.with_name(f".{output.name}.part.tif")
    with rasterio.open(part, "w", **profile) as file:
        file.update_tags(unigeo_jax=json.dumps(job))
        for first in firsts:
            strip = np.load(parts / f"{first:08d}.npy", allow_pickle=False)
            size = (profile["width"], strip.shape[1])
            file.write(strip, window=rasterio.windows.Window(0, first, *size))
    os.replace(part, output)
    embed_table.clear(parts, job)


def _count(span: float, degrees: float) -> int:
    count = round(span / degrees) if degrees > 0 else 0
    if count < 1 or abs(count * degrees - span) > 1e-6 * span:
        raise ValueError(
            f"--cell_deg: got {degrees} for a side of {span}; allowed: a whole number"
            " of pixels on each side of the box"
        )
    return count
