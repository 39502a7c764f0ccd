# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Precomputed vectors: any column of `width` numbers a place, of a file or a record.

With width 1024 (BGE-M3 texts), 768 (RemoteCLIP images) and 40 with hidden=64
(demographics) the heads are those of MobCLIP's release (arXiv 2506.01297).
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax import outside


def spec(width: int, **_) -> np.ndarray:
    """Return a zero vector, float32 (width,)."""
    return np.zeros((width,), np.float32)


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    width: int,
    field: str = "",
    file: str = "",
    column: str = "",
) -> np.ndarray | None:
    """Return float32 (width,): `record[field]`, or row `record["node"]` of `file`.

    `file` is a `.npy` of shape (nodes, width), memory-mapped, or a Parquet file whose
    `column` holds lists of `width` numbers. Absent where the record has no such field
    or node, and where any number is not finite. Raises ValueError for another width, or
    a node beyond the file.
    """
    if not file:
        values = record.get(field)
        if values is None:
            return None
        where = f"record field {field!r}"
    else:
        table, node = open_file(file, column), int(record.get("node", -1))
        if node < 0:
            return None
        if node >= len(table):
            raise ValueError(
                f"vector: node {node} of place {record.get('place', '?')}, but {file}"
                f" has {len(table)} rows; allowed: one row a node"
            )
        values, where = table[node], file
    values = np.asarray(values, np.float32)
    if values.shape != (width,):
        raise ValueError(
            f"vector: {where} has shape {values.shape}, allowed: width={width}"
        )
    return values if np.isfinite(values).all() else None


@functools.cache
def open_file(file: str, column: str) -> np.ndarray:
    """Open a `.npy` or Parquet file once: (rows, width), read when rows are.

    Raises ValueError naming the file where it is none of the two, damaged, or not a
    matrix.
    """
    path = pathlib.Path(file).expanduser()
    if path.suffix == ".npy":
        with outside.refused(f"vector: {file}"):
            table = np.load(path, mmap_mode="r", allow_pickle=False)
    elif path.suffix == ".parquet":
        table = _parquet(path, column)
    else:
        raise ValueError(f"vector: file {file}, allowed: .npy or .parquet")
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise ValueError(
            f"vector: {file} has {table.dtype} {table.shape}, allowed: (rows, width)"
        )
    return table


def _parquet(path: pathlib.Path, column: str) -> np.ndarray:
    """Read a column of lists; a row that is null, or holds a null, becomes NaN."""
    import pyarrow.parquet

    with outside.refused(f"vector: {path}"):
        names = pyarrow.parquet.read_schema(path).names
    if column not in names:
        raise ValueError(
            f"vector: {path} has no column {column!r}, allowed: {', '.join(names)}"
        )
    with outside.refused(f"vector: {path}"):
        found = pyarrow.parquet.read_table(path, columns=[column])[column]
        lists = found.combine_chunks()
    kinds, kind = pyarrow.types, lists.type
    of = [kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list]
    numbers = [kinds.is_integer, kinds.is_floating]
    if not any(f(kind) for f in of) or not any(f(kind.value_type) for f in numbers):
        raise ValueError(
            f"vector: column {column!r} of {path} holds {kind}, allowed: lists of"
            " numbers"
        )
    rows = lists.to_numpy(zero_copy_only=False)
    widths = {len(row) for row in rows if row is not None}
    if len(widths) != 1:
        raise ValueError(
            f"vector: column {column!r} of {path} holds lists of {sorted(widths)}"
            " numbers, allowed: all of one width"
        )
    table = np.full((len(rows), widths.pop()), np.nan, np.float32)
    for number, row in enumerate(rows):
        if row is not None:
            table[number] = row
    return table


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse options that name no source, two, or a file that does not fit."""
    file, field = data.get("file", ""), data.get("field", "")
    if bool(file) == bool(field):
        raise ValueError(
            f"vector: got file={file!r} and field={field!r}, allowed: one of the two"
        )
    if file:
        width = open_file(file, data.get("column", "")).shape[1]
        if width != data["width"]:
            raise ValueError(
                f"vector: {file} has width {width}, got width={data['width']}"
            )


class Encoder(nn.Module):
    """Project vectors, float32 (b, width), to (b, dim): linear, or by one hidden layer.

    `hidden` 0 is one linear map, else Linear, ReLU, Linear. Weights start uniform
    within sqrt(6 / inputs), biases within 1 / sqrt(inputs), as in MobCLIP's release.
    """

    dim: int
    dtype: Any = jnp.float32
    hidden: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if self.hidden:
            x = nn.relu(linear(self.hidden, x.shape[-1], self.dtype, "hidden")(x))
        return linear(self.dim, x.shape[-1], self.dtype, "head")(x)


def linear(features: int, inputs: int, dtype: Any, name: str) -> nn.Dense:
    """A Dense with the first values of MobCLIP's release."""

    def bias(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / inputs**0.5

    kernel = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")
    return nn.Dense(
        features, dtype=dtype, kernel_init=kernel, bias_init=bias, name=name
    )
