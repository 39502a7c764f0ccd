# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Places of a user's table as the nodes of a graph: their numbers, and its flows.

`data.edge_tables` says what ids and flows may be. Every id of the table is a node, of
rows that are dropped and of places that no split has too, so that flows between all of
them stay and rows of a user's own arrays keep their numbers.
"""

import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

from unigeo_jax.data import edge_tables


def number(
    places: list[dict[str, Any]], ids: Iterable[edge_tables.Id], edges: str, path: Any
) -> Any:
    """Puts numbers for the ids that the places have as `node`, -1 for none.

    Returns the ids by number, as `edge_tables.ranked` does.

    Raises:
      ValueError: flows without a node in the table `path`.
    """
    known = edge_tables.ranked(ids)
    if edges and not len(known):
        raise ValueError(f"{path}: no row has a node; allowed: with --edges, some")
    rank = {str(id): rank for rank, id in enumerate(known.to_pylist())}
    for place in places:
        if "node" in place:
            place["node"] = rank.get(str(place["node"]), -1)
    return known


def mark(id: Any, edges: str) -> str:
    """Tells ids and flows apart from others: a hash of all of them."""
    hashed = hashlib.sha256(repr(id.to_pylist()).encode())
    if edges:
        with open(edges, "rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()


def write(folder: pathlib.Path, edges: str, id: Any, cells: bool) -> None:
    """Writes the graph of a dataset's folder, unless it is there already.

    Raises:
      ValueError: what is wrong with the flows, see `edge_tables.from_table`.
    """
    if edges and not (folder / "graph").is_dir():
        edge_tables.from_table(folder / "graph", edges, id, cells)
