# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A user's table of places: CSV, Parquet or GeoParquet, read and checked row by row.

Rows are numbered from 0, the header of a CSV file not counted. What comes out does
not depend on the order of the rows: places are put along a curve over the Earth, ties
in the order of their ids.
"""

import contextlib
import csv
import gc
import hashlib
import io
import json
import math
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import h3
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from unigeo_jax import jsons, outside
from unigeo_jax.data import edge_tables, order
from unigeo_jax.data.own import parsing, problems

LAT, LON = ("lat", "latitude"), ("lon", "lng", "longitude")
TEXTS = ("id", "cell", "split", "region", "time", "text", "poi")
PATHS = ("aerial", "street")  # columns of paths of images
RESERVED = ("node", "row", "digest", "place", "block", "demographics", "coords")
RESERVED += ("mobility", "night", "dsm", "year", "month")  # fields of other meaning

Place = dict[str, Any]


class Columns(NamedTuple):
    """Columns that a reader is told of.

    demographics: of numbers, kept as one list. template: text with {column} in it; "" =
    the column text, where there is one. files: of a raster's path, `column:NAME` of a
    place. vectors: of lists of numbers. cells: nodes are H3 cells.
    """

    demographics: Sequence[str] = ()
    template: str = ""
    files: Sequence[str] = ()
    vectors: Sequence[str] = ()
    cells: bool = False


PLAIN = Columns()
_CONTENT = json.JSONEncoder(sort_keys=True, default=np.ndarray.tolist)


def columns_of(path: pathlib.Path, cells: bool = False) -> list[str]:
    """Names of a table's columns.

    Raises:
      ValueError: a file of another kind, damaged, or without lat and lon, or, where
        nodes are H3 `cells`, without them.
    """
    if path.suffix == ".csv":
        with open(path, "rb") as file:
            header = file.readline().decode("utf-8-sig", "replace")
        try:
            names = next(csv.reader([header]), [])
        except csv.Error as error:
            raise ValueError(f"{path}: header: {error}") from error
    elif path.suffix in (".parquet", ".geoparquet"):
        with outside.refused(path):
            names = pyarrow.parquet.read_schema(path).names
    else:
        raise ValueError(f"{path}: allowed: a file that ends in .csv or .parquet")
    placed = "geometry" in names or (set(names) & set(LAT) and set(names) & set(LON))
    if not (placed or cells) or (cells and "node" not in names):
        raise ValueError(
            f"{path}: has columns {', '.join(names)}; allowed: a table with lat and"
            " lon, in degrees, or a GeoParquet file of points, or with --h3_nodes a"
            " column node of H3 cells"
        )
    return names


def read(
    path: pathlib.Path,
    found: problems.Problems,
    columns: Columns = PLAIN,
    nodes: set[edge_tables.Id] | None = None,
) -> tuple[list[Place], int]:
    """Read all rows that can be used, in an order that is theirs, and count all rows.

    Args:
      path: the table. Columns lat, lon, or geometry; of TEXTS, PATHS (in CSV parted by
        semicolons) and node those that are there. A place is where its H3 cell is, if
        the table has no positions; its id is that of its node, if there is none.
      found: takes what is wrong.
      columns: more of them, named by the user.
      nodes: takes the ids of nodes of all rows, those of dropped ones too.

    Raises:
      ValueError: what `columns_of` refuses, a column that is not there or would hide
        another, no usable row.
    """
    names = columns_of(path, columns.cells)
    used = [*columns.demographics, *columns.files, *columns.vectors]
    used += re.findall(r"\{(\w+)\}", columns.template)
    if missing := sorted(set(used) - set(names)):
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; there are {', '.join(names)}"
        )
    own = {*LAT, *LON, *TEXTS, *PATHS, *RESERVED}
    if hidden := sorted(own & set(columns.vectors)):
        raise ValueError(
            f"{path}: vectors named {', '.join(hidden)}; allowed: names other than"
            f" {', '.join(sorted(own))}"
        )
    parse = _parser(names, columns, found, set() if nodes is None else nodes)
    places, count = [], 0
    with no_collection():
        for row, values in _rows(path, names, found):
            count = row + 1
            place = parse(row, values)
            if place is not None:
                places.append(place)
    places = _sorted(_without_twins(places, found))
    if not places:
        raise ValueError(f"{path}: none of {count} rows can be used: {found.examples}")
    return places, count


def _rows(
    path: pathlib.Path, names: list[str], found: problems.Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers; cells of CSV are bytes."""
    if path.suffix != ".csv":
        with outside.refused(path), pyarrow.parquet.ParquetFile(path) as file:
            geo = (file.schema_arrow.metadata or {}).get(b"geo")
            if geo and not (set(names) & set(LAT) and set(names) & set(LON)):
                _check_crs(path, geo)
            row = 0
            for batch in file.iter_batches(batch_size=8192):
                for values in batch.to_pylist():
                    yield row, values
                    row += 1
        return
    skipped: list[int] = []

    def skip(bad: Any) -> str:
        row = bad.number - 2  # the first line is the header
        skipped.append(row)
        what = f"{bad.actual_columns} cells, expected {bad.expected_columns}"
        found.add(row, "row", "wrong number of cells", problems.DROPPED, what)
        return "skip"

    # As Latin-1 every byte is a letter: pyarrow hands a row of too many cells to `skip`
    # only if it is text, and drops it without a word otherwise.
    options = {"column_names": names, "skip_rows": 1, "encoding": "latin-1"}
    reader = pyarrow.csv.open_csv(
        path,
        pyarrow.csv.ReadOptions(use_threads=False, **options),
        pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    row = kept = 0
    for batch in reader:
        for values in batch.to_pylist():
            while kept < len(skipped) and skipped[kept] == row:
                row, kept = row + 1, kept + 1
            yield row, {name: cell.encode("latin-1") for name, cell in values.items()}
            row += 1


def _check_crs(path: pathlib.Path, raw: bytes) -> None:
    try:
        geo = jsons.parse(raw)
        column = geo.get("columns", {}).get(geo.get("primary_column", "geometry"), {})
        crs = column.get("crs") or {}
        code = (crs.get("id") or {}).get("code", "CRS84")
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: metadata geo: {error}; allowed: that of GeoParquet"
        ) from error
    if str(code) not in ("CRS84", "4326"):
        raise ValueError(
            f"{path}: geometry in CRS {code}; allowed: WGS 84 longitude and latitude"
            " (EPSG:4326, OGC:CRS84)"
        )


def _parser(
    names: list[str],
    columns: Columns,
    found: problems.Problems,
    nodes: set[edge_tables.Id],
) -> Callable[[int, dict[str, Any]], Place | None]:
    """A function that makes a Place of a row, or None."""
    lat_name = next((n for n in LAT if n in names), "")
    lon_name = next((n for n in LON if n in names), "")
    texts = [n for n in TEXTS if n in names and not (n == "text" and columns.template)]
    paths = [n for n in PATHS if n in names and n not in columns.files]

    def parse(row: int, values: dict[str, Any]) -> Place | None:
        def text(name: str) -> str:
            return parsing.clean(row, name, values[name], found)

        def listed(name: str) -> list[float]:
            return parsing.numbers(row, name, values[name], found)

        place: Place = {"row": row}
        if "node" in names:
            try:
                place["node"] = edge_tables.identity(values["node"], columns.cells)
            except ValueError as error:
                found.add(row, "node", "no H3 cell", problems.DROPPED, str(error))
                return None
            if place["node"] is not None:
                nodes.add(place["node"])
        if lat_name and lon_name:
            lat, lon = (parsing.number(values[name]) for name in (lat_name, lon_name))
        elif "geometry" in names:
            lat, lon = parsing.point(values["geometry"])
        else:
            lat, lon = _centre(place["node"])
        if not position_ok(row, lat, lon, found):
            return None
        place |= {"lat": lat, "lon": (lon + 180.0) % 360.0 - 180.0}
        place |= {name: text(name) for name in texts if name != "poi"}
        if place.get("node") is not None and not place.get("id"):
            place["id"] = _named(place["node"], columns.cells)
        if "poi" in texts:
            place["poi"] = parsing.points(row, values["poi"], found)
        if columns.template:
            of = re.compile(r"\{(\w+)\}")
            place["text"] = of.sub(lambda m: text(m[1]), columns.template)
        for name in paths:
            place[name] = parsing.paths(row, name, values[name], found)
        for name in columns.files:
            place[f"column:{name}"] = text(name).strip()
        if columns.demographics:
            given = [parsing.number(values[name]) for name in columns.demographics]
            place["demographics"] = given
        elif "demographics" in names:
            place["demographics"] = listed("demographics")
        for name in columns.vectors:  # an eighth of the memory of a list
            place[name] = np.array(listed(name), np.float32)
        return place

    return parse


def _centre(cell: Any) -> tuple[float, float]:
    """Latitude and longitude of the middle of an H3 cell, NaN without one."""
    if cell is None:
        return math.nan, math.nan
    return h3.cell_to_latlng(h3.int_to_str(cell))


def _named(node: edge_tables.Id, cell: bool) -> str:
    """The id of a node as text, an H3 cell hexadecimal."""
    return h3.int_to_str(int(node)) if cell else str(node)


def position_ok(row: int, lat: float, lon: float, found: problems.Problems) -> bool:
    """Whether a position can be used; says so if not."""
    if abs(lat) <= 90.0 and abs(lon) <= 540.0:
        return True
    what = f"lat={lat}, lon={lon}; allowed: lat -90 to 90, lon -540 to 540 degrees"
    swapped = abs(lon) <= 90.0 and abs(lat) <= 540.0
    kind = "lat and lon swapped?" if swapped else "no position"
    found.add(row, "lat", kind, problems.DROPPED, what)
    return False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Python looks for cycles among what grows: a sixth of the time, and none there."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _without_twins(places: list[Place], found: problems.Problems) -> list[Place]:
    """Give every place an id and keep one place an id, whatever their order."""
    for place in places:
        row = place.pop("row")
        text = _CONTENT.encode(place).encode()
        place |= {"row": row, "digest": hashlib.sha256(text).hexdigest()}
        place["id"] = place.get("id") or place["digest"][:16]
    places.sort(key=lambda p: (p["id"], p["digest"], p["row"]))
    kept: list[Place] = []
    for place in places:
        if kept and kept[-1]["id"] == place["id"]:
            what = f"id {place['id']!r}, kept is row {kept[-1]['row']}"
            found.add(place["row"], "id", "duplicate id", problems.DROPPED, what)
        else:
            kept.append(place)
    return kept


def _sorted(places: list[Place]) -> list[Place]:
    """Places along a curve over the Earth: neighbours need the same raster blocks."""
    lat_n = np.array([p["lat"] for p in places], np.float64)
    lon_n = np.array([p["lon"] for p in places], np.float64)
    if not places:
        return []
    return [places[n] for n in order.morton_order(lat_n, lon_n)]


@no_collection()
def to_parquet(places: list[Place], path: pathlib.Path) -> None:
    """Store checked places for the workers."""
    pyarrow.parquet.write_table(pa.Table.from_pylist(places), path, row_group_size=8192)


def digest_of(places: list[Place]) -> bytes:
    """SHA-256 over all places in order."""
    stream = io.StringIO()
    stream.writelines(p["digest"] for p in places)
    return hashlib.sha256(stream.getvalue().encode()).digest()


def width_of(places: list[Place], name: str) -> int:
    """How many numbers most lists of a column hold, 0 without any."""
    found = [len(p[name]) for p in places if len(p.get(name, ()))]
    return max(sorted(set(found)), key=found.count) if found else 0
