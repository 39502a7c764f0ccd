# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mobility between ZIP areas: counted flights, shared out, and *modelled* local flows.

No package holds commuting between ZIP areas. What is near is therefore a gravity
model, named so in the kind of each edge; only the flights were counted, and even
they between airports: how they are shared among areas is an assumption.
Letters: `n` nodes, `a` airports, `e` edges, `k` the areas kept of an airport.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.spatial

from unigeo_jax.data import splits

AIR, GRAVITY = "air (BTS 2008)", "gravity-modelled"
KINDS = (AIR, GRAVITY)
AIRPORT_KM, AREAS = 50.0, 8  # the areas of an airport: so far, so many
GRAVITY_KM, NEIGHBOURS = 100.0, 32
CLOSEST_KM = 1.0  # nearer areas pull no harder than this
MODELLED = (
    "Mobility of us_places: flows between near areas are gravity-modelled from"
    " population and distance, not observed."
)
SHARED_OUT = (
    "Mobility of us_places: flights were counted between airports (BTS 2008); how they"
    " are shared among the areas around these is an assumption."
)
MARK = " (modelled)"  # behind the name of what was made of such flows


def cautions(config: Mapping[str, Any]) -> list[str]:
    """What must be said of the flows that a run learned from, wherever it shows.

    Nothing where a run has no tower of mobility, nor a teacher that was one, and where
    its flows are the user's. `config`: of the run, or the same as read from JSON.
    """
    if config["data"]["name"].split("/")[0] != "us_places":
        return []
    towers = [
        tower.get("data") or {}
        for name, tower in config["towers"].items()
        if (tower.get("module") or name) == "mobility"
    ]
    if not towers and "mobility" in (config.get("taught_by") or ()):
        towers = [{}]
    found = []
    for data in towers:
        if not data.get("graph"):
            kinds = data.get("kinds") or KINDS
            modelled = any(GRAVITY.startswith(kind) for kind in kinds)
            found += [MODELLED] if modelled else []
            counted = any(AIR.startswith(kind) for kind in kinds)
            found += [SHARED_OUT] if counted else []
    return list(dict.fromkeys(found))


def mark(config: Mapping[str, Any]) -> str:
    """MARK where a run learned from modelled flows, else ""."""
    return MARK if MODELLED in cautions(config) else ""


class Edges(NamedTuple):
    """Directed flows between nodes: int64 (e,), int64 (e,), float64 (e,)."""

    origin: np.ndarray
    destination: np.ndarray
    weight: np.ndarray


def great_circle_km(straight: np.ndarray) -> np.ndarray:
    """Turn straight distances through the unit sphere into great-circle ones."""
    return 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.minimum(straight / 2, 1.0))


def catchments(
    at_n3: np.ndarray, people_n: np.ndarray, airport_a3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most populous areas around each airport and their shares of its people.

    Returns nodes int64 (a, k) and shares float64 (a, k) that sum to 1, or to 0 where
    nobody lives within AIRPORT_KM; unused places are node 0 with share 0.
    """
    node_ak = np.zeros((len(airport_a3), AREAS), np.int64)
    share_ak = np.zeros((len(airport_a3), AREAS))
    tree = scipy.spatial.KDTree(at_n3)
    around = tree.query_ball_point(airport_a3, splits.chord(AIRPORT_KM))
    for airport, found in enumerate(around):
        near = np.array(sorted(found), np.int64)
        top = near[np.argsort(-people_n[near], kind="stable")[:AREAS]]
        if people_n[top].sum() > 0:
            node_ak[airport, : len(top)] = top
            share_ak[airport, : len(top)] = people_n[top] / people_n[top].sum()
    return node_ak, share_ak


def air(
    at_n3: np.ndarray, people_n: np.ndarray, airport_a3: np.ndarray, flights: Edges
) -> Edges:
    """Share the flights of each pair of airports among the areas around both.

    Every pair of areas gets the count times both shares, so a pair of airports that
    both have areas keeps its count, but for what would stay within one area.
    """
    node_ak, share_ak = catchments(at_n3, people_n, airport_a3)
    origin_ek, destination_ek = node_ak[flights.origin], node_ak[flights.destination]
    out_ek, in_ek = share_ak[flights.origin], share_ak[flights.destination]
    weight_ekk = flights.weight[:, None, None] * out_ek[:, :, None] * in_ek[:, None]
    origin_ekk = np.broadcast_to(origin_ek[:, :, None], weight_ekk.shape)
    destination_ekk = np.broadcast_to(destination_ek[:, None], weight_ekk.shape)
    moves = (weight_ekk > 0) & (origin_ekk != destination_ekk)
    return Edges(origin_ekk[moves], destination_ekk[moves], weight_ekk[moves])


def gravity(at_n3: np.ndarray, people_n: np.ndarray, chunk: int = 2048) -> Edges:
    """Modelled flows p_i p_j / d^2 to the NEIGHBOURS strongest areas within 100 km.

    Scaled so that all flows together are as many as there are people. Areas without
    people have none.
    """
    tree, found = scipy.spatial.KDTree(at_n3), []
    for start in range(0, len(at_n3), chunk):
        rows = scipy.spatial.KDTree(at_n3[start : start + chunk])
        pairs = rows.sparse_distance_matrix(
            tree, splits.chord(GRAVITY_KM), output_type="ndarray"
        )
        i, j = pairs["i"] + start, pairs["j"].astype(np.int64)
        km = np.maximum(great_circle_km(pairs["v"]), CLOSEST_KM)
        weight = people_n[i] * people_n[j] / km**2
        kept = np.flatnonzero((weight > 0) & (i != j))
        kept = kept[np.lexsort((j[kept], -weight[kept], i[kept]))]
        first = np.searchsorted(i[kept], i[kept])
        kept = kept[np.arange(len(kept)) - first < NEIGHBOURS]
        found.append(Edges(i[kept], j[kept], weight[kept]))
    origin, destination, weight = map(np.concatenate, zip(*found, strict=True))
    total = max(weight.sum(), np.finfo(np.float64).tiny)
    return Edges(origin, destination, weight / total * people_n.sum())
