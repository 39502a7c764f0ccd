# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Propagation over a graph, with gradients, and without a scatter in either direction.

Scatters are slow or wrong-footed on every accelerator; here a product with A_hat is a
gather and a sum, dense blocks, or on a CPU jaxlib's own sparse kernel. Its gradient is
the same product with the transposed matrix. `nn.graph_pack.pack` lays matrices out.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.experimental.sparse  # registers the CPU kernel
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax.nn.graph_pack import Bucket, Buckets, Packed, Rows, unit_of

CPU_KERNEL = "cpu_csr_sparse_dense_ffi"


def propagate(
    packed: Packed,
    table_nd: jax.Array,
    mesh: Mesh | None = None,
    dtype: Any = jnp.float32,
) -> jax.Array:
    """Returns A_hat @ table, float32 (n, d); A_hat itself gets no gradient.

    Args:
      packed: what `pack` returned, on the device.
      table_nd: float (n, d).
      mesh: with more than one device: rows of the product are computed on the device
        that holds them (the first axis of `packed` is laid over all axes of the mesh),
        the table is gathered once.
      dtype: in which the table is gathered; sums are float32.

    Raises:
      ValueError: another number of rows than A_hat, or shards that the devices of the
        mesh do not divide.
    """
    return _propagate(packed, table_nd, mesh, jnp.dtype(dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _propagate(packed, table_nd, mesh, dtype):
    return _product(packed, packed.forward, table_nd, mesh, dtype)


def _forward(packed, table_nd, mesh, dtype):
    like = jnp.zeros((), table_nd.dtype)
    return _propagate(packed, table_nd, mesh, dtype), (packed, like)


def _backward(mesh, dtype, kept, g_nd):
    packed, like = kept
    matrix = packed.forward if packed.backward is None else packed.backward
    return None, _product(packed, matrix, g_nd, mesh, dtype).astype(like.dtype)


_propagate.defvjp(_forward, _backward)


def _product(
    packed: Packed, matrix: Rows | Buckets, table_nd: Any, mesh: Any, dtype: Any
) -> jax.Array:
    """Puts the table into the order of the packing, multiplies, and puts it back."""
    nodes, dim = table_nd.shape
    unit = unit_of(matrix)
    first = matrix.indptr_sn if isinstance(matrix, Rows) else matrix.place_sn
    shards = first.shape[0]
    local = first.shape[1] - 1 if isinstance(matrix, Rows) else unit * first.shape[1]
    spare = shards * local - nodes
    if not 0 <= spare < shards * unit:
        raise ValueError(
            f"propagate: got a table of {nodes} rows, the graph has"
            f" {shards * (local - unit) + 1} to {shards * local}"
        )
    if mesh is not None and shards % mesh.size:
        raise ValueError(
            f"propagate: the graph is packed for {shards} shards, the mesh has"
            f" {mesh.size} devices; allowed: pack(..., shards={mesh.size})"
        )
    table = table_nd.astype(dtype)
    if packed.node_n is not None:
        table = _take(table, packed.node_n)
    table = jnp.pad(table, ((0, spare), (0, 0)))
    # Block b of `unit` nodes lies on shard b % shards.
    table = table.reshape(local // unit, shards, unit, dim).swapaxes(0, 1)
    table = table.reshape(shards, local, dim)
    if mesh is None or mesh.size == 1:
        out = _local(matrix, table.reshape(-1, dim))
    else:
        axes = mesh.axis_names
        table = jax.lax.with_sharding_constraint(table, NamedSharding(mesh, P(axes)))

        def on_device(matrix, table):
            whole = jax.lax.all_gather(table, axes, tiled=True)
            return _local(matrix, whole.reshape(-1, dim))

        out = jax.shard_map(
            on_device, mesh=mesh, in_specs=P(axes), out_specs=P(axes), check_vma=False
        )(matrix, table)
    out = out.reshape(shards, local // unit, unit, dim).swapaxes(0, 1)
    out = out.reshape(-1, dim)[:nodes]
    return out if packed.rank_n is None else _take(out, packed.rank_n)


def _local(matrix: Rows | Buckets, table_nd: jax.Array) -> jax.Array:
    """Returns the products of the rows held here: float32 (s, n/s, d)."""
    if isinstance(matrix, Rows):
        table_nd = table_nd.astype(jnp.float32)
        parts = zip(*matrix, strict=True)
        return jnp.stack([_cpu_product(*part, table_nd) for part in parts])
    unit = unit_of(matrix)
    shards, rows = matrix.place_sn.shape
    dim = table_nd.shape[-1]
    table = table_nd.reshape(-1, unit, dim) if unit > 1 else table_nd
    inner = table.shape[1:]
    sums = [_bucket(part, table) for part in matrix.parts]
    if matrix.hubs:
        laid = jnp.concatenate(sums, axis=1)
        each = jax.vmap(_bucket)
        for hub in matrix.hubs:
            # Places differ by shard: one more axis of length 1 for `_bucket`.
            one = Bucket(hub.index[:, None], hub.weight[:, None])
            sums.append(each(one, laid)[:, 0])
    zero = jnp.zeros((shards, 1, *inner), jnp.float32)
    laid = jnp.concatenate([*sums, zero], axis=1)
    out = jax.vmap(_take)(laid, matrix.place_sn)
    return out.reshape(shards, rows * unit, dim)


def _bucket(bucket: Bucket, table: jax.Array) -> jax.Array:
    """Returns the weighted sums of a bucket's rows: float32 (s, c * r, ...)."""

    def chunk(part):
        index, weight = part
        gathered = _take(table, index)
        if weight.ndim > index.ndim:
            return jnp.einsum(
                "srkij,srkjd->srid",
                weight,
                gathered.astype(weight.dtype),
                preferred_element_type=jnp.float32,
                precision=jax.lax.Precision.HIGHEST,
            )
        weight = weight.astype(jnp.float32)[..., None]
        return (weight * gathered.astype(jnp.float32)).sum(2)

    index, weight = bucket
    if index.shape[1] == 1:
        return chunk((index[:, 0], weight[:, 0]))
    # One chunk at a time bounds what is gathered; the mesh's axis stays in front.
    parts = (jnp.moveaxis(index, 1, 0), jnp.moveaxis(weight, 1, 0))
    sums = jnp.moveaxis(jax.lax.map(chunk, parts), 0, 1)
    return sums.reshape(sums.shape[0], -1, *sums.shape[3:])


def _cpu_product(indptr_n, indices_e, weight_e, table_nd) -> jax.Array:
    """Multiplies compressed rows by a table with jaxlib's kernel for CPUs."""
    shape = (indptr_n.shape[0] - 1, table_nd.shape[1])
    call = jax.ffi.ffi_call(CPU_KERNEL, jax.ShapeDtypeStruct(shape, jnp.float32))
    return call(weight_e, indptr_n, indices_e, table_nd)


def _take(table: jax.Array, index: jax.Array) -> jax.Array:
    return jnp.asarray(table).at[index].get(mode="promise_in_bounds")


@jax.custom_vjp
def lookup(table_nd: jax.Array, node: jax.Array) -> jax.Array:
    """Returns rows of a table, (..., d); its gradient is added up without a scatter.

    The gradients of one node lie together once the nodes are sorted: a CPU sums them
    with its sparse kernel, other devices by doubling steps within each run.

    Args:
      table_nd: float (n, d).
      node: int32 (...), 0 to n - 1; others are clipped to these.
    """
    return _take(table_nd, jnp.clip(node, 0, len(table_nd) - 1))


def _lookup_forward(table_nd, node):
    like = jnp.zeros((0, *table_nd.shape), table_nd.dtype)
    return lookup(table_nd, node), (like, node)


def _lookup_backward(kept, g):
    like, node = kept
    _, nodes, dim = like.shape
    id_i = jnp.clip(node.reshape(-1), 0, nodes - 1)
    g_id = g.reshape(-1, dim).astype(jnp.float32)
    order_i = jnp.argsort(id_i)
    sorted_i = id_i[order_i]
    bound_n = jnp.searchsorted(sorted_i, jnp.arange(nodes + 1, dtype=id_i.dtype))
    add = functools.partial(jax.lax.platform_dependent, cpu=_add_cpu, default=_add_runs)
    grad_nd = add(bound_n.astype(jnp.int32), order_i.astype(jnp.int32), sorted_i, g_id)
    return grad_nd.astype(like.dtype), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def _add_cpu(bound_n, order_i, sorted_i, g_id):
    return _cpu_product(bound_n, order_i, jnp.ones(sorted_i.shape, jnp.float32), g_id)


def _add_runs(bound_n, order_i, sorted_i, g_id):
    """Sums runs of equal ids: after t steps, entry i holds those from i to i + 2**t."""
    sum_id = _take(g_id, order_i)
    step = 1
    while step < len(sorted_i):
        same_i = sorted_i[step:] == sorted_i[:-step]
        tail_id = jnp.where(same_i[:, None], sum_id[step:], 0.0)
        sum_id = sum_id + jnp.pad(tail_id, ((0, step), (0, 0)))
        step *= 2
    found_n = bound_n[1:] > bound_n[:-1]
    first_n = jnp.minimum(bound_n[:-1], len(sorted_i) - 1)
    return jnp.where(found_n[:, None], _take(sum_id, first_n), 0.0)


class LightGCN(nn.Module):
    """Sums a node table over 0 to `layers` hops: E0 + A E0 + A A E0 + ...

    He et al., "LightGCN", 2020; the sum instead of the mean is MobCLIP's. Parameters:
    table (n, d), drawn N(0, 1/d) unless `start` gives it.

    Attributes:
      nodes, dim: n and d.
      layers: hops of the full graph; a sample has its own.
      start: function of (key, shape, dtype), such as one that returns given vectors.
      mesh, dtype: as in `propagate`.
    """

    nodes: int
    dim: int
    layers: int = 2
    start: Any = None
    mesh: Mesh | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Any) -> jax.Array:
        """Returns all nodes' vectors (n, d) of a Packed, or (b, d) of sampled hops.

        Hops are a pair: node, int32 (b,), (b, k1), (b, k1, k2), ...; weight (b, k1),
        (b, k1, k2), ...
        """
        draw = self.start or nn.initializers.normal(self.dim**-0.5)
        table_nd = self.param("table", draw, (self.nodes, self.dim), jnp.float32)
        if isinstance(graph, Packed):
            out_nd = layer_nd = table_nd
            for _ in range(self.layers):
                layer_nd = propagate(graph, layer_nd, self.mesh, self.dtype)
                out_nd = out_nd + layer_nd
            return out_nd
        node, weight = graph
        return fold(spread(table_nd, node), weight)


def spread(table_nd: jax.Array, node: Any) -> list[jax.Array]:
    """Returns rows of the table for all hops, in one lookup: (b, d), (b, k1, d), ..."""
    flat = lookup(table_nd, jnp.concatenate([hop.reshape(-1) for hop in node]))
    out, low = [], 0
    for hop in node:
        out.append(flat[low : low + hop.size].reshape(*hop.shape, -1))
        low += hop.size
    return out


def fold(rows: Sequence[jax.Array], weight: Sequence[jax.Array]) -> jax.Array:
    """Sums from the leaves inwards: x0 + w0 (x1 + w1 (x2 + ...)), (b, d)."""
    out = rows[-1]
    for row, factor in zip(rows[-2::-1], weight[::-1], strict=True):
        out = row + (factor[..., None] * out).sum(-2)
    return out
