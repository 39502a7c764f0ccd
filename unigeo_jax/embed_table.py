# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A table of places to GeoParquet with their vectors, part by part.

A part is written under a temporary name and renamed, so a killed job goes on after its
last whole part. Letters: `n` rows of a part, `d` embedding.
"""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import tqdm

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


def run(
    enc: Any,
    source: pathlib.Path,
    output: pathlib.Path,
    columns: tuple[str, str] = ("lat", "lon"),
    dtype: str = "float32",
    rows: int = 65_536,
) -> int:
    """Embed `source` (CSV or Parquet) into `output`; return the number of rows.

    enc: what unigeo_jax.load gives. columns: of latitude and longitude, degrees WGS 84.
    dtype: float32, float16, or int8, round(127 z).

    Raises:
      ValueError: no such file or column, an empty table, coordinates that are none (it
        names the row), or an output, or parts of one, of another model, table or dtype.
    """
    if dtype not in ("float32", "float16", "int8"):
        raise ValueError(f"dtype: got {dtype!r}; allowed: float32, float16, int8")
    parts = output.with_name(output.name + ".parts")
    job = about(enc, source, columns, dtype, rows)
    if output.exists():
        refuse_other(output, pq.read_schema(output).metadata or {}, job)
        return pq.read_metadata(output).num_rows
    parts.mkdir(parents=True, exist_ok=True)
    claim(parts, job)
    first, files = 0, []
    with tqdm.tqdm(unit=" rows", unit_scale=True, mininterval=1.0) as bar:
        for number, table in enumerate(batches(source, columns, rows)):
            path = parts / f"{number:08d}.parquet"
            if not path.exists():
                done = embed(enc, table, columns, dtype, first, job)
                part = path.with_suffix(".part")
                pq.write_table(done, part)
                os.replace(part, path)
            files.append(path)
            first += len(table)
            bar.update(len(table))
    if not first:
        shutil.rmtree(parts)
        raise ValueError(f"{source}: no rows; allowed: one or more")
    join(files, output)
    shutil.rmtree(parts)
    return first


def about(
    enc: Any, source: pathlib.Path, columns: tuple[str, str], dtype: str, rows: int
) -> dict[str, Any]:
    """What a part depends on: the model by hash, the table by name, size and time."""
    if not source.is_file():
        raise ValueError(f"{source}: no such file; allowed: CSV or Parquet")
    stat = source.stat()
    told = f"{source.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{columns}:{rows}"
    model = {k: enc.info[k] for k in ("model_id", "package_version", "sha256", "dim")}
    table = hashlib.sha256(told.encode()).hexdigest()
    return model | {"dtype": dtype, "table": table}


def refuse_other(path: pathlib.Path, metadata: dict, job: dict[str, Any]) -> None:
    """Raise ValueError unless `metadata` is that of the same job."""
    found = json.loads(metadata.get(KEY, b"{}"))
    differing = {k: (found.get(k), v) for k, v in job.items() if found.get(k) != v}
    if differing:
        raise ValueError(
            f"{path}: is there already, of another model, table or dtype (there, asked"
            f" for): {differing}; allowed: another --output"
        )


def claim(parts: pathlib.Path, job: dict[str, Any]) -> None:
    """Make `parts` the folder of this job; raises ValueError if it is another's."""
    path, text = parts / "job.json", json.dumps(job)
    if path.exists():
        refuse_other(parts, {KEY: path.read_bytes()}, job)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def batches(
    source: pathlib.Path, columns: tuple[str, str], rows: int
) -> Iterator[pa.Table]:
    """Tables of `rows` rows, the last one shorter, whatever the file's own blocks."""
    kind = source.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ValueError(f"{source}: got {kind!r}; allowed: .csv, .parquet")
    try:
        if kind == ".csv":
            reader: Any = pyarrow.csv.open_csv(source)
            schema = reader.schema
        else:
            file = pq.ParquetFile(source)
            reader, schema = file.iter_batches(rows), file.schema_arrow
    except pa.ArrowInvalid as error:
        raise ValueError(f"{source}: {error}") from error
    missing = [name for name in columns if name not in schema.names]
    twice = [name for name in NEW if name in schema.names]
    if missing or twice:
        raise ValueError(
            f"{source}: columns {missing} are missing, {twice} are there; allowed:"
            f" {columns[0]} and {columns[1]} among {schema.names}, none of {NEW}"
        )
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        while sum(map(len, held)) >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held = table.slice(rows).to_batches()
    if sum(map(len, held)):
        yield pa.Table.from_batches(held)


def embed(
    enc: Any,
    table: pa.Table,
    columns: tuple[str, str],
    dtype: str,
    first: int,
    job: dict[str, Any],
) -> pa.Table:
    """Add points and vectors to the rows of a part, which begins at row `first`."""
    try:
        lat, lon = (numbers(table.column(name), name) for name in columns)
        z_nd = enc.embed(lat=lat, lon=lon)
    except ValueError as error:
        raise ValueError(f"rows from {first}, counted within: {error}") from error
    if dtype == "int8":
        z_nd = np.rint(127 * np.clip(z_nd, -1, 1))
    z_nd = np.ascontiguousarray(z_nd.astype(dtype))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(z_nd.ravel()), z_nd.shape[1])
    table = table.append_column("geometry", points(lat, lon))
    table = table.append_column("embedding", vectors)
    geo = {"encoding": "WKB", "geometry_types": ["Point"], "crs": CRS84}
    text = {"version": "1.1.0", "primary_column": "geometry"}
    text = text | {"columns": {"geometry": geo}}
    known = {b"geo": json.dumps(text).encode(), KEY: json.dumps(job).encode()}
    return table.replace_schema_metadata((table.schema.metadata or {}) | known)


def numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A column as float64, NaN where it is null; raises ValueError for texts."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"column {name!r} holds {kind}; allowed: numbers, degrees")
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)


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
    with pq.ParquetWriter(part, pq.read_schema(files[0])) as writer:
        for path in files:
            writer.write_table(pq.read_table(path))
    os.replace(part, output)
