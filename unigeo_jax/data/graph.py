# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A weighted directed graph on disk, as compressed rows that are memory-mapped.

A folder holds `indptr.npy` int64 (n + 1), `indices.npy` int32, `weight.npy` float32,
`kind.npy` uint8 and `graph.json`. Row i lists the edges that leave node i, sorted by
destination, then kind. Writing needs memory for one block of edges and a few numbers a
node, whatever the number of edges.
"""

import contextlib
import hashlib
import itertools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from unigeo_jax import jsons, outside

VERSION = 1
BLOCK = 4_000_000  # edges that are sorted at a time
MAX_NODES = 2**31 - 1
MAX_KINDS = 256
ARRAYS = {
    "indptr": np.int64,
    "indices": np.int32,
    "weight": np.float32,
    "kind": np.uint8,
}


class Graph(NamedTuple):
    """Compressed rows: the edges of row i are indptr_n[i] to indptr_n[i + 1].

    indptr_n int64 (n + 1), indices_e int32 (e), weight_e float32 (e), kind_e uint8 (e)
    or None where kinds were added up. `kinds` names the kinds, `sha` is the SHA-256 of
    the arrays as written ("" for a graph that was computed).
    """

    indptr_n: np.ndarray
    indices_e: np.ndarray
    weight_e: np.ndarray
    kind_e: np.ndarray | None = None
    kinds: tuple[str, ...] = ()
    sha: str = ""

    @property
    def nodes(self) -> int:
        return len(self.indptr_n) - 1

    @property
    def edges(self) -> int:
        return len(self.indices_e)


def write(
    folder: str | pathlib.Path,
    origin: Any,
    destination: Any,
    weight: Any,
    nodes: int,
    kind: Any = None,
    kinds: Sequence[str] | None = None,
) -> Graph:
    """Writes edges in any order as a graph folder, and returns it as `read` does.

    Edges given twice (same origin, destination and kind) add up, in the order given,
    in float64. Edges of weight 0 (as float32) are left out and counted in graph.json.
    Self-loops stay. Nodes without edges have empty rows; a row may hold every node.
    No edges at all is a graph too. The folder appears whole or not at all.

    Args:
      folder: replaced if it holds a graph.
      origin, destination: integers (e), node numbers from 0; arrays or memory maps,
        which are read in chunks.
      weight: numbers (e), >= 0.
      nodes: number of nodes, at most 2**31 - 1.
      kind: integers (e) from 0 to 255; None is all 0.
      kinds: names of the kinds; by default their numbers.

    Raises:
      ValueError: lengths or types differ from these; an edge with an unknown node, a
        weight that is negative, NaN, infinite or beyond float32, an unknown kind (the
        edge is named); a folder that holds something else.
    """
    folder = pathlib.Path(folder)
    edges = _Edges(origin, destination, weight, kind)
    if not 1 <= nodes <= MAX_NODES:
        raise ValueError(f"graph: got nodes={nodes}, allowed: 1 to {MAX_NODES}")
    if _is_other(folder):
        raise ValueError(f"graph: {folder} exists and holds no graph.json")
    count_n, most = _check(edges, nodes, None if kinds is None else len(kinds))
    names = tuple(kinds) if kinds is not None else tuple(map(str, range(most + 1)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    parent = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
    try:
        new = pathlib.Path(parent) / "graph"
        new.mkdir()
        about = _write(new, pathlib.Path(parent), edges, count_n, len(names))
        about = {"version": VERSION, "nodes": nodes} | about | {"kinds": list(names)}
        text = json.dumps(about, indent=1) + "\n"
        (new / "graph.json").write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(pathlib.Path(parent) / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    return read(folder)


def read(folder: str | pathlib.Path) -> Graph:
    """Opens a graph folder; its arrays stay on disk until they are touched.

    Raises:
      ValueError: no graph, one of another version, or arrays that do not fit together.
    """
    folder = pathlib.Path(folder)
    path = folder / "graph.json"
    if not path.is_file():
        raise ValueError(f"graph: no {path}; write(folder, ...) makes one")
    about = _about(path)
    sizes = {name: about["edges"] for name in ARRAYS} | {"indptr": about["nodes"] + 1}
    found = []
    for name, dtype in ARRAYS.items():
        mode = "r" if sizes[name] else None  # an empty file cannot be mapped
        with outside.refused(path := folder / f"{name}.npy"):
            array = np.load(path, mmap_mode=mode, allow_pickle=False)
        if array.dtype != dtype or array.shape != (sizes[name],):
            raise ValueError(
                f"{path}: got {array.dtype} {array.shape},"
                f" graph.json says {np.dtype(dtype)} ({sizes[name]},)"
            )
        found.append(array)
    rises = (np.diff(found[0]) >= 0).all()
    if found[0][0] != 0 or found[0][-1] != about["edges"] or not rises:
        raise ValueError(f"{folder}/indptr.npy does not rise 0 to {about['edges']}")
    return Graph(*found, kinds=tuple(about["kinds"]), sha=about["sha256"])


def _about(path: pathlib.Path) -> dict[str, Any]:
    """What graph.json says, its kinds and types checked."""
    with outside.refused(path):
        about = jsons.read(path)
    if not isinstance(about, dict) or about.get("version") != VERSION:
        got = about.get("version") if isinstance(about, dict) else about
        raise ValueError(f"{path}: got version {str(got)[:80]}, allowed: {VERSION}")
    kinds = about.get("kinds")
    if (
        not all(type(about.get(key)) is int for key in ("nodes", "edges"))
        or not isinstance(kinds, list)
        or not all(isinstance(kind, str) for kind in kinds)
        or not isinstance(about.get("sha256"), str)
    ):
        raise ValueError(f"{path}: allowed: nodes, edges, kinds, sha256 as written")
    return about


def transpose(graph: Graph) -> Graph:
    """Turns every edge round, in memory: row i then lists the edges that arrive at i.

    Raises ValueError for an edge to no node, before scipy writes beyond its arrays.
    Columns are sorted; edges of several kinds between two nodes keep their order.
    """
    size, ends = (graph.nodes, graph.nodes), graph.indices_e
    if graph.edges and not 0 <= ends.min() <= ends.max() < graph.nodes:
        raise ValueError(f"graph: an edge leads to none of {graph.nodes} nodes")
    if graph.kind_e is None:
        parts = (graph.weight_e, graph.indices_e, graph.indptr_n)
        turned = sparse.csr_array(parts, shape=size).tocsc()
        return graph._replace(
            indptr_n=turned.indptr.astype(np.int64),
            indices_e=turned.indices.astype(np.int32),
            weight_e=turned.data,
            sha="",
        )
    number_e = np.arange(graph.edges)
    parts = (number_e, graph.indices_e, graph.indptr_n)
    turned: Any = sparse.csr_array(parts, shape=size).tocsc()
    return Graph(
        turned.indptr.astype(np.int64),
        turned.indices.astype(np.int32),
        graph.weight_e[turned.data],
        graph.kind_e[turned.data],
        graph.kinds,
    )


def _is_other(folder: pathlib.Path) -> bool:
    """Whether there is something else where a graph shall be written."""
    if not folder.is_dir():
        return folder.exists()
    return any(folder.iterdir()) and not (folder / "graph.json").is_file()


class _Edges:
    """Columns of edges, read in chunks of BLOCK."""

    def __init__(self, origin: Any, destination: Any, weight: Any, kind: Any):
        named = {"origin": origin, "destination": destination, "weight": weight}
        if kind is not None:
            named["kind"] = kind
        self.columns = {name: np.asanyarray(x) for name, x in named.items()}
        shapes = {name: x.shape for name, x in self.columns.items()}
        if len(set(shapes.values())) > 1 or self.columns["origin"].ndim != 1:
            raise ValueError(f"graph: got {shapes}, allowed: one length (e,)")
        for name, x in self.columns.items():
            number = x.dtype.kind in ("iuf" if name == "weight" else "iu")
            if len(x) and not number:
                what = "numbers" if name == "weight" else "integers"
                raise ValueError(f"graph: {name} is {x.dtype}, allowed: {what}")

    def __len__(self) -> int:
        return len(self.columns["origin"])

    def chunks(self):
        for start in range(0, len(self), BLOCK):
            part = {k: x[start : start + BLOCK] for k, x in self.columns.items()}
            yield start, part

    def fail(self, at: int, what: str) -> None:
        edge = ", ".join(f"{name} {x[at]}" for name, x in self.columns.items())
        raise ValueError(f"graph: edge {at} ({edge}): {what}")


def _check(edges: _Edges, nodes: int, kinds: int | None) -> tuple[np.ndarray, int]:
    """Returns the edges a row as int64 (n), and the largest kind; see `write`."""
    count_n = np.zeros(nodes, np.int64)
    most, allowed = 0, MAX_KINDS if kinds is None else kinds
    if not 1 <= allowed <= MAX_KINDS:
        raise ValueError(f"graph: got {kinds} kinds, allowed: 1 to {MAX_KINDS}")
    for start, part in edges.chunks():
        for name in ("origin", "destination"):
            bad = (part[name] < 0) | (part[name] >= nodes)
            if bad.any():
                what = f"unknown {name}, allowed: nodes 0 to {nodes - 1}"
                edges.fail(start + int(bad.argmax()), what)
        with np.errstate(over="ignore"):
            weight = part["weight"].astype(np.float32)
        bad = ~(np.isfinite(weight) & (weight >= 0))
        if bad.any():
            what = "weight, allowed: 0 or more, finite in float32"
            edges.fail(start + int(bad.argmax()), what)
        if "kind" in part:
            bad = (part["kind"] < 0) | (part["kind"] >= allowed)
            if bad.any():
                what = f"unknown kind, allowed: 0 to {allowed - 1}"
                edges.fail(start + int(bad.argmax()), what)
            most = max(most, int(part["kind"].max(initial=0)))
        count_n += np.bincount(part["origin"].astype(np.int64), minlength=nodes)
    return count_n, most


def _write(
    folder: pathlib.Path,
    aside: pathlib.Path,
    edges: _Edges,
    count_n: np.ndarray,
    kinds: int,
) -> dict[str, Any]:
    """Writes the arrays: edges go to blocks of rows first, then block by block."""
    nodes, total = len(count_n), len(edges)
    start_n = np.concatenate([[0], np.cumsum(count_n)])
    cuts = _cuts(start_n, kinds)
    block_n = np.repeat(np.arange(len(cuts) - 1, dtype=np.int32), np.diff(cuts))
    spread = _spread(aside, edges, block_n, start_n[cuts])
    row_n = np.zeros(nodes, np.int64)
    dropped = loops = 0
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(open(folder / f"{name}.raw", "wb"))
            for name in ("indices", "weight", "kind")
        ]
        for low, high in itertools.pairwise(cuts):
            here = slice(start_n[low], start_n[high])
            origin, *rest = _sorted({k: x[here] for k, x in spread.items()}, low, nodes)
            keep = rest[1] > 0
            dropped += int((~keep).sum())
            loops += int((keep & (origin + low == rest[0])).sum())
            row_n[low:high] = np.bincount(origin[keep], minlength=high - low)
            for file, values in zip(files, rest, strict=True):
                file.write(values[keep].tobytes())
    indptr = np.concatenate([[0], np.cumsum(row_n)]).astype(np.int64)
    (folder / "indptr.raw").write_bytes(indptr.tobytes())
    size = {name: int(indptr[-1]) for name in ARRAYS} | {"indptr": nodes + 1}
    digest = hashlib.sha256()
    for name, dtype in ARRAYS.items():
        _to_npy(folder / f"{name}.raw", np.dtype(dtype), size[name], digest)
    return {
        "edges": int(indptr[-1]),
        "edges_given": total,
        "zero_weights": dropped,
        "self_loops": loops,
        "isolated_rows": int((row_n == 0).sum()),
        "largest_row": int(row_n.max(initial=0)),
        "sha256": digest.hexdigest(),
    }


def _cuts(start_n: np.ndarray, kinds: int) -> np.ndarray:
    """First rows of blocks of at most BLOCK edges (or one row), and the end."""
    nodes = len(start_n) - 1
    rows = max((2**62) // (nodes * kinds), 1)  # (row, column, kind) fits an int64
    cuts = [0]
    while cuts[-1] < nodes:
        end = np.searchsorted(start_n, start_n[cuts[-1]] + BLOCK, side="right") - 1
        cuts.append(int(min(max(end, cuts[-1] + 1), cuts[-1] + rows, nodes)))
    return np.array(cuts)


def _spread(
    aside: pathlib.Path, edges: _Edges, block_n: np.ndarray, first: np.ndarray
) -> dict[str, np.ndarray]:
    """Copies the edges to files, each block's edges together, in the order given."""
    types = {"origin": np.int32, "destination": np.int32, "weight": np.float64}
    types |= {"kind": np.uint8}
    if not len(edges):
        return {name: np.zeros(0, dtype) for name, dtype in types.items()}
    out: dict[str, Any] = {
        name: np.memmap(aside / name, dtype, "w+", shape=(len(edges),))
        for name, dtype in types.items()
    }
    cursor = first[:-1].copy()
    for _, part in edges.chunks():
        block = block_n[part["origin"]]
        order = np.argsort(block, kind="stable")
        count = np.bincount(block, minlength=len(cursor))
        ends = np.cumsum(count)
        part = {name: x[order] for name, x in part.items()}
        for b in np.flatnonzero(count):
            here = slice(cursor[b], cursor[b] + count[b])
            for name, x in part.items():
                out[name][here] = x[ends[b] - count[b] : ends[b]]
        cursor += count
    return out


def _sorted(part: dict[str, np.ndarray], low: int, nodes: int) -> tuple:
    """Sorts one block and adds up equal edges.

    Returns origin - low, destination int32, weight float32 and kind uint8.
    """
    key = (part["origin"].astype(np.int64) - low) * nodes + part["destination"]
    kind = part["kind"]
    kinds = int(kind.max(initial=0)) + 1
    key = key * kinds + kind
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    weight = part["weight"][order]
    if len(first):
        weight = np.add.reduceat(weight, first)
    key = key[first]
    kind = (key % kinds).astype(np.uint8)
    destination = (key // kinds % nodes).astype(np.int32)
    origin = key // kinds // nodes
    bad = weight > np.finfo(np.float32).max
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(
            f"graph: edges {origin[at] + low} to {destination[at]} add up to"
            f" {weight[at]}, allowed: finite in float32"
        )
    return origin, destination, weight.astype(np.float32), kind


def _to_npy(raw: pathlib.Path, dtype: np.dtype, size: int, digest: Any) -> None:
    """Puts the header of an .npy file before raw bytes, which `digest` sees."""
    with open(raw, "rb") as source, open(raw.with_suffix(".npy"), "wb") as target:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(target, header)
        while piece := source.read(1 << 24):
            digest.update(piece)
            target.write(piece)
    raw.unlink()
