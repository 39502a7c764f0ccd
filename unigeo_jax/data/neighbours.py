# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Neighbours drawn for a batch: fixed sizes, the same on any number of processes.

What is drawn is a pure function of (seed, step, position in the global batch): no
state, no order of calls. Draws are with replacement, so a hop of k neighbours is
always k wide, and aggregation is a gather and a weighted mean, without padding.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from unigeo_jax.data import graph as graphs

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
SLICE = 1 << 16  # draws at a time: their numbers stay in the processor's cache


class Hops(NamedTuple):
    """Sampled neighbourhoods of a batch, a pytree whose leaves start with axis b.

    node: int32 (b,), (b, k1), (b, k1, k2), ...: the places, their neighbours, theirs.
    weight: float32 (b, k1), (b, k1, k2), ...: sum_k weight * x[node] estimates, without
      bias, the row of A_hat times x. 0 where there is no neighbour.
    """

    node: tuple[np.ndarray, ...]
    weight: tuple[np.ndarray, ...]


class Sampler(NamedTuple):
    """A graph ready to be drawn from; `prepare` makes it.

    alias_e uint32 (e, 4): (keep, other, node, 0): with probability keep / 2**32 the
    draw of this slot is `node`, else `other`. None where all neighbours are equally
    likely. sum_n float32 (n): row sums.
    """

    graph: graphs.Graph
    sum_n: np.ndarray
    alias_e: np.ndarray | None


def prepare(graph: graphs.Graph, weighted: bool = True) -> Sampler:
    """Builds the tables to draw from the rows of `graph`, A_hat of any normalisation.

    Both ways estimate the same product. `weighted` draws a neighbour in proportion to
    its weight, by alias tables (16 bytes an edge): less variance for heavy-tailed
    flows. Otherwise all neighbours are equally likely and the weight is the factor.
    """
    # Plain views: a memory map keeps its class through every step otherwise.
    indptr_n, indices_e, weight_e = (np.asarray(x) for x in graph[:3])
    graph = graphs.Graph(indptr_n, indices_e, weight_e)
    sum_n = _row_sums(graph)
    if not weighted:
        return Sampler(graph, sum_n, None)
    alias_e = np.zeros((graph.edges, 4), np.uint32)
    row = 0
    while row < graph.nodes:
        end = graph.indptr_n[row] + graphs.BLOCK
        stop = int(np.searchsorted(graph.indptr_n, end, side="right")) - 1
        stop = min(max(stop, row + 1), graph.nodes)
        start, end = graph.indptr_n[row], graph.indptr_n[stop]
        count_n = np.diff(graph.indptr_n[row : stop + 1])
        node_e = graph.indices_e[start:end].view(np.uint32)
        keep_e, other_e = _alias(graph.weight_e[start:end], count_n)
        alias_e[start:end, 0] = np.minimum(keep_e * 2.0**32, 2.0**32 - 1)
        alias_e[start:end, 1] = node_e[other_e]
        alias_e[start:end, 2] = node_e
        row = stop
    return Sampler(graph, sum_n, alias_e)


def sample(
    sampler: Sampler,
    node_b: np.ndarray,
    position_b: np.ndarray,
    seed: int,
    step: int,
    fanout: Sequence[int] = (15, 10),
    pool: ThreadPoolExecutor | None = None,
) -> Hops:
    """Draws the neighbourhoods of a batch.

    Args:
      node_b: integers (b,), the node of each place; -1 (none) becomes node 0 with
        weights of 0.
      position_b: integers (b,), the place's position in the global batch.
      seed, step: of the run.
      fanout: neighbours a hop.
      pool: threads that share the batch; the result is the same without.

    Raises:
      ValueError: a node beyond the graph, or a fan-out below 1.
    """
    node_b, position_b = np.asarray(node_b), np.asarray(position_b, np.uint64)
    bad = (node_b < -1) | (node_b >= sampler.graph.nodes)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"sample: row {row} has node {node_b[row]},"
            f" allowed: -1 to {sampler.graph.nodes - 1}"
        )
    if min(fanout) < 1:
        raise ValueError(f"sample: got fanout {tuple(fanout)}, allowed: 1 or more each")
    stream = _mix(_mix(np.array([seed], np.uint64)) + np.array([step], np.uint64))
    start_b = _mix(position_b * GOLDEN_RATIO + stream)
    width = int(np.prod(fanout))
    shapes = [tuple(fanout[: hop + 1]) for hop in range(len(fanout))]
    out = Hops(
        tuple(np.empty((len(node_b), *s), np.int32) for s in [(), *shapes]),
        tuple(np.empty((len(node_b), *s), np.float32) for s in shapes),
    )
    parts = -(-len(node_b) * width // SLICE)
    if pool is not None:  # of one size, so that two or four threads end together
        parts = -(-parts // 4) * 4
    rows = max(-(-len(node_b) // max(parts, 1)), 1)

    def part(low: int) -> None:
        here = slice(low, low + rows)
        _fill(sampler, node_b[here], start_b[here], here, out)

    lows = range(0, len(node_b), rows)
    for _ in map(part, lows) if pool is None else pool.map(part, lows):
        pass
    return out


def every(graph: graphs.Graph, node_b: np.ndarray, layers: int = 2) -> Hops:
    """Returns all neighbours instead of draws: exactly the full graph's result.

    Rows are padded with weight 0 to the largest degree of the hop, so the size grows
    with its power: for small graphs, tests and single places.
    """
    node = [np.asarray(node_b, np.int32)]
    weight = []
    for _ in range(layers):
        start = graph.indptr_n[node[-1]]
        count = graph.indptr_n[node[-1] + 1] - start
        slot = np.arange(max(int(count.max(initial=0)), 1))
        real = slot < count[..., None]
        edge = np.where(real, start[..., None] + slot, 0)
        values = (graph.indices_e, graph.weight_e) if graph.edges else ([0], [0.0])
        node.append(np.where(real, np.take(values[0], edge), 0).astype(np.int32))
        weight.append(np.where(real, np.take(values[1], edge), 0).astype(np.float32))
    return Hops(tuple(node), tuple(weight))


def _fill(
    sampler: Sampler, node_b: np.ndarray, start_b: np.ndarray, here: slice, out: Hops
) -> None:
    """Draws rows `here` of all hops into `out`."""
    indptr_n = sampler.graph.indptr_n
    node = np.maximum(node_b, 0).astype(np.int32)
    lost = node_b < 0
    out.node[0][here] = node
    stream = start_b
    for hop, (nodes, weights) in enumerate(zip(out.node[1:], out.weight, strict=True)):
        size = nodes.shape[-1]
        start = indptr_n[node]
        count = indptr_n[node + 1] - start
        none = count == 0
        if hop == 0:
            none |= lost
        # Slots of a hop are consecutive counters of the place's own stream.
        slots = np.arange(node[0].size * size, dtype=np.uint64) * GOLDEN_RATIO
        slots += np.uint64(hop + 1) << np.uint64(40)
        bits = _mix((stream[:, None] + slots).reshape(*node.shape, size))
        edge = bits >> np.uint64(32)
        edge *= count.view(np.uint64)[..., None]
        edge >>= np.uint64(32)
        edge = edge.view(np.int64)
        edge += start[..., None]
        scale = np.where(none, 0, 1.0 / size).astype(np.float32)
        if none.any():
            edge[none] = 0
        drawn, factor = _draw(sampler, edge, bits, node, scale, count)
        if none.any():
            drawn[none] = node[none][..., None]
        nodes[here] = node = drawn
        weights[here] = factor


def _draw(
    sampler: Sampler,
    edge: np.ndarray,
    bits: np.ndarray,
    node: np.ndarray,
    scale: np.ndarray,
    count: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nodes at the end of these edges int32, and their factors."""
    graph = sampler.graph
    if not graph.edges:
        return np.zeros(edge.shape, np.int32), np.zeros(edge.shape, np.float32)
    if sampler.alias_e is None:
        factor = np.take(graph.weight_e, edge).astype(np.float32, copy=False)
        factor *= (scale * count.astype(np.float32))[..., None]
        return np.take(graph.indices_e, edge), factor
    # One 16-byte item a draw: one miss of the cache instead of three.
    found = np.take(sampler.alias_e.view(np.complex128)[:, 0], edge)
    found = found[..., None].view(np.uint32)
    low = bits.astype(np.uint32)  # the other half than chose the slot
    drawn = np.where(low < found[..., 0], found[..., 2], found[..., 1])
    return drawn.view(np.int32), (sampler.sum_n[node] * scale)[..., None]


def _mix(x: np.ndarray) -> np.ndarray:
    """Scrambles uint64 counters, in place: the output function of SplitMix64.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _row_sums(graph: graphs.Graph) -> np.ndarray:
    """Row sums as float32 (n), added up in float64."""
    full = np.flatnonzero(np.diff(graph.indptr_n))
    sum_n = np.zeros(graph.nodes, np.float32)
    if len(full):
        first = graph.indptr_n[full]
        sum_n[full] = np.add.reduceat(graph.weight_e, first, dtype=np.float64)
    return sum_n


def _alias(weight_e: np.ndarray, count_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alias tables of many rows at once: keep float64 (e), other int64 (e).

    In units of a row's mean, light edges lack what heavy ones have over. Both are laid
    end to end; a light edge is topped up by the heavy one at its place, and a heavy one
    that is used up by the next: sweeping as in Hübschle-Schneider and Sanders,
    "Parallel weighted random sampling", 2019, with sums instead of a loop. As every
    row's excess equals its lack, all rows are swept in one go.
    """
    full = count_n > 0
    count_n = count_n[full]
    if not len(count_n):
        return np.zeros(0), np.zeros(0, np.int64)
    first_n = np.concatenate([[0], np.cumsum(count_n)[:-1]])
    total_n = np.add.reduceat(weight_e, first_n, dtype=np.float64)
    mean_n = np.where(total_n > 0, total_n / count_n, np.inf)
    over_e = weight_e / np.repeat(mean_n, count_n) - 1.0
    over_e[np.repeat(total_n == 0, count_n)] = 0.0  # no weight: all are alike
    is_heavy = over_e > -1e-12  # rounding leaves every row one at least
    over_e[is_heavy] = np.maximum(over_e[is_heavy], 0.0)
    heavy, light = np.flatnonzero(is_heavy), np.flatnonzero(~is_heavy)
    row_e = np.repeat(np.arange(len(count_n)), count_n)
    begin_n = np.searchsorted(heavy, first_n)
    last_n = np.searchsorted(heavy, first_n + count_n) - 1
    lack = np.concatenate([[0.0], np.cumsum(-over_e[light])])
    lack_n = lack[np.searchsorted(light, first_n + count_n)]
    excess = np.cumsum(over_e[heavy])
    keep_e = np.ones(len(weight_e))
    other_e = np.arange(len(weight_e))
    # Sums are rounded, and must not reach over into the next row: hence the bounds.
    giver = np.searchsorted(excess, lack[:-1], side="right")
    row = row_e[light]
    keep_e[light] += over_e[light]
    other_e[light] = heavy[np.clip(giver, begin_n[row], last_n[row])]
    # The light edge that uses a heavy one up takes `gone` too much from it.
    row = row_e[heavy]
    spent = lack[np.minimum(np.searchsorted(lack, excess), len(light))]
    gone = np.minimum(spent, lack_n[row]) - excess
    number = np.arange(len(heavy))
    keep_e[heavy] -= np.where(number == last_n[row], 0.0, np.clip(gone, 0.0, 1.0))
    other_e[heavy] = heavy[np.minimum(number + 1, last_n[row])]
    return keep_e, other_e
