# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own ids of nodes, and flows between them, as a graph on disk.

Ids are whole numbers of any size, texts, or H3 cells of any resolution, as numbers or
as hexadecimal text. The number of a node is the rank of its id: whole numbers and
cells by value, texts by their characters; so ids 0 to n - 1 are numbers already.
Flows: Parquet or CSV, columns origin, destination, weight, and kind if there is one,
read a piece at a time.
"""

import contextlib
import math
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from unigeo_jax import outside
from unigeo_jax.data import graph as graphs

pc: Any = compute  # its functions are made at run time
Id = int | str
NEEDED, KIND = ("origin", "destination", "weight"), "kind"


def identity(value: Any, cells: bool = False) -> Id | None:
    """The id that a table's cell holds, None where it is empty.

    Args:
      value: a number, text or bytes (UTF-8); whole numbers may be floats.
      cells: ids are H3 cells, which become numbers.

    Raises:
      ValueError: `value` is no H3 cell.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else str(value)
    if value is None or value == "":
        return None
    if cells:
        return _cell(value)
    return value if isinstance(value, int) else str(value)


def ranked(ids: Iterable[Id]) -> Any:
    """Distinct ids by rank, a pyarrow array: of numbers if all are such, also as text.

    Numbers that neither int64 nor uint64 holds are texts.
    """
    found = set(ids)
    whole = {int(id) for id in found if str(id).removeprefix("-").isdecimal()}
    if {str(number) for number in whole} == {str(id) for id in found}:
        kind = pa.uint64() if min(whole, default=0) >= 0 else pa.int64()
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(sorted(whole), kind)
    return pa.array(sorted(map(str, found)), pa.string())


def from_table(
    folder: str | pathlib.Path, edges: str | pathlib.Path, id: Any, cells: bool = False
) -> graphs.Graph:
    """Writes the flows of a table into a graph folder, as `graph.write` does.

    Flows given twice (alike in kind too) add up, those of weight 0 are left out; nodes
    without flows have empty rows.

    Args:
      folder: where the graph is written.
      edges: a file that ends in .parquet or .csv; ids in CSV are text.
      id: ids of the nodes, by number, as `ranked` returns them.
      cells: ids are H3 cells.

    Raises:
      ValueError: a missing column; an id that is missing or unknown; a weight that is
        missing, negative or not finite (the row is named); what `graph.write` does not
        take.
    """
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
                    columns = _columns(part, edges, row, id, cells, names)
                for name, values in columns.items():
                    files[name].write(values.astype(raw[name][1]).tobytes())
                row += part.num_rows
        origin, destination, weight, kind = (
            np.memmap(path, dtype, "r") if row else np.zeros(0, dtype)
            for path, dtype in raw.values()
        )
        return graphs.write(
            *(folder, origin, destination, weight, len(id), kind),
            kinds=names or ["flow"],
        )


def _batches(path: pathlib.Path) -> Iterator[Any]:
    """Yields the record batches of a table of flows."""
    if path.suffix == ".parquet":
        with outside.refused(path), parquet.ParquetFile(path) as file:
            names = _wanted(file.schema_arrow.names, path)
            yield from file.iter_batches(batch_size=1 << 20, columns=names)
    elif path.suffix == ".csv":
        text = dict.fromkeys(("origin", "destination", KIND), pa.string())
        options = csv.ConvertOptions(column_types=text)
        with (
            outside.refused(path),
            csv.open_csv(path, convert_options=options) as file,
        ):
            _wanted(file.schema.names, path)
            yield from file
    else:
        raise ValueError(f"{path}: allowed: a file that ends in .parquet or .csv")


def _wanted(have: list[str], path: pathlib.Path) -> list[str]:
    missing = [name for name in NEEDED if name not in have]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(have)}"
        )
    if twice := [name for name in set(have) if have.count(name) > 1]:
        raise ValueError(f"{path}: columns {', '.join(twice)} are there twice")
    return [name for name in (*NEEDED, KIND) if name in have]


def _columns(
    part: Any, path: pathlib.Path, row: int, id: Any, cells: bool, names: list[str]
) -> dict[str, np.ndarray]:
    """Returns the numbers of one batch of edges, whose first row is `row`."""
    out = {}
    for name in ("origin", "destination"):
        given = part[name]
        number = _numbered(_cells(given, path, row) if cells else given, id)
        if number.null_count:
            at = pc.index(pc.is_null(number), True).as_py()
            raise ValueError(
                f"{path}: row {row + at} has {name} {given[at]},"
                f" which is none of the {len(id):,} nodes"
            )
        out[name] = number.to_numpy()
    out["weight"] = _weights(part["weight"], path, row)
    out[KIND] = np.zeros(part.num_rows, np.int32)
    if KIND in part.schema.names:
        coded = part[KIND].cast(pa.string()).fill_null("").dictionary_encode()
        for name in coded.dictionary.to_pylist():
            if name not in names:
                names.append(name)
        mapped = [names.index(name) for name in coded.dictionary.to_pylist()]
        out[KIND] = np.array(mapped, np.int32)[coded.indices.to_numpy()]
    return out


def _numbered(given: Any, id: Any) -> Any:
    """The number of the node that each given id names, null where there is none."""
    try:
        if pa.types.is_floating(given.type):
            given = given.cast(pa.int64())
        return pc.index_in(given.cast(id.type), value_set=id)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # some name no node
        found = [identity(value) for value in given.to_pylist()]
        texts = [None if x is None else str(x) for x in found]
        return pc.index_in(pa.array(texts, pa.string()), value_set=id.cast(pa.string()))


def _weights(values: Any, path: pathlib.Path, row: int) -> np.ndarray:
    """Returns float64; weights of the batch whose first row is `row`."""
    try:
        weight = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{path}: weight is {values.type}: {error}") from error
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(
            f"{path}: row {row + at} has weight {weight[at]}; allowed: 0 or more,"
            " finite"
        )
    return weight


def _cells(values: Any, path: pathlib.Path, row: int) -> Any:
    """Returns H3 cells, given as numbers or hexadecimal text, as a uint64 array."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = pa.types
    if not any(f(values.type) for f in (kind.is_integer, kind.is_string)):
        raise ValueError(
            f"{path}: cells are {values.type}; allowed: numbers, hexadecimal text"
        )
    coded = values.dictionary_encode()
    number = np.zeros(len(coded.dictionary), np.uint64)
    for i, cell in enumerate(coded.dictionary.to_pylist()):
        try:
            number[i] = _cell(cell)
        except ValueError as error:
            at = row + pc.index(coded.indices, i).as_py()
            raise ValueError(f"{path}: row {at} has {error}") from error
    return pa.array(number).take(coded.indices)


def _cell(value: Any) -> int:
    """The number of an H3 cell: of a number, its digits, or hexadecimal text.

    Raises ValueError where it is none.
    """
    for base in (10,) if isinstance(value, int) else (16, 10):
        with contextlib.suppress(ValueError):
            number = int(str(value), base)
            if 0 <= number < 2**64 and h3.is_valid_cell(h3.int_to_str(number)):
                return number
    raise ValueError(f"{value}, which is no H3 cell")
