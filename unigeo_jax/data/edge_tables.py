# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own tables of nodes and flows, Parquet or CSV, as a graph on disk.

Nodes: columns node, lat, lon, one row a node, which is its number. Flows: columns
origin, destination, weight, and kind if there is one, read a piece at a time. Ids are
of any type, or H3 cells of any resolution, as numbers or as hexadecimal text.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from unigeo_jax import outside
from unigeo_jax.data import graph as graphs

pc: Any = compute  # its functions are made at run time


class Nodes(NamedTuple):
    """Nodes in the order of their numbers: id (n), a pyarrow array; degrees (n)."""

    id: Any
    lat_n: np.ndarray
    lon_n: np.ndarray


def from_table(
    folder: str | pathlib.Path,
    edges: str | pathlib.Path,
    nodes: str | pathlib.Path,
    cells: bool = False,
) -> tuple[graphs.Graph, Nodes]:
    """Writes the flows of two tables into a graph folder, as `graph.write` does.

    Args:
      folder: where the graph is written.
      edges, nodes: files that end in .parquet or .csv; ids in CSV are text.
      cells: ids are H3 cells; columns lat, lon may then be missing, and are the cells'
        centres.

    Raises:
      ValueError: a missing column; an id that is missing, given twice, unknown or not
        of the other table's type; a coordinate out of range; what `graph.write` does
        not take.
    """
    known = read_nodes(nodes, cells)
    edges = pathlib.Path(edges)
    names: list[str] = []
    row = 0
    with tempfile.TemporaryDirectory() as aside:
        raw = {
            name: (pathlib.Path(aside) / name, np.dtype(dtype))
            for name, dtype in (
                *(("origin", "i4"), ("destination", "i4")),
                *(("weight", "f8"), ("kind", "i4")),
            )
        }
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(open(path, "wb"))
                for name, (path, _) in raw.items()
            }
            for part in _batches(edges):
                with outside.refused(edges):
                    columns = _columns(part, edges, row, known.id, cells, names)
                for name, values in columns.items():
                    files[name].write(values.astype(raw[name][1]).tobytes())
                row += part.num_rows
        origin, destination, weight, kind = (
            np.memmap(path, dtype, "r") if row else np.zeros(0, dtype)
            for path, dtype in raw.values()
        )
        graph = graphs.write(
            *(folder, origin, destination, weight, len(known.id), kind),
            kinds=names or ["flow"],
        )
    return graph, known


def read_nodes(path: str | pathlib.Path, cells: bool = False) -> Nodes:
    """Reads a table of nodes; see `from_table`."""
    with outside.refused(path):
        return _nodes(pathlib.Path(path), cells)


def _nodes(path: pathlib.Path, cells: bool) -> Nodes:
    parts = list(_batches(path))
    if not parts or not sum(part.num_rows for part in parts):
        raise ValueError(f"{path}: no row")
    table = pa.Table.from_batches(parts).combine_chunks()
    _require(table.column_names, ["node"] if cells else ["node", "lat", "lon"], path)
    id = table["node"].combine_chunks()
    if id.null_count:
        row = pc.index(pc.is_null(id), True).as_py()
        raise ValueError(f"{path}: row {row} has no node")
    if cells:
        id = _cell_numbers(id, path, 0)
    first = pc.index_in(id, value_set=id).to_numpy()
    again = first != np.arange(len(id))
    if again.any():
        row = int(again.argmax())
        raise ValueError(f"{path}: rows {first[row]} and {row} are both node {id[row]}")
    if cells and not {"lat", "lon"} <= set(table.column_names):
        centre = np.array(
            [h3.cell_to_latlng(h3.int_to_str(int(x))) for x in id.to_numpy()]
        )
        return Nodes(id, centre[:, 0], centre[:, 1])
    lat_n, lon_n = (
        _as_floats(table[name].combine_chunks(), name, path) for name in ("lat", "lon")
    )
    bad = ~(np.abs(lat_n) <= 90) | ~np.isfinite(lon_n)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{path}: row {row} (node {id[row]}) has lat {lat_n[row]},"
            f" lon {lon_n[row]}; allowed: degrees, lat -90 to 90"
        )
    return Nodes(id, lat_n, lon_n)


def _batches(path: pathlib.Path) -> Iterator[Any]:
    """Yields a table's record batches."""
    if path.suffix == ".parquet":
        with outside.refused(path), parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1 << 20)
    elif path.suffix == ".csv":
        text = dict.fromkeys(("node", "origin", "destination", "kind"), pa.string())
        options = csv.ConvertOptions(column_types=text)
        with (
            outside.refused(path),
            csv.open_csv(path, convert_options=options) as file,
        ):
            yield from file
    else:
        raise ValueError(f"{path}: allowed: a file that ends in .parquet or .csv")


def _require(have: list[str], need: list[str], path: pathlib.Path) -> None:
    missing = [name for name in need if name not in have]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(have)}"
        )
    if twice := [name for name in set(have) if have.count(name) > 1]:
        raise ValueError(f"{path}: columns {', '.join(twice)} are there twice")


def _columns(
    part: Any, path: pathlib.Path, row: int, id: Any, cells: bool, names: list[str]
) -> dict[str, np.ndarray]:
    """Returns the numbers of one batch of edges, whose first row is `row`."""
    _require(part.schema.names, ["origin", "destination", "weight"], path)
    out = {}
    for name in ("origin", "destination"):
        given = part[name]
        if cells:
            given = _cell_numbers(given, path, row)
        elif given.type != id.type:
            try:
                given = given.cast(id.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                what = f"{name} is {given.type}, nodes are {id.type}"
                raise ValueError(f"{path}: {what}: {error}") from error
        number = pc.index_in(given, value_set=id)
        if number.null_count:
            at = pc.index(pc.is_null(number), True).as_py()
            raise ValueError(
                f"{path}: row {row + at} has {name} {part[name][at]},"
                " which is no node of the other table"
            )
        out[name] = number.to_numpy()
    out["weight"] = _as_floats(part["weight"], "weight", path)
    out["kind"] = np.zeros(part.num_rows, np.int32)
    if "kind" in part.schema.names:
        coded = part["kind"].cast(pa.string()).fill_null("").dictionary_encode()
        for name in coded.dictionary.to_pylist():
            if name not in names:
                names.append(name)
        mapped = [names.index(name) for name in coded.dictionary.to_pylist()]
        out["kind"] = np.array(mapped, np.int32)[coded.indices.to_numpy()]
    return out


def _as_floats(values: Any, name: str, path: pathlib.Path) -> np.ndarray:
    """Returns float64, NaN where there is none."""
    try:
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{path}: {name} is {values.type}: {error}") from error


def _cell_numbers(values: Any, path: pathlib.Path, row: int) -> Any:
    """Returns H3 cells, given as numbers or hexadecimal text, as a uint64 array."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = pa.types
    if not any(f(values.type) for f in (kind.is_integer, kind.is_string)):
        raise ValueError(
            f"{path}: cells are {values.type}; allowed: numbers, hexadecimal text"
        )
    coded = values.dictionary_encode()
    given = coded.dictionary.to_pylist()
    number = np.zeros(len(given), np.uint64)
    for i, cell in enumerate(given):
        text = cell if isinstance(cell, str) else f"{cell or 0:x}"
        if not h3.is_valid_cell(text):
            at = row + pc.index(coded.indices, i).as_py()
            raise ValueError(f"{path}: row {at} has {cell}, which is no H3 cell")
        number[i] = h3.str_to_int(text)
    return pa.array(number).take(coded.indices)
