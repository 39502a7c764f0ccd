# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of patches, BigEarthNet's and GEO-Bench's, as chips and rows of a table.

A chip is one GeoTIFF with all bands of a patch on its finest grid: a coarser band's
pixels are repeated, nothing is interpolated.
"""

import ast
import csv
import pathlib
import pickletools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unigeo_jax import extras, jsons
from unigeo_jax.data.own import problems, rasters

BAND = re.compile(r"(.+)_(B\d\d|B8A|VV|VH)\.tiff?")
WHEN = re.compile(r"_(\d{4})(\d\d)(\d\d)T")
DATED = re.compile(r"(.*)_(\d{4}-\d\d-\d\d)")
NUMBERS = ("BINFLOAT", "BININT", "BININT1", "BININT2", "FLOAT")
PARTITIONS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
Row = dict[str, Any]


def write_chip(
    path: pathlib.Path, bands: list[np.ndarray], crs: Any, transform: Any
) -> tuple[float, float]:
    """Write bands as one GeoTIFF; latitude and longitude of its middle.

    transform: of the finest band. Raises ValueError where a band's side does not
    divide the finest's, or there is no CRS.
    """
    rasterio = rasters.library()
    if crs is None:
        raise ValueError("no CRS")
    height, width = max(band.shape for band in bands)
    stack = []
    for band in bands:
        down, right = height // band.shape[0], width // band.shape[1]
        if (band.shape[0] * down, band.shape[1] * right) != (height, width):
            raise ValueError(f"bands of {band.shape} and {(height, width)} pixels")
        stack.append(band.repeat(down, 0).repeat(right, 1))
    dtype = np.result_type(*stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"driver": "GTiff", "compress": "deflate", "count": len(stack)}
    shape = {"height": height, "width": width, "dtype": dtype}
    with rasterio.open(
        path, "w", crs=crs, transform=transform, **options, **shape
    ) as file:
        file.write(np.stack(stack).astype(dtype))
        x, y = rasters.apply(transform, width / 2, height / 2)
        lon, lat = rasterio.warp.transform(file.crs, "EPSG:4326", [x], [y])
    return lat[0], lon[0]


def bigearthnet(
    root: pathlib.Path, out: pathlib.Path, found: problems.Problems
) -> Iterator[Row]:
    """Rows of BigEarthNet's folders (v1, v2): a folder a patch, a GeoTIFF a band.

    Chips of B01 to B12 are the column `s2`, of VV and VH `s1`. The time is that of the
    name; labels and split come from *_labels_metadata.json or metadata.parquet.
    """
    rasterio = rasters.library()
    known = _metadata(root)
    number = 0
    for folder in sorted({path.parent for path in root.rglob("*.tif")}):
        files = {}
        for path in folder.glob("*.tif"):
            if named := BAND.fullmatch(path.name):
                files[named[2]] = path
        if not files:
            continue
        column = "s1" if {"VV", "VH"} & set(files) else "s2"
        names = sorted(files, key=lambda b: b.replace("8A", "08A"))
        chip = f"chips/{number // 1000:06d}/{folder.name}.tif"
        try:
            bands, grids = [], []
            for name in names:
                with rasterio.open(files[name]) as file:
                    bands.append(file.read(1))
                    grids.append((file.width, file.transform, file.crs))
            _, transform, crs = max(grids, key=lambda grid: grid[0])
            lat, lon = write_chip(out / chip, bands, crs, transform)
        except (ValueError, rasterio.errors.RasterioError) as error:
            found.add(
                number, column, "patch that cannot be read", "dropped", str(error)
            )
            continue
        number += 1
        row: Row = {"id": folder.name, "lat": lat, "lon": lon, column: chip}
        if when := WHEN.search(folder.name):
            row["time"] = "-".join(when.groups())
        yield row | known(folder)


def _metadata(root: pathlib.Path) -> Any:
    """A function that finds what is said of a patch beside its bands."""
    rows: dict[str, Row] = {}
    for path in sorted(root.rglob("metadata.parquet")):
        import pyarrow.parquet

        for row in pyarrow.parquet.read_table(path).to_pylist():
            rows[row.get("patch_id") or ""] = row

    def find(folder: pathlib.Path) -> Row:
        given: Mapping[str, Any] = rows.get(folder.name, {})
        beside = folder / f"{folder.name}_labels_metadata.json"
        if beside.is_file():
            given = _object(beside)
        labels = given.get("labels")
        about: Row = {"text": ""}
        if isinstance(labels, list):
            about["text"] = ", ".join(map(str, labels))
        if split := PARTITIONS.get(
            str(given.get("split", "")).replace("validation", "val")
        ):
            about["split"] = split
        if given.get("country"):
            about["region"] = given["country"]
        return about

    return find


def _object(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = jsons.read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: allowed: an object")
    return found


def geobench(
    root: pathlib.Path,
    out: pathlib.Path,
    found: problems.Problems,
    partition: str = "default",
    positions: pathlib.Path | None = None,
) -> Iterator[Row]:
    """Rows of a GEO-Bench task: an HDF5 a sample, a data set a band, a partition file.

    Where a sample lies is in a pickled attribute. It is never run: its opcodes are
    searched for the affine transform and the CRS. Samples without are dropped, unless
    `positions`, a CSV of id, lat, lon, tells.
    """
    h5py = extras.need("h5py", "GEO-Bench")
    splits = {}
    if (path := root / f"{partition}_partition.json").is_file():
        for name, ids in _object(path).items():
            if isinstance(ids, list):
                splits |= dict.fromkeys(map(str, ids), PARTITIONS.get(name, name))
    told = {}
    if positions:
        with open(positions, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            try:
                told = {row["id"]: (row["lat"], row["lon"]) for row in rows}
            except (csv.Error, KeyError) as error:
                raise ValueError(
                    f"{positions}: {error!r}; allowed: id, lat, lon"
                ) from error
    for number, path in enumerate(sorted(root.glob("*.hdf5"))):
        try:
            with h5py.File(path, "r") as file:
                names = sorted(n for n in file if not n.startswith("label"))
                bands = [np.asarray(file[n]) for n in names]
                crs, transform = _georeference(str(file.attrs.get("pickle", "")))
            chip = f"chips/{number // 1000:06d}/{path.stem}.tif"
            if told:
                lat, lon = map(float, told[path.stem])
                crs, transform = "EPSG:4326", _round(lat, lon, max(bands[0].shape))
            lat, lon = write_chip(out / chip, bands, crs, transform)
        except (OSError, ValueError, KeyError, IndexError) as error:
            kind = "sample that cannot be read"
            found.add(number, "hdf5", kind, problems.DROPPED, f"{path.name}: {error}")
            continue
        row: Row = {"id": path.stem, "lat": lat, "lon": lon, "chip": chip}
        if dated := DATED.fullmatch(names[0]):
            row["time"] = dated[2]
        yield row | ({"split": splits[path.stem]} if path.stem in splits else {})


def _round(lat: float, lon: float, pixels: int) -> Any:
    """A grid of 10 m round a place whose sample does not tell its own."""
    north, east = rasters.metres_a_degree(np.array([lat]))
    high, wide = 10.0 / float(north[0]), 10.0 / float(east[0])
    Affine = rasters.library().Affine
    top, left = lat + high * pixels / 2, lon - wide * pixels / 2
    return Affine(wide, 0, left, 0, -high, top)


def _georeference(attribute: str) -> tuple[Any, Any]:
    """CRS and transform in the opcodes of a pickled attribute, unrun; None for none."""
    try:
        data = ast.literal_eval(attribute)
        codes = list(pickletools.genops(data)) if isinstance(data, bytes) else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None, None
    numbers: list[float] = []
    affine, crs = False, None
    for code, argument, _ in codes:
        if isinstance(argument, str):
            affine |= argument.split(" ")[-1] == "Affine"
            if crs is None and re.match(r"EPSG:\d+$|\w+(CRS|CS)\[", argument):
                crs = argument
        elif affine and len(numbers) < 6 and code.name in NUMBERS:
            numbers.append(float(argument or 0))
    if len(numbers) < 6:
        return crs, None
    return crs, rasters.library().Affine(*numbers)
