# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A table of places to GeoParquet with their vectors, part by part.

A part is written under a temporary name and renamed, so a killed job goes on after its
last whole part. Letters: `n` rows of a part, `d` embedding.
"""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import tqdm

from unigeo_jax import geometries, outside

KEY = b"unigeo_jax"
# WGS 84, longitude first, as GeoParquet 1.1 wants it (PROJJSON).
_AXES = [("Geodetic longitude", "Lon", "east"), ("Geodetic latitude", "Lat", "north")]
CRS84 = {
    "$schema": "https://proj.org/schemas/v0.7/projjson.schema.json",
    "type": "GeographicCRS",
    "name": "WGS 84 (CRS84)",
    "datum": {
        "type": "GeodeticReferenceFrame",
        "name": "World Geodetic System 1984",
        "ellipsoid": {
            "name": "WGS 84",
            "semi_major_axis": 6378137,
            "inverse_flattening": 298.257223563,
        },
    },
    "coordinate_system": {
        "subtype": "ellipsoidal",
        "axis": [
            {"name": name, "abbreviation": short, "direction": way, "unit": "degree"}
            for name, short, way in _AXES
        ],
    },
    "id": {"authority": "OGC", "code": "CRS84"},
}
NEW = ("geometry", "embedding")
SUFFIXES = (".csv", ".parquet", *geometries.VECTOR)


def run(
    enc: Any,
    source: pathlib.Path,
    output: pathlib.Path,
    columns: tuple[str, str] = ("lat", "lon"),
    dtype: str = "float32",
    rows: int = 65_536,
    points: int = 64,
    time: str | None = None,
) -> int:
    """Embed `source` into `output`; return the number of rows.

    source: CSV or Parquet with `columns` of latitude and longitude, degrees WGS 84; or
      GeoParquet or a vector file of points and polygons, which keep their geometry and
      CRS (geometries.py). points: of each polygon, whose vector is their mean.
    time: column of times, for a model that takes them; None: `time`, if it is there,
      "" none. A row without one is a place of an unknown time.
    enc: what unigeo_jax.load gives. dtype: float32, float16, or int8 (`stored`).

    Raises:
      ValueError: no such file or column, an empty table, no CRS, coordinates that are
        none (it names the row), or an output, or parts of one, of another model, table
        or dtype.
    """
    if not source.is_file():
        raise ValueError(f"{source}: no such file; allowed: {', '.join(SUFFIXES)}")
    time = time_column(enc, source, time)
    stat = source.stat()
    told = f"{source.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{columns}"
    job = about(enc, f"{told}:{rows}:{points}{time and f':{time}'}", dtype)
    tables = batches(source, columns, rows)
    return write(enc, tables, output, job, columns, points, str(source), time)


def time_column(enc: Any, source: pathlib.Path, name: str | None) -> str:
    """The column of times to take, "" for none; raises ValueError if it cannot be."""
    takes = enc.info.get("time", False)
    if not name and (name is not None or not takes):
        return ""
    names = reader_of(source, 1)[1].names
    if name is None:
        return "time" if "time" in names else ""
    if not takes or name not in names:
        raise ValueError(
            f"{source}: column of times {name!r}: "
            + (f"is not among {names}" if takes else "the model takes no time")
            + "; allowed: a column, of a model that was trained with times"
        )
    return name


def write(
    enc: Any,
    tables: Iterator[pa.Table],
    output: pathlib.Path,
    job: dict[str, Any],
    columns: tuple[str, str] = ("lat", "lon"),
    points: int = 64,
    source: str = "input",
    time: str = "",
) -> int:
    """Embed tables, a part each, always the same ones for a `job`; return the rows."""
    parts = output.with_name(output.name + ".parts")
    if output.exists():
        refuse_other(output, pq.read_schema(output).metadata or {}, job)
        clear(parts, job)
        return pq.read_metadata(output).num_rows
    head = next(tables, None)
    if head is None:
        raise ValueError(f"{source}: no rows; allowed: one or more")
    claim(parts, job)
    first, files = 0, []
    progress = tqdm.tqdm(unit=" rows", unit_scale=True, mininterval=1.0)
    with first_of_a_kind(), progress as bar:
        for number, table in enumerate(itertools.chain([head], tables)):
            path = parts / f"{number:08d}.parquet"
            if not path.exists():
                try:
                    done = embed(enc, table, columns, first, job, points, time)
                except ValueError:
                    if not files:  # nothing to resume: a mended table may come
                        clear(parts, job)
                    raise
                part = path.with_suffix(".part")
                pq.write_table(done, part, **encodings(done.schema))
                os.replace(part, path)
            files.append(path)
            first += len(table)
            bar.update(len(table))
    join(files, output)
    clear(parts, job)
    return first


@contextlib.contextmanager
def first_of_a_kind() -> Iterator[None]:
    """Shows of warnings that differ in numbers only the first, and how many followed.

    One part of a long table warns like the next.
    """
    seen: dict[str, list[Any]] = {}
    with warnings.catch_warnings():
        show = warnings.showwarning

        def once(message: Any, category: Any, *rest: Any, **more: Any) -> None:
            kind = re.sub(r"[\d.,-]+", "#", str(message))
            seen.setdefault(kind, []).append(message)
            if len(seen[kind]) == 1:
                show(message, category, *rest, **more)

        warnings.showwarning = once
        yield
    for first, *others in seen.values():
        if others:
            warnings.warn(f"{len(others)} more parts warned as: {first}", stacklevel=3)


def about(enc: Any, told: str, dtype: str) -> dict[str, Any]:
    """What a part depends on: the model by hash, the places by what tells them."""
    if dtype not in ("float32", "float16", "int8"):
        raise ValueError(f"dtype: got {dtype!r}; allowed: float32, float16, int8")
    model = {k: enc.info[k] for k in ("model_id", "package_version", "sha256", "dim")}
    table = hashlib.sha256(told.encode()).hexdigest()
    scale = {"int8_scale": enc.int8_scale} if dtype == "int8" else {}
    return model | scale | {"dtype": dtype, "table": table}


def refuse_other(path: pathlib.Path, metadata: dict, job: dict[str, Any]) -> None:
    """Raise ValueError unless `metadata` is that of the same job."""
    found = json.loads(metadata.get(KEY, b"{}"))
    differing = {k: (found.get(k), v) for k, v in job.items() if found.get(k) != v}
    if differing:
        raise ValueError(
            f"{path}: is there already, of another model, table or dtype (there, asked"
            f" for): {differing}; allowed: another --output, or to delete it"
        )


def claim(parts: pathlib.Path, job: dict[str, Any]) -> None:
    """Make `parts` the folder of this job; raises ValueError if it is another's."""
    path, text = parts / "job.json", json.dumps(job)
    if path.exists():
        refuse_other(parts, {KEY: path.read_bytes()}, job)
    parts.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def clear(parts: pathlib.Path, job: dict[str, Any]) -> None:
    """Delete the parts of this job, if they are there, and its name last.

    So a kill leaves no part without the name of its job, and the next call goes on.
    """
    name = parts / "job.json"
    if name.exists() and json.loads(name.read_bytes()) != job:
        return
    for pattern in ("[0-9]" * 8 + ".*", "job.part", "job.json"):
        for path in parts.glob(pattern):
            path.unlink()
    with contextlib.suppress(OSError):  # not there, or something else lies in it
        parts.rmdir()


def batches(
    source: pathlib.Path, columns: tuple[str, str], rows: int
) -> Iterator[pa.Table]:
    """Tables of `rows` rows, the last one shorter, whatever the file's own blocks."""
    reader, schema = reader_of(source, rows)
    with outside.refused(source):
        geometry = geometries.column(schema)
    missing = [name for name in columns if name not in schema.names]
    twice = [n for n in NEW if n in schema.names and n != geometry]
    twice += [n for n in columns if schema.names.count(n) > 1]
    if twice or (missing and not geometry):
        raise ValueError(
            f"{source}: columns {missing} are missing, {twice} are there; allowed:"
            f" {columns[0]} and {columns[1]} once among {schema.names}, or the geometry"
            f" of GeoParquet, none of {NEW} besides"
        )
    with outside.refused(source):
        yield from regroup(reader, schema, rows)


def reader_of(source: pathlib.Path, rows: int) -> tuple[Any, pa.Schema]:
    """Record batches of a file as they come, and their schema with its metadata."""
    kind = source.suffix.lower()
    with outside.refused(source):
        if kind == ".csv":
            reader = pyarrow.csv.open_csv(source)
            return reader, reader.schema
        if kind == ".parquet":
            file = pq.ParquetFile(source)
            return file.iter_batches(rows), file.schema_arrow
        if kind in geometries.VECTOR:
            return geometries.open_file(source, rows)
    raise ValueError(f"{source}: got {kind!r}; allowed: {', '.join(SUFFIXES)}")


def regroup(
    reader: Iterator[pa.RecordBatch], schema: pa.Schema, rows: int
) -> Iterator[pa.Table]:
    """Tables of `rows` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        while sum(map(len, held)) >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).replace_schema_metadata(schema.metadata)
            held = table.slice(rows).to_batches()
    if sum(map(len, held)):
        yield pa.Table.from_batches(held).replace_schema_metadata(schema.metadata)


def embed(
    enc: Any,
    table: pa.Table,
    columns: tuple[str, str],
    first: int,
    job: dict[str, Any],
    per_polygon: int,
    time: str = "",
) -> pa.Table:
    """Add vectors, and points where there is no geometry, to rows from `first` on."""
    known = {KEY: json.dumps(job).encode()}
    with outside.refused(f"column {time!r}"):
        when = {"time": moments(table.column(time))} if time else {}
    try:
        if geometries.column(table.schema):
            z_nd = geometries.embed(enc, table, per_polygon, **when)
        else:
            lat, lon = (numbers(table.column(name), name) for name in columns)
            z_nd = enc.embed(lat=lat, lon=lon, **when)
            table = table.append_column("geometry", points(lat, lon))
            geo = geometries.metadata(CRS84, kinds=("Point",))
            known[b"geo"] = json.dumps(geo).encode()
    except ValueError as error:
        raise ValueError(f"rows from {first}, counted within: {error}") from error
    z_nd = stored(z_nd, job)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(z_nd.ravel()), z_nd.shape[1])
    table = table.append_column("embedding", vectors)
    return table.replace_schema_metadata((table.schema.metadata or {}) | known)


def stored(z_nd: np.ndarray, job: Mapping[str, Any]) -> np.ndarray:
    """Vectors as they are written, in the job's dtype.

    int8 is round(127 z / int8_scale), so at most int8_scale / 254 off. Numbers beyond
    the scale become +-127, with a warning.
    """
    if job["dtype"] == "int8":
        z_nd = np.rint(z_nd * (127 / job["int8_scale"]))
        if beyond := int((np.abs(z_nd) > 127).sum()):
            warnings.warn(
                f"int8: {beyond:,} of {z_nd.size:,} numbers lie beyond"
                f" +-{job['int8_scale']} and are stored as that",
                stacklevel=2,
            )
        z_nd = z_nd.clip(-127, 127)
    return np.ascontiguousarray(z_nd.astype(job["dtype"]))


def numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A column as float64, NaN where it is null; raises ValueError for texts."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"column {name!r} holds {kind}; allowed: numbers, degrees")
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)


def moments(column: pa.ChunkedArray) -> np.ndarray:
    """A column of times as `embed` of a model takes them; it judges them."""
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return column.to_numpy(zero_copy_only=False)
    return np.array(column.to_pylist(), object)


def points(lat: np.ndarray, lon: np.ndarray) -> pa.Array:
    """WKB points (x = lon, y = lat), little-endian: 21 bytes each."""
    wkb = np.zeros(
        len(lat), [("order", "u1"), ("kind", "<u4"), ("x", "<f8"), ("y", "<f8")]
    )
    wkb["order"], wkb["kind"], wkb["x"], wkb["y"] = 1, 1, lon, lat
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(21), len(lat), [None, pa.py_buffer(wkb.tobytes())]
    ).cast(pa.binary())


def join(files: list[pathlib.Path], output: pathlib.Path) -> None:
    """One Parquet file of the parts, a row group each, then a rename."""
    part = output.with_name(output.name + ".part")
    schema = pq.read_schema(files[0])
    with pq.ParquetWriter(part, schema, **encodings(schema)) as writer:
        for path in files:
            writer.write_table(pq.read_table(path))
    os.replace(part, output)


def encodings(schema: pa.Schema) -> dict[str, Any]:
    """Options of the writer: no dictionary, minimum or maximum of what is all distinct.

    They took more than half of the time of writing vectors.
    """
    told = [name for name in schema.names if name not in NEW]
    return {"use_dictionary": told, "write_statistics": told}
