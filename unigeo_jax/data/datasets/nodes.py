# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets made of users' own tables: places that are the nodes of a graph.

`data.edge_tables` says how nodes and flows between them are given. Further columns of
the nodes' table (Parquet) become fields of the records, named alike: texts (`poi`,
`text`), numbers, and lists of numbers, all of one length, as vectors.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tensorflow_datasets as tfds

from unigeo_jax.data import datasets, edge_tables, splits
from unigeo_jax.data.datasets import building
from unigeo_jax.data.datasets.chunks import Columns

CONFIG, CHUNK = "own", 1024
PLACE = ("lat", "lon", "cell", "block", "place", "node")
SALT = "nodes-1"


def write(
    name: str,
    places: str | os.PathLike[str],
    edges: str | os.PathLike[str] | None = None,
    data_dir: Any = None,
    *,
    cells: bool = False,
    deg: int = 2,
    demographics: Sequence[str] = (),
) -> pathlib.Path:
    """Make a dataset of a user's nodes and edges, and return its folder.

    Args:
      name: of the dataset; it lands in `<data_dir>/<name>`. One of the same tables is
        left as it is.
      places, edges: Parquet files of the forms above; no edges, no graph.
      cells: nodes are H3 cells of any resolution.
      data_dir: default: see `datasets.default_data_dir`.
      deg: size of the blocks that are held out whole, in degrees; divides 180.
      demographics: number columns that become the one field `demographics`, missing
        ones NaN.

    Raises:
      ValueError: what `edge_tables` does not take; a column is missing or of no type
        above; the name is that of another dataset.
    """
    if deg < 1 or 180 % deg:
        raise ValueError(f"dataset {name!r}: deg={deg}; allowed: a divisor of 180")
    path = pathlib.Path(places)
    files = [path, *([pathlib.Path(edges)] if edges else [])]
    version = _version(name, files, data_dir, cells, deg, demographics)
    known = edge_tables.read_nodes(path, cells)
    table = pyarrow.parquet.read_table(path)
    lat_n, lon_n = known.lat_n, splits.wrap_lon(known.lon_n)
    fields, columns = _fields(path, table, demographics)
    rows = splits.plan(
        *(lat_n, lon_n, known.id.to_pylist()),
        **{"deg": deg, "near": min(len(lat_n) // 30, 1000), "salt": SALT},
    )
    where = {
        split: splits.index(lat_n, lon_n, row_i, deg) for split, row_i in rows.items()
    }

    degrees = tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes")
    own = {"place": np.int64, "node": np.int64, "cell": np.int64, "block": np.int32}
    content = building.Content(
        index=where,
        features=own | {"lat": degrees, "lon": degrees} | fields,
        chunks=functools.partial(_records, rows, where, columns),
        description=f"{len(lat_n):,} nodes of {path.name}",
        graph=functools.partial(_graph, files[1], path, cells) if edges else None,
    )
    return building.make_once(name, CONFIG, version, lambda: content, data_dir)


def _graph(
    flows: pathlib.Path, places: pathlib.Path, cells: bool, folder: pathlib.Path
) -> None:
    edge_tables.from_table(folder, flows, places, cells)


def _records(
    rows: Mapping[str, np.ndarray],
    where: Mapping[str, Mapping[str, np.ndarray]],
    columns: Mapping[str, np.ndarray],
) -> Iterator[Columns]:
    """Columns of all records, split after split."""
    for split, row_i in rows.items():
        for start in range(0, len(row_i), CHUNK):
            part = slice(start, start + CHUNK)
            yield {
                **{key: array[part] for key, array in where[split].items()},
                **{key: column[row_i[part]] for key, column in columns.items()},
                **{"place": row_i[part], "node": row_i[part]},
            }


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
