# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings that belong to known places, such as the nodes of a graph, for probes.

A tower that is not fed by coordinates has no vector for any point on Earth, only for
the places of its dataset: `lookup` makes an encoder of those, for labels at the very
same places. Letters: `n` places, `d` features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.spatial

from unigeo_jax.data import datasets, graph, splits
from unigeo_jax.data.datasets import us_flows
from unigeo_jax.evals import baselines, entries

Covers = Callable[[np.ndarray, np.ndarray], bool]
SPLITS = splits.SPLITS
SAME_KM = 0.02  # degrees as float32 round to less than this


class Nodes(NamedTuple):
    """Places with vectors: degrees, {modality: (n, d)}, and where each is present."""

    lat: np.ndarray
    lon: np.ndarray
    z: Mapping[str, np.ndarray]
    here: Mapping[str, np.ndarray]


def join(galleries: Iterable[Any]) -> Nodes:
    """Puts the galleries of several splits (lat, lon, z, here) one behind another."""
    parts = list(galleries)
    names = list(parts[0].z)
    return Nodes(
        np.concatenate([p.lat for p in parts]),
        np.concatenate([p.lon for p in parts]),
        {name: np.concatenate([p.z[name] for p in parts]) for name in names},
        {name: np.concatenate([p.here[name] for p in parts]) for name in names},
    )


def fuse(nodes: Nodes, names: Sequence[str]) -> np.ndarray:
    """Mean of the unit vectors of `names` that a place has: (n, d), 0 without any."""
    z_mnd = np.stack([nodes.z[name] for name in names])
    here_mn = np.stack([nodes.here[name] for name in names])
    count_n = np.maximum(here_mn.sum(0), 1)
    return (z_mnd * here_mn[..., None]).sum(0) / count_n[:, None]


def present(nodes: Nodes, name: str) -> np.ndarray:
    """Vectors of one modality: (n, d), 0 where a place lacks it."""
    return fuse(nodes, [name])


def lookup(lat_n: np.ndarray, lon_n: np.ndarray, z_nd: np.ndarray) -> baselines.Embed:
    """Returns (lat, lon) -> rows of `z_nd`: those of the place at this very point.

    Places at one point (within 20 m) are averaged. The encoder raises ValueError naming
    the first point at which there is none.
    """
    tree = scipy.spatial.KDTree(splits.unit_vectors(lat_n, lon_n))
    radius = SAME_KM / splits.EARTH_RADIUS_KM

    def embed(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        found = tree.query_ball_point(splits.unit_vectors(lat, lon), radius)
        for row, near in enumerate(found):
            if not near:
                raise ValueError(
                    f"nodes: none of {len(lat_n):,} at lat={lat[row]}, lon={lon[row]};"
                    " allowed: labels at the places that were embedded"
                )
        if all(len(near) == 1 for near in found):
            return z_nd[[near[0] for near in found]]
        return np.stack([z_nd[near].mean(0) for near in found])

    return embed


def each_covered(lat_n: np.ndarray, lon_n: np.ndarray) -> baselines.Embed:
    """Returns (lat, lon) -> bool (m,): at which of these points there is a place."""
    tree = scipy.spatial.KDTree(splits.unit_vectors(lat_n, lon_n))
    radius = SAME_KM / splits.EARTH_RADIUS_KM

    def covered(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        at = splits.unit_vectors(lat, lon)
        away, _ = tree.query(at, distance_upper_bound=radius)
        return np.isfinite(away)

    return covered


def covers(lat_n: np.ndarray, lon_n: np.ndarray) -> Covers:
    """Returns (lat, lon) -> whether there is a place at all of these points."""
    covered = each_covered(lat_n, lon_n)
    return lambda lat, lon: bool(covered(lat, lon).all())


def located(name: str, data_dir: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """lat, lon in degrees of the places of all splits that are nodes of the graph."""
    fields, found = ("lat", "lon", "node"), []
    folder = datasets.find(name, data_dir)
    for split in SPLITS:
        if (folder / f"index-{split}.npz").exists():
            source, _ = datasets.load(name, split, data_dir, fields)
            records = datasets.readable(source, range(len(source)))
            found += [[record[key] for key in fields] for record in records]
    lat_n, lon_n, node_n = np.array(found).T
    return lat_n[node_n >= 0], lon_n[node_n >= 0]


def encoders(
    nodes: Nodes, prefix: str = "", saw: tuple[str, ...] = (), mark: str = ""
) -> list[entries.Encoder]:
    """What a probe may read at these places: towers alone, and means of them.

    coords and mobility alone, "all towers", and where there is mobility "all but
    mobility". `saw` is that of `entries.Encoder`; `mark` stands behind "mobility".
    """
    towers = list(nodes.z)
    names = {"coords": "coords", "mobility": f"mobility{mark}"}
    sets = {label: [tower] for tower, label in names.items() if tower in towers}
    sets["all towers"] = towers
    if "mobility" in towers:
        sets["all but mobility"] = [t for t in towers if t != "mobility"]
    at = (nodes.lat, nodes.lon)
    return [
        entries.Encoder(
            *(prefix + label, lookup(*at, fuse(nodes, members)), saw),
            covers=covers(*at),
        )
        for label, members in sets.items()
    ]


def raw(name: str, data_dir: Any = None) -> list[entries.Encoder]:
    """What the towers are given, not encoded: figures of a place, sums of its flows.

    Figures are arcsinh of `demographics` and `night_light`, and which are known; flows
    are log1p of the weight and number of edges, out and in, of the dataset's graph.
    """
    fields = ("lat", "lon", "node", "demographics", "night_light")
    records = []
    for split in SPLITS:
        source, _ = datasets.load(name, split, data_dir, fields)
        records += datasets.readable(source, range(len(source)))
    lat, lon, node = (np.array([r[k] for r in records]) for k in fields[:3])
    figures = [np.append(r["demographics"], r["night_light"]) for r in records]
    known = np.isfinite(figures)
    values = np.arcsinh(np.where(known, figures, 0))
    parts = {"raw figures": np.concatenate([values, known], 1)}
    flows = graph.read(datasets.find(name, data_dir) / "graph")
    origin_e = np.repeat(np.arange(flows.nodes), np.diff(flows.indptr_n))
    sums = [
        np.bincount(end_e, weight_e, minlength=flows.nodes)
        for end_e in (origin_e, flows.indices_e)
        for weight_e in (flows.weight_e, None)
    ]
    alone, both = f"raw flows{us_flows.MARK}", f"raw figures, flows{us_flows.MARK}"
    parts[alone] = np.where((node >= 0)[:, None], np.log1p(sums).T[node], 0)
    parts[both] = np.concatenate([*parts.values()], 1)
    saw = ("demographics", "mobility", "nightlights", "population")
    return [
        entries.Encoder(
            *(label, lookup(lat, lon, x.astype(np.float32)), saw),
            covers=covers(lat, lon),
        )
        for label, x in parts.items()
    ]
