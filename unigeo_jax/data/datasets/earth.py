# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`earth`: 60,000 places on land, seen in several ways, from the bundle.

Region scale: the sharpest image has 7.4 km a pixel. The street view is *rendered*
from the image and the heights. The graph is that of 305 airports and the flights
between them (US domestic, 2008, counted). See the data card of the bundle.
"""

import functools
import pathlib
from typing import Any

import numpy as np

from unigeo_jax.data import graph, splits
from unigeo_jax.data.datasets import building, chunks, earth_crops, sights, us_flows

CONFIGS = ("full", "tiny")
TINY = {"train": 256, "val": 96, "test": 96, "near": 64}
CHUNK = 256


def version() -> str:
    """Version of the builder and, as last number, a hash of the bundle's manifest."""
    return building.bundle_version("1.3")


def plan(config: str) -> dict[str, np.ndarray]:
    """Anchor numbers of each split in record order.

    The order is that of a hash, so that any prefix of a split is a random sample.
    """
    anchors, places = earth_crops.table("anchors.npz"), earth_crops.table("places.npz")
    airports = earth_crops.table("airports.npz")
    lat, lon = anchors["lat"].astype(np.float64), anchors["lon"].astype(np.float64)
    chosen = splits.choose(
        lat, lon, places["lat"], places["lon"], airports["lat"], airports["lon"]
    )
    split_i = splits.assign(lat[chosen], lon[chosen])
    order = np.argsort(splits.hash_places("earth-order", lat[chosen], lon[chosen]))
    found = {}
    for split in splits.SPLITS:
        anchor_i = chosen[order[split_i[order] == split]]
        found[split] = anchor_i[: TINY[split]] if config == "tiny" else anchor_i
    return found


def _features() -> dict[str, Any]:
    import tensorflow_datasets as tfds

    def tensor(*shape):
        return tfds.features.Tensor(shape=shape, dtype=np.float32, encoding="bytes")

    return sights.features() | {
        "place": np.int64,
        "cell": np.int64,
        "block": np.int32,
        "koppen": np.int32,
        "climate": tensor(6),
        "demographics": tensor(46),
        "population_100km": np.float32,
        "node": np.int64,
    }


def index(anchor_i: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays that say where some anchors are, and what hides with them."""
    anchors = earth_crops.table("anchors.npz")
    lat_i = anchors["lat"][anchor_i].astype(np.float64)
    lon_i = anchors["lon"][anchor_i].astype(np.float64)
    cell_i, block_i = splits.cell_ids(lat_i, lon_i), splits.block_ids(lat_i, lon_i)
    return {"lat": lat_i, "lon": lon_i, "cell": cell_i, "block": block_i}


def content(config: str, workers: int) -> building.Content:
    """What the dataset holds; `workers` processes make it, 0 = this one."""
    anchors = plan(config)
    jobs = [
        anchor_i[start : start + CHUNK]
        for anchor_i in anchors.values()
        for start in range(0, len(anchor_i), CHUNK)
    ]
    flights = earth_crops.table("flights.npz")
    return building.Content(
        index={split: index(anchor_i) for split, anchor_i in anchors.items()},
        features=_features(),
        chunks=functools.partial(chunks.stream, "earth_chunks", jobs, workers),
        description=__doc__ or "",
        metadata=sights.metadata(),
        graph=functools.partial(
            graph.write,
            origin=flights["origin"],
            destination=flights["destination"],
            weight=flights["count"],
            nodes=len(earth_crops.table("airports.npz")["iata"]),
            kinds=[us_flows.AIR],
        ),
    )


def build(data_dir=None, config: str = "full", workers: int = 2) -> pathlib.Path:
    """Build the dataset unless it is there, and return its folder.

    Args:
      data_dir: folder of all datasets; default: see `datasets.default_data_dir`.
      config: `full`, or `tiny` for at most 512 places.
      workers: processes that make records; 0 makes them in this one.

    Raises:
      ValueError: unknown config.
    """
    if config not in CONFIGS:
        raise ValueError(
            f"dataset earth: config {config!r}, allowed {', '.join(CONFIGS)}"
        )
    make = functools.partial(content, config, workers if config == "full" else 0)
    return building.make_once("earth", config, version(), make, data_dir)
