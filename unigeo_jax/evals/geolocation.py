# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where was this seen? Answers by the most similar of many coordinates.

The gallery is a list of coordinates, embedded by the coordinate tower; the place that
is asked for need not be among them, so the error is that of locating a place nobody
has indexed. `floor_km` says how near the gallery comes at all.

The search is exact and runs in tiles of the gallery on the device, which holds a tile
of similarities and never the whole table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.evals import folds
from unigeo_jax.evals.retrieval import great_circle_km

RADII_KM = (25, 200, 750, 2500)
TILE = 32_768  # gallery rows compared at once
HOST_TILE = 16_384  # the same on a CPU
QUERIES = 1_024  # queries compared at once
GROUP = 64  # similarities whose largest stands for them in a first choice


def top_k(
    query_bd: np.ndarray, gallery_gd: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k largest inner products of each query, exactly, in float32.

    The k best items lie in the k groups with the largest maxima, so a tile is reduced
    to one maximum a group before anything is sorted.

    Returns:
      Similarities (b, k), descending, and gallery rows (b, k).

    Raises:
      ValueError: k is not in [1, gallery], or widths differ.
    """
    if not 1 <= k <= len(gallery_gd):
        raise ValueError(f"top_k: k={k}; allowed: 1 to {len(gallery_gd)}")
    if query_bd.shape[1] != gallery_gd.shape[1]:
        raise ValueError(
            f"top_k: queries of width {query_bd.shape[1]};"
            f" allowed: that of the gallery, {gallery_gd.shape[1]}"
        )
    if jax.default_backend() == "cpu":
        return _top_k_host(query_bd, gallery_gd, k)
    size = min(TILE, -(-len(gallery_gd) // GROUP) * GROUP)
    size = max(size, -(-k // GROUP) * GROUP)
    tiles = [
        (jnp.asarray(gallery_gd[i : i + size], jnp.float32), i)
        for i in range(0, len(gallery_gd), size)
    ]
    values, rows = [], []
    for start in range(0, len(query_bd), QUERIES):
        q_bd = jnp.asarray(query_bd[start : start + QUERIES], jnp.float32)
        best = (
            jnp.full((len(q_bd), k), -jnp.inf, jnp.float32),
            jnp.zeros((len(q_bd), k), jnp.int32),
        )
        for tile_td, first in tiles:
            best = _merge(q_bd, tile_td, jnp.int32(first), best)
        values.append(best[0])
        rows.append(best[1])
    if not values:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    found = np.concatenate([np.asarray(r) for r in rows]).astype(np.int64)
    return np.concatenate([np.asarray(v) for v in values]), found


def _top_k_host(
    query_bd: np.ndarray, gallery_gd: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same by BLAS, which beats XLA's products on a CPU.

    Of each tile only the groups that hold something above the k-th best so far are
    looked into; after the first tiles that is next to nothing.
    """
    value_bk = np.full((len(query_bd), k), -np.inf, np.float32)
    row_bk = np.zeros((len(query_bd), k), np.int64)
    table_tb = np.empty((HOST_TILE, min(QUERIES, len(query_bd))), np.float32)
    for start in range(0, len(query_bd), QUERIES):
        q_db = np.asarray(query_bd[start : start + QUERIES], np.float32).T
        mine = slice(start, start + q_db.shape[1])
        for first in range(0, len(gallery_gd), HOST_TILE):
            tile_td = np.asarray(gallery_gd[first : first + HOST_TILE], np.float32)
            z_tb = table_tb.reshape(-1)[: len(tile_td) * q_db.shape[1]]
            z_tb = z_tb.reshape(len(tile_td), -1)
            np.matmul(tile_td, q_db, out=z_tb)
            query_j, row_j = _above(z_tb, value_bk[mine], k)
            found_j = z_tb[row_j, query_j]
            _insert(value_bk[mine], row_bk[mine], query_j, found_j, first + row_j)
    return value_bk, row_bk


def _above(
    z_tb: np.ndarray, best_bk: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Queries and tile rows of all similarities that may be among the k best."""
    whole = len(z_tb) // GROUP * GROUP
    top_gb = z_tb[:whole].reshape(-1, GROUP, z_tb.shape[1]).max(1)
    low_b = best_bk[:, -1]
    if len(top_gb) >= k and not np.isfinite(low_b).all():
        low_b = np.partition(top_gb, -k, axis=0)[-k]  # k groups reach it, so k items do
    group_j, query_j = np.nonzero(top_gb >= low_b)
    inside_ji = z_tb[:whole].reshape(-1, GROUP, z_tb.shape[1])[group_j, :, query_j]
    j, i = np.nonzero(inside_ji >= low_b[query_j, None])
    rest, rest_query = np.nonzero(z_tb[whole:] >= low_b)
    queries = np.concatenate([query_j[j], rest_query])
    return queries, np.concatenate([group_j[j] * GROUP + i, whole + rest])


def _insert(
    value_bk: np.ndarray,
    row_bk: np.ndarray,
    query_j: np.ndarray,
    value_j: np.ndarray,
    row_j: np.ndarray,
) -> None:
    """Merges candidates into the best, in place; of equals the first row wins."""
    b, k = value_bk.shape
    query_j = np.concatenate([np.repeat(np.arange(b), k), query_j])
    value_j = np.concatenate([value_bk.ravel(), value_j])
    row_j = np.concatenate([row_bk.ravel(), row_j])
    order = np.lexsort((row_j, -value_j, query_j))
    starts = np.searchsorted(query_j[order], np.arange(b))
    chosen = order[starts[:, None] + np.arange(k)]
    value_bk[:], row_bk[:] = value_j[chosen], row_j[chosen]


@jax.jit
def _merge(
    q_bd: jax.Array,
    tile_td: jax.Array,
    first: jax.Array,
    best: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Merges the best of a tile into the best so far."""
    b, k = best[0].shape
    z_bt = jnp.einsum("bd,td->bt", q_bd, tile_td, precision="highest")
    short = -z_bt.shape[1] % GROUP
    z_bt = jnp.pad(z_bt, ((0, 0), (0, short)), constant_values=-jnp.inf)
    z_bgi = z_bt.reshape(b, -1, GROUP)
    groups = min(k, z_bgi.shape[1])
    _, group_bk = jax.lax.top_k(z_bgi.max(-1), groups)
    # Ascending, so that of equal similarities the first row wins.
    group_bk = jnp.sort(group_bk, axis=1)
    near_bki = jnp.take_along_axis(z_bgi, group_bk[:, :, None], axis=1)
    row_bki = group_bk[:, :, None] * GROUP + jnp.arange(GROUP)[None, None]
    value_bj = jnp.concatenate([best[0], near_bki.reshape(b, -1)], 1)
    row_bj = jnp.concatenate([best[1], first + row_bki.reshape(b, -1)], 1)
    value_bk, at_bk = jax.lax.top_k(value_bj, k)
    return value_bk, jnp.take_along_axis(row_bj, at_bk, axis=1)


def run(
    embeddings: Mapping[str, np.ndarray],
    here: Mapping[str, np.ndarray],
    lat: np.ndarray,
    lon: np.ndarray,
    gallery_gd: np.ndarray,
    gallery_lat: np.ndarray,
    gallery_lon: np.ndarray,
    radii_km: Sequence[float] = RADII_KM,
) -> dict[str, dict[str, Any]]:
    """Locates places by each modality and by all that they have together.

    Args:
      embeddings: {modality: (n, d)} of the places, without their coordinates.
      here: {modality: bool (n,)}; lat, lon: the truth, degrees.
      gallery_gd: embeddings of the coordinates gallery_lat, gallery_lon.

    Returns:
      {modality or joined names: {"acc@<R>km", "median_km", "queries", "gallery",
      "floor_km" (median km to the nearest gallery coordinate), "chance@<R>km" (the
      share of the gallery within R, averaged over queries), "chance_km"}}.
    """
    unit = {
        name: _unit(np.where(here[name][:, None], z, 0))
        for name, z in embeddings.items()
    }
    asked = {name: (unit[name], here[name]) for name in unit}
    if len(unit) > 1:
        together = np.sum(list(unit.values()), axis=0)
        any_n = np.any([here[name] for name in unit], axis=0)
        asked["+".join(sorted(unit))] = (together, any_n)
    floor_n = folds.km_to_nearest(lat, lon, gallery_lat, gallery_lon)
    draw = np.random.default_rng(0).integers(0, len(gallery_lat), (200, len(lat)))
    chance_n = great_circle_km(lat, lon, gallery_lat[draw], gallery_lon[draw])
    result = {}
    for name, (z_nd, here_n) in asked.items():
        rows = np.flatnonzero(here_n)
        entry: dict[str, Any] = {"queries": len(rows), "gallery": len(gallery_lat)}
        if len(rows):
            _, found = top_k(z_nd[rows], gallery_gd, 1)
            at = found[:, 0]
            km = great_circle_km(lat[rows], lon[rows], gallery_lat[at], gallery_lon[at])
            entry |= {f"acc@{r:g}km": float(np.mean(km <= r)) for r in radii_km}
            entry["median_km"] = float(np.median(km))
            entry["floor_km"] = float(np.median(floor_n[rows]))
            chance = chance_n[:, rows]
            entry |= {f"chance@{r:g}km": float(np.mean(chance <= r)) for r in radii_km}
            entry["chance_km"] = float(np.median(chance))
            entry["km"] = km.astype(np.float32)
            entry["at"] = np.stack([lat[rows], lon[rows]], 1)
        result[name] = entry
    return result


def embed_all(
    embed: Any, lat: np.ndarray, lon: np.ndarray, size: int = 8192
) -> np.ndarray:
    """Embeds many coordinates, `size` at a time, all batches of one shape."""
    parts = []
    for start in range(0, len(lat), size):
        rows = slice(start, start + size)
        short = size - len(lat[rows])
        padded = (np.pad(x[rows], (0, short), mode="edge") for x in (lat, lon))
        parts.append(np.asarray(embed(*padded))[: len(lat[rows])])
    return np.concatenate(parts)


def _unit(z_nd: np.ndarray) -> np.ndarray:
    norm_n1 = np.linalg.norm(z_nd, axis=1, keepdims=True)
    return np.asarray(z_nd, np.float32) / np.maximum(norm_n1, 1e-30)
