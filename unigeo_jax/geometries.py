# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points and polygons of a vector file, in any CRS, as places to embed.

Needs the extra `geo` (geopandas: pyogrio, pyproj and shapely). A polygon's vector is
the mean over points spread evenly over its area, the same ones each time.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from unigeo_jax import extras, jsons, outside

VECTOR = (".geojson", ".json", ".gpkg", ".fgb", ".shp")
TRIES = 200  # draws a point wanted, before a sliver counts by what was found
AT_ONCE = 65_536  # points in memory, whatever the polygons
_KINDS = {0: "Point", 3: "Polygon", 6: "MultiPolygon"}
# Kronecker sequence of the plastic number: low discrepancy in two dimensions.
_R2 = np.array([0.7548776662466927, 0.5698402909980532])


def open_file(
    source: pathlib.Path, rows: int
) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    """Batches of a vector file, `geometry` as WKB, with GeoParquet's metadata.

    Raises ValueError for a file that is none, without geometries or without a CRS.
    """
    batches = _read(source, rows)
    first = next(batches)
    return batches, first


def _read(source: pathlib.Path, rows: int) -> Iterator[Any]:
    """Yield the schema, then record batches, while the file is open."""
    pyogrio, pyproj = (
        extras.need("pyogrio", "geometries"),
        extras.need("pyproj", "geometries"),
    )
    try:
        with pyogrio.open_arrow(source, use_pyarrow=True, batch_size=rows) as found:
            about, reader = found
            name = about["geometry_name"] or "wkb_geometry"
            if name not in reader.schema.names:
                raise ValueError(f"{source}: has no geometries; allowed: {_allowed()}")
            if not about["crs"]:
                raise ValueError(
                    f"{source}: has no CRS; allowed: a file that says its CRS"
                )
            crs = pyproj.CRS(about["crs"]).to_json_dict()
            names = [n if n != name else "geometry" for n in reader.schema.names]
            schema = pa.schema(
                [f.with_name(n) for f, n in zip(reader.schema, names, strict=True)],
                {b"geo": json.dumps(metadata(crs)).encode()},
            )
            yield schema
            for batch in reader:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    except pyogrio.errors.DataSourceError as error:
        raise ValueError(f"{source}: {error}; allowed: a vector file") from error


def metadata(crs: Any, name: str = "geometry", kinds: tuple[str, ...] = ()) -> dict:
    """What GeoParquet 1.1 keeps under `geo`; no kinds: not known."""
    column = {"encoding": "WKB", "geometry_types": list(kinds), "crs": crs}
    return {"version": "1.1.0", "primary_column": name, "columns": {name: column}}


def column(schema: pa.Schema) -> str:
    """Name of the geometry column that GeoParquet's metadata tells, or "".

    Raises ValueError where the metadata are of another form, or name no column.
    """
    geo = jsons.parse((schema.metadata or {}).get(b"geo", b"{}"))
    name = geo.get("primary_column", "") if isinstance(geo, dict) else None
    if name != "" and schema.names.count(name) != 1:
        raise ValueError(
            f"metadata geo: primary_column {str(name)[:80]!r}; allowed: one of"
            f" {schema.names}"
        )
    return str(name)


def embed(enc: Any, table: pa.Table, points: int, time: Any = None) -> np.ndarray:
    """Vectors of the geometries of a table with GeoParquet's metadata: (n, d).

    points: of each polygon. time: one a row, None: `enc` is not given any. Raises
    ValueError naming the row (within the table) that is empty, no point or polygon, or
    outside what its CRS can tell; or a CRS of none.
    """
    name, shapely = column(table.schema), extras.need("shapely", "geometries")
    with outside.refused(f"column {name!r}"):
        raw = table.column(name).to_numpy(zero_copy_only=False)
    try:
        shapes = shapely.from_wkb(raw)
    except (shapely.errors.GEOSException, TypeError) as error:
        raise ValueError(f"column {name!r} is not WKB: {error}") from error
    shapes = to_degrees(shapes, table.schema)
    empty_n = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    kind_n = shapely.get_type_id(shapes)
    bad_n = empty_n | ~np.isin(kind_n, list(_KINDS))
    if bad_n.any():
        row = int(np.flatnonzero(bad_n)[0])
        got = "nothing" if empty_n[row] else shapes[row].geom_type
        raise ValueError(f"row {row}: {name} is {got}; allowed: {_allowed()}")
    out, step = [], max(1, AT_ONCE // points if (kind_n != 0).any() else AT_ONCE)
    for first in range(0, len(shapes), step):
        part = shapes[first : first + step]
        counts_n, latlon_p2 = places(part, points)
        when = {}
        if time is not None:
            when["time"] = np.repeat(time[first : first + step], counts_n)
        try:
            z_pd = enc.embed(lat=latlon_p2[:, 0], lon=latlon_p2[:, 1], **when)
        except ValueError as error:
            raise ValueError(f"points of rows from {first}: {error}") from error
        starts_n = np.concatenate([[0], np.cumsum(counts_n)[:-1]])
        out.append(np.add.reduceat(z_pd, starts_n, axis=0) / counts_n[:, None])
    return np.concatenate(out).astype(np.float32)


def to_degrees(shapes: np.ndarray, schema: pa.Schema) -> np.ndarray:
    """The shapes in lon, lat, WGS 84; raises ValueError without a CRS.

    GeoParquet says that no entry `crs` is CRS84, and an empty one none.
    """
    pyproj, shapely = (
        extras.need("pyproj", "geometries"),
        extras.need("shapely", "geometries"),
    )
    name = column(schema)
    with outside.refused(f"metadata geo of column {name!r}"):
        entry = jsons.parse((schema.metadata or {})[b"geo"])["columns"][name]
        if entry.get("encoding", "WKB") != "WKB":
            raise ValueError(f"{name}: encoding {entry['encoding']!r}; allowed: WKB")
        crs = entry.get("crs", "OGC:CRS84")
        if not crs:
            raise ValueError(f"{name}: has no CRS; allowed: a file that says its CRS")
        source = pyproj.CRS.from_user_input(crs)
    if source.equals("OGC:CRS84") or source.equals("EPSG:4326", True):
        return shapes
    way = pyproj.Transformer.from_crs(source, "OGC:CRS84", always_xy=True)
    return shapely.transform(
        shapes, lambda xy: np.stack(way.transform(xy[:, 0], xy[:, 1]), axis=1)
    )


def places(shapes: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """How many places each shape (lon, lat) has, and all of them: (n,), (p, 2)."""
    found = [
        np.array([[shape.y, shape.x]])
        if shape.geom_type == "Point"
        else spread(shape, points)
        for shape in shapes
    ]
    return np.array([len(x) for x in found]), np.concatenate(found)


def spread(shape: Any, points: int) -> np.ndarray:
    """Points spread evenly over a polygon's area on the sphere: (p, 2) [lat, lon].

    Drawn in longitude and sine of latitude, where areas are true, from a fixed sequence
    over the bounds; edges are straight in degrees. One that crosses 180 degrees has to
    be cut there, as GeoJSON wants it. A sliver that is never hit counts by one point.
    """
    shapely = extras.need("shapely", "geometries")
    west, south, east, north = shape.bounds
    if not np.isfinite([west, south, east, north]).all() or max(-south, north) > 90:
        raise ValueError(f"a polygon spans {shape.bounds}; allowed: degrees, WGS 84")
    low, high = np.sin(np.deg2rad([south, north]))
    shapely.prepare(shape)
    found, count, step = [], 0, 4 * points
    for first in range(0, TRIES * points, step):
        u_p2 = (0.5 + np.arange(first, first + step)[:, None] * _R2) % 1.0
        lon_p = west + u_p2[:, 0] * (east - west)
        lat_p = np.rad2deg(np.arcsin(low + u_p2[:, 1] * (high - low)))
        inside_p = shapely.contains_xy(shape, lon_p, lat_p)
        found.append(np.stack([lat_p, lon_p], axis=1)[inside_p])
        count += int(inside_p.sum())
        if count >= points:
            break
    if not count:
        middle = shape.representative_point()
        return np.array([[middle.y, middle.x]])
    return np.concatenate(found)[:points]


def _allowed() -> str:
    return "points and polygons: " + ", ".join(_KINDS.values())
