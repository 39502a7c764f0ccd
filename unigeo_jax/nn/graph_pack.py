# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A graph laid out for a device: arrays that are multiplied without any scatter.

Three forms of one matrix A_hat, for `nn.graph.propagate`:

- `rows`: compressed rows, for the sparse kernel that jaxlib has on CPUs;
- `buckets`: rows of like degree are padded to one width, so that a product is a gather
  and a sum over an axis (GPU, TPU);
- `blocks`: dense blocks, empty ones left out, for graphs so dense, or so well ordered
  in space, that matrix units win over gathers.

All are split over `shards` devices: block b of `unit` nodes lies on shard b % shards,
which spreads dense regions. Backward, the same is done with the transposed matrix.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import sparse

from unigeo_jax.types import Leaf

CHUNK = 2**17  # gathered rows held at a time
WIDEST = 1024  # wider rows are cut, and their parts added up
SIDE = 256  # nodes along a dense block
FORMS = ("rows", "buckets", "blocks")


class Rows(NamedTuple):
    """indptr int32 (s, n/s + 1), indices int32 (s, e), weight float32 (s, e)."""

    indptr_sn: Leaf
    indices_se: Leaf
    weight_se: Leaf


class Bucket(NamedTuple):
    """Rows of one width k, in chunks c of r rows: index int32 (s, c, r, k), weight.

    The weight is (s, c, r, k), or (s, c, r, k, i, j) for dense blocks. Padding has
    index 0 and weight 0.
    """

    index: Leaf
    weight: Leaf


class Buckets(NamedTuple):
    """parts: the buckets; hubs: sums of parts, for rows that were cut.

    place int32 (s, rows): where in (parts, hubs, a row of zeros) each row is found.
    """

    parts: tuple[Bucket, ...]
    hubs: tuple[Bucket, ...]
    place_sn: Leaf


class Packed(NamedTuple):
    """A_hat and its transpose, a pytree; None: A_hat is symmetric, or rank_n not used.

    rank_n, node_n int32 (n): the place of a node in the order of the packing, and back.
    """

    forward: Rows | Buckets
    backward: Rows | Buckets | None
    rank_n: Leaf | None = None
    node_n: Leaf | None = None


def pack(
    graph: Any,
    form: str | None = None,
    shards: int = 1,
    order_n: np.ndarray | None = None,
    dtype: Any = np.float32,
) -> Packed:
    """Lays A_hat out on the host; numpy arrays whose first axis goes over the mesh.

    Args:
      graph: has indptr_n, indices_e, weight_e: row i lists what node i gathers.
      form: rows, buckets or blocks; by default rows on a CPU, else buckets.
      shards: devices to split rows over.
      order_n: integers (n), nodes in an order that keeps neighbours together (for
        blocks), such as along a space-filling curve.
      dtype: of the weights; `rows` multiplies in float32 only.

    Raises:
      ValueError: unknown form; a shard with 2**31 edges or more.
    """
    form = form or ("rows" if jax.default_backend() == "cpu" else "buckets")
    if form not in FORMS:
        raise ValueError(f"pack: got form {form!r}, allowed: {', '.join(FORMS)}")
    if form == "rows" and np.dtype(dtype) != np.float32:
        raise ValueError(f"pack: got dtype {np.dtype(dtype)}, rows allow float32")
    size = len(graph.indptr_n) - 1
    parts = (graph.weight_e, graph.indices_e, graph.indptr_n)
    a_hat: Any = sparse.csr_array(parts, shape=(size, size))
    rank_n = node_n = None
    if order_n is not None:
        node_n = np.asarray(order_n, np.int32)
        rank_n = np.empty_like(node_n)
        rank_n[node_n] = np.arange(size, dtype=np.int32)
        a_hat = a_hat[node_n][:, node_n]
    turned = a_hat.T.tocsr()
    a_hat.sort_indices()
    turned.sort_indices()
    lay_out = {"rows": _rows, "buckets": _buckets, "blocks": _blocks}[form]
    forward = lay_out(a_hat, shards, dtype)
    backward = None if _same(a_hat, turned) else lay_out(turned, shards, dtype)
    return Packed(forward, backward, rank_n, node_n)


def unit_of(packed: Rows | Buckets) -> int:
    """Nodes that stay together on a shard: SIDE for dense blocks, else 1."""
    if isinstance(packed, Rows):
        return 1
    weight = [part.weight for part in packed.parts]
    return weight[0].shape[-1] if weight and weight[0].ndim == 6 else 1


def _same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in ((a.indptr, b.indptr), (a.indices, b.indices), (a.data, b.data))
    )


def _rows(matrix: Any, shards: int, dtype: Any) -> Rows:
    local = -(-matrix.shape[0] // shards)
    taken = [matrix[s::shards] if shards > 1 else matrix for s in range(shards)]
    most = max([part.nnz for part in taken] + [1])
    if most >= 2**31:
        raise ValueError(f"pack: got {most} edges a shard, allowed: below 2**31")
    if shards == 1 and matrix.nnz:
        indptr_n = matrix.indptr.astype(np.int32)
        indices_e = _position(matrix.indices, local, 1, 1)
        return Rows(indptr_n[None], indices_e[None], matrix.data.astype(dtype)[None])
    indptr = np.zeros((shards, local + 1), np.int32)
    indices = np.zeros((shards, most), np.int32)
    weight = np.zeros((shards, most), dtype)
    for s, part in enumerate(taken):
        indptr[s, : len(part.indptr)] = part.indptr
        indptr[s, len(part.indptr) :] = part.nnz
        indices[s, : part.nnz] = _position(part.indices, local, shards, 1)
        weight[s, : part.nnz] = part.data
    return Rows(indptr, indices, weight)


def _buckets(matrix: Any, shards: int, dtype: Any) -> Buckets:
    local = -(-matrix.shape[0] // shards)
    taken = [matrix[s::shards] if shards > 1 else matrix for s in range(shards)]
    sources = [
        (
            part.indptr,
            _position(part.indices, local, shards, 1),
            part.data.astype(dtype),
        )
        for part in taken
    ]
    return bucketise(sources, local, WIDEST, CHUNK)


def _blocks(matrix: Any, shards: int, dtype: Any) -> Buckets:
    many = -(-matrix.shape[0] // (SIDE * shards)) * shards  # rows of blocks
    padded = matrix.copy()
    padded.resize((many * SIDE, many * SIDE))
    blocks = padded.tobsr(blocksize=(SIDE, SIDE))
    column_e = _position(blocks.indices, many // shards, shards, 1)
    sources = []
    for s in range(shards):
        rows = np.arange(s, many, shards)
        count = np.diff(blocks.indptr)[rows]
        start = np.concatenate([[0], np.cumsum(count)])
        edge = np.repeat(blocks.indptr[rows] - start[:-1], count) + np.arange(start[-1])
        sources.append((start, column_e[edge], blocks.data[edge].astype(dtype)))
    return bucketise(sources, many // shards, many, CHUNK // SIDE)


def _position(index_e: np.ndarray, local: int, shards: int, unit: int) -> np.ndarray:
    """Where a node stands when the shards' rows are laid end to end: int32 (e)."""
    if shards == 1:
        return np.asarray(index_e, np.int32)
    block = index_e // unit
    place = (block % shards) * local + (block // shards) * unit + index_e % unit
    return place.astype(np.int32)


def bucketise(sources: Sequence[tuple], local: int, widest: int, chunk: int) -> Buckets:
    """Sorts rows into buckets of like width, the same shapes on every shard.

    Args:
      sources: a shard each: (indptr, index (e), weight (e, ...)).
      local: rows of a shard; one whose indptr is shorter has empty rows at its end.
      widest: rows with more are cut into parts of this width.
      chunk: entries of a bucket that are multiplied at a time.
    """
    spans, cut = [], []
    for indptr, *_ in sources:
        row, first, left, many = cut_rows(np.diff(indptr), widest)
        spans.append((np.asarray(indptr[:-1], np.int64)[row] + first, left))
        cut.append(many)
    data = [source[1:] for source in sources]
    parts, places = _fill(spans, data, chunk)
    if not parts:  # no edge: one row of padding keeps the shapes known
        shape = (len(sources), 1, 1, 1)
        weight = np.zeros((*shape, *data[0][1].shape[1:]), data[0][1].dtype)
        parts = (Bucket(np.zeros(shape, np.int32), weight),)
    total = sum(int(np.prod(part.index.shape[1:3])) for part in parts)
    # Rows that were cut: their parts are the columns of a second, smaller matrix.
    tails, again = [], []
    for many, place in zip(cut, places, strict=True):
        first = np.cumsum(many) - many
        hub = many > 1
        tails.append((first[hub], many[hub]))
        again.append((place, np.ones(len(place), np.float32)))
    hubs, hub_places = _fill(tails, again, chunk)
    zero = total + sum(int(np.prod(part.index.shape[1:3])) for part in hubs)
    place_sn = np.full((len(sources), local), zero, np.int32)
    for s, many in enumerate(cut):
        first = np.cumsum(many) - many
        one, hub = np.flatnonzero(many == 1), np.flatnonzero(many > 1)
        place_sn[s, one] = places[s][first[one]]
        place_sn[s, hub] = total + hub_places[s]
    return Buckets(parts, hubs, place_sn)


def cut_rows(count: np.ndarray, widest: int) -> tuple[np.ndarray, ...]:
    """Cuts rows of these lengths: (row, first entry, length) a part, parts a row."""
    many = -(-count // widest)
    row = np.repeat(np.arange(len(count)), many)
    first = (np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)) * widest
    return row, first, np.minimum(count[row] - first, widest), many


def layout(counts: Sequence[np.ndarray], chunk: int) -> list[tuple[int, int, int]]:
    """Shapes (chunks, rows, width) of buckets for the shards' rows of these lengths.

    Widths are 1, 2, 3, 4, 6, 8, 12, ...: at most a third of a row is padding.
    """
    most = max([int(count.max(initial=0)) for count in counts])
    shapes = []
    for low, width in zip(*_widths(most), strict=True):
        rows = max(int(((count > low) & (count <= width)).sum()) for count in counts)
        if rows:
            chunks = -(-rows // max(chunk // width, 1))
            shapes.append((chunks, -(-rows // chunks), width))
    return shapes


def _widths(most: int) -> tuple[list[int], list[int]]:
    widths = [1, 2]
    while widths[-1] < most:
        widths += [widths[-1] * 3 // 2, widths[-1] * 2]
    return [0, *widths[:-1]], widths


def _fill(
    spans: Sequence[tuple], data: Sequence[tuple], chunk: int
) -> tuple[tuple[Bucket, ...], list[np.ndarray]]:
    """Returns buckets of the spans (start, count) of each shard's (index, weight).

    Also where each span's sum stands among the results of all buckets: int64 a shard.
    """
    shapes = layout([count for _, count in spans], chunk)
    places = [np.zeros(len(count), np.int64) for _, count in spans]
    buckets = []
    base = low = 0
    for chunks, rows, width in shapes:
        inner = data[0][1].shape[1:]
        index = np.zeros((len(spans), chunks * rows, width), np.int32)
        weight = np.zeros((*index.shape, *inner), data[0][1].dtype)
        for s, (start, count) in enumerate(spans):
            here = np.flatnonzero((count > low) & (count <= width))
            places[s][here] = base + np.arange(len(here))
            step = max(chunk // width, 1)
            for first in range(0, len(here), step):
                some = here[first : first + step]
                slot = np.arange(width)
                row, k = np.nonzero(slot < count[some][:, None])
                edge = start[some][row] + k
                index[s, first + row, k] = data[s][0][edge]
                weight[s, first + row, k] = data[s][1][edge]
        base += chunks * rows
        low = width
        shape = (len(spans), chunks, rows, width)
        buckets.append(Bucket(index.reshape(shape), weight.reshape(*shape, *inner)))
    return tuple(buckets), places
