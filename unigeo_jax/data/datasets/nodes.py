# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets made of users' own tables: places that are the nodes of a graph.

A table of nodes (Parquet) has columns `id`, of any type, and `lat`, `lon` in degrees,
or `h3`: cells of any resolution, which stand for their centres. Its other columns
become fields of the records, named alike: texts (`poi`, `text`), numbers, and lists of
numbers, all of one length, as vectors. A table of edges has `origin`, `destination`
(ids of nodes, or their H3 cells where they have no others) and `weight`.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import tensorflow_datasets as tfds

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import building
from unigeo_jax.data.datasets.chunks import Columns

CONFIG, CHUNK = "own", 1024
PLACE = ("id", "lat", "lon", "h3", "cell", "block", "place", "node")
SALT = "nodes-1"


def write(
    name: str,
    places: str | os.PathLike[str],
    edges: str | os.PathLike[str] | None = None,
    data_dir: Any = None,
    *,
    deg: int = 2,
    demographics: Sequence[str] = (),
) -> pathlib.Path:
    """Make a dataset of a user's nodes and edges, and return its folder.

    Args:
      name: of the dataset; it lands in `<data_dir>/<name>`. One of the same tables is
        left as it is.
      places, edges: Parquet files of the forms above; no edges, no graph.
      data_dir: default: see `datasets.default_data_dir`.
      deg: size of the blocks that are held out whole, in degrees; divides 180.
      demographics: number columns that become the one field `demographics`, missing
        ones NaN.

    Raises:
      ValueError: a column is missing, an id is there twice, a place or an edge is none,
        the name is that of other tables; the message names file, column and row.
    """
    if deg < 1 or 180 % deg:
        raise ValueError(f"dataset {name!r}: deg={deg}; allowed: a divisor of 180")
    path = pathlib.Path(places)
    files = [path, *([pathlib.Path(edges)] if edges else [])]
    version = _version(name, files, data_dir, deg, demographics)
    table = pyarrow.parquet.read_table(path)
    ids = _ids(path, table)
    lat_n, lon_n = _positions(path, table)
    fields, columns = _fields(path, table, demographics)
    rows = splits.plan(
        *(lat_n, lon_n, ids),
        **{"deg": deg, "near": min(len(ids) // 30, 1000), "salt": SALT},
    )
    where = {
        split: splits.index(lat_n, lon_n, row_i, deg) for split, row_i in rows.items()
    }

    def chunks() -> Iterator[Columns]:
        for split, row_i in rows.items():
            for start in range(0, len(row_i), CHUNK):
                part = slice(start, start + CHUNK)
                yield {key: array[part] for key, array in where[split].items()} | {
                    "place": row_i[part],
                    "node": row_i[part],
                    **{key: column[row_i[part]] for key, column in columns.items()},
                }

    degrees = tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes")
    own = {"place": np.int64, "node": np.int64, "cell": np.int64, "block": np.int32}
    content = building.Content(
        index=where,
        features=own | {"lat": degrees, "lon": degrees} | fields,
        chunks=chunks,
        description=f"{len(ids):,} nodes of {path.name}",
        graph=_flows(pathlib.Path(edges), table) if edges else None,
    )
    return building.make_once(name, CONFIG, version, lambda: content, data_dir)


def _version(name: str, files: list[pathlib.Path], data_dir: Any, *options: Any) -> str:
    """A version that tells the tables apart; refuses a second one of a name."""
    digest = hashlib.sha256(repr(options).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    version = f"1.0.{int(digest.hexdigest()[:7], 16)}"
    root = pathlib.Path(data_dir or datasets.default_data_dir()).expanduser() / name
    there = {p.parent for p in root.glob("*/*/dataset_info.json")}
    if name in datasets.builders() or there - {root / CONFIG / version}:
        raise ValueError(
            f"dataset {name!r}: {root} is of other tables or options; allowed: another"
            " name, or the same tables"
        )
    return version


def _ids(path: pathlib.Path, table: pa.Table) -> list[Any]:
    key = "id" if "id" in table.column_names else "h3"
    if key not in table.column_names:
        raise ValueError(
            f"{path}: no column id; there are: {', '.join(table.column_names)}"
        )
    ids = table[key].to_pylist()
    first: dict[Any, int] = {}
    for row, one in enumerate(ids):
        if one is None or first.setdefault(one, row) != row:
            raise ValueError(
                f"{path}: row {row}: {key} {one!r}; allowed: each once, none empty"
            )
    return ids


def _flows(path: pathlib.Path, nodes: pa.Table) -> dict[str, Any]:
    """Keyword arguments of `graph.write` from a table of edges between known ids."""
    table = pyarrow.parquet.read_table(path)
    columns = ("origin", "destination", "weight")
    if missing := [c for c in columns if c not in table.column_names]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; there are:"
            f" {', '.join(table.column_names)}"
        )
    ids = nodes["id" if "id" in nodes.column_names else "h3"]
    ends = {}
    for end in columns[:2]:
        if table[end].type != ids.type:
            raise ValueError(
                f"{path}: column {end} is {table[end].type}; allowed: {ids.type}, as"
                " the ids of the nodes are"
            )
        number = pa.compute.index_in(table[end], value_set=ids.combine_chunks())
        if number.null_count:
            row = pa.compute.is_null(number).index(True).as_py()
            raise ValueError(
                f"{path}: row {row}: {end} {table[end][row].as_py()!r} is no node;"
                " allowed: ids of the table of nodes"
            )
        ends[end] = number.to_numpy().astype(np.int64)
    return ends | {"weight": _numbers(table["weight"]), "nodes": len(nodes)}


def _positions(path: pathlib.Path, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of the nodes, those of the centres of H3 cells."""
    there = set(table.column_names)
    if {"lat", "lon"} <= there:
        lat_n, lon_n = (_numbers(table[column]) for column in ("lat", "lon"))
    elif "h3" in there:
        cells_n = table["h3"].to_pylist()
        for row, cell in enumerate(cells_n):
            text = h3.int_to_str(cell) if isinstance(cell, int) else cell
            if not isinstance(text, str) or not h3.is_valid_cell(text):
                raise ValueError(
                    f"{path}: row {row}: h3 {cell!r}; allowed: an H3 cell of any"
                    " resolution, as text or as a number"
                )
            cells_n[row] = h3.cell_to_latlng(text)
        lat_n, lon_n = np.array(cells_n, np.float64).reshape(-1, 2).T
    else:
        raise ValueError(
            f"{path}: no columns lat and lon, and no h3; there are:"
            f" {', '.join(table.column_names)}"
        )
    datasets.check_places(lat_n, lon_n, str(path))
    return lat_n, splits.wrap_lon(lon_n)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers as float64, missing ones NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _fields(
    path: pathlib.Path, table: pa.Table, demographics: Sequence[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """TFDS features and columns of what a user's table has besides ids and places."""
    if missing := [c for c in demographics if c not in table.column_names]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; there are:"
            f" {', '.join(table.column_names)}"
        )
    features: dict[str, Any] = {}
    columns: dict[str, np.ndarray] = {}

    def add_vectors(name: str, values_nd: np.ndarray) -> None:
        columns[name] = values_nd.astype(np.float32)
        features[name] = tfds.features.Tensor(
            shape=values_nd.shape[1:], dtype=np.float32, encoding="bytes"
        )

    for name in table.column_names:
        column = table[name]
        if name in PLACE or name in demographics:
            continue
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = [text or "" for text in column.to_pylist()]
            columns[name] = np.array([text.encode() for text in texts], object)
            features[name] = tfds.features.Text()
        elif _is_list(column.type):
            add_vectors(name, _vectors(path, name, column))
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            columns[name] = _numbers(column).astype(np.float32)
            features[name] = np.float32
        else:
            raise ValueError(
                f"{path}: column {name} is {column.type}; allowed: texts, numbers and"
                " lists of numbers"
            )
    if demographics:
        parts = [_numbers(table[name]) for name in demographics]
        add_vectors("demographics", np.stack(parts, 1))
    return features, columns


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists)


def _vectors(path: pathlib.Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """Lists of numbers as float64 (n, k); a missing list is all NaN."""
    lists = column.to_pylist()
    sizes = {len(one) for one in lists if one is not None}
    if len(sizes) != 1:
        raise ValueError(
            f"{path}: column {name}: lists of {sorted(sizes)} numbers; allowed: all of"
            " one length"
        )
    none = [np.nan] * sizes.pop()
    return np.array([none if one is None else one for one in lists], np.float64)
