# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`us_places`: 33,120 ZIP areas of the US as nodes of a mobility graph.

Region scale: the sharpest image has 7.4 km a pixel. The street view is *rendered*.
Flows between near areas are *gravity-modelled*; flights between airports are counted
(2008) and shared among the areas around them. See the data card of the bundle.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unigeo_jax.data import graph, splits
from unigeo_jax.data.datasets import (
    building,
    chunks,
    earth_crops,
    sights,
    us_flows,
    us_zips,
)

CONFIGS = ("full", "tiny")
cautions = us_flows.cautions  # as datasets.cautions finds it
CHUNK = 256


def version() -> str:
    """Version of the builder and, as last number, a hash of the bundle's manifest."""
    return building.bundle_version("1.0")


def flows(row_n: np.ndarray) -> dict[str, Any]:
    """The graph of some rows of the table, as keyword arguments of `graph.write`."""
    table = us_zips.zips()
    airports = earth_crops.table("airports.npz")
    counted = earth_crops.table("flights.npz")
    at_n3 = splits.unit_vectors(table["lat"][row_n], table["lon"][row_n])
    people_n = table["population"][row_n].astype(np.float64)
    airport_a3 = splits.unit_vectors(airports["lat"], airports["lon"])
    flights = us_flows.Edges(
        counted["origin"], counted["destination"], counted["count"].astype(np.float64)
    )
    parts = (
        us_flows.air(at_n3, people_n, airport_a3, flights),
        us_flows.gravity(at_n3, people_n),
    )
    origin, destination, weight = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    return {
        "origin": origin,
        "destination": destination,
        "weight": weight,
        "nodes": len(row_n),
        "kind": np.repeat(np.arange(2, dtype=np.uint8), [len(p.origin) for p in parts]),
        "kinds": us_flows.KINDS,
    }


def _features() -> dict[str, Any]:
    import tensorflow_datasets as tfds

    numbers = tfds.features.Tensor(
        shape=(len(us_zips.DEMOGRAPHICS),), dtype=np.float32, encoding="bytes"
    )
    return sights.features() | {
        "place": np.int64,
        "cell": np.int64,
        "block": np.int32,
        "demographics": numbers,
        "node": np.int64,
    }


def _records(
    rows: Mapping[str, np.ndarray],
    where: Mapping[str, Mapping[str, np.ndarray]],
    workers: int,
) -> Iterator[chunks.Columns]:
    """Columns of all chunks; `node` is a row's number among all rows, sorted."""
    row_n = np.sort(np.concatenate(list(rows.values())))
    parts = [
        (split, slice(start, start + CHUNK))
        for split, row_i in rows.items()
        for start in range(0, len(row_i), CHUNK)
    ]
    jobs = [rows[split][part] for split, part in parts]
    made = chunks.stream("us_chunks", jobs, workers)
    for (split, part), row_i, columns in zip(parts, jobs, made, strict=True):
        yield columns | {
            "node": np.searchsorted(row_n, row_i).astype(np.int64),
            "cell": where[split]["cell"][part],
            "block": where[split]["block"][part],
        }


def content(config: str, workers: int) -> building.Content:
    """What the dataset holds; `workers` processes make it, 0 = this one."""
    rows, table = us_zips.plan(config), us_zips.zips()
    where = {
        split: splits.index(table["lat"], table["lon"], row_i, us_zips.BLOCK_DEG)
        for split, row_i in rows.items()
    }
    return building.Content(
        index=where,
        features=_features(),
        chunks=functools.partial(_records, rows, where, workers),
        description=__doc__ or "",
        metadata=sights.metadata()
        | {
            "demographics": ", ".join(us_zips.DEMOGRAPHICS),
            "node": "row of graph/; ZIP areas by code",
            "place": "ZIP code as a number",
        },
        graph=lambda folder: graph.write(
            folder, **flows(np.sort(np.concatenate(list(rows.values()))))
        ),
    )


def build(data_dir=None, config: str = "full", workers: int = 2) -> pathlib.Path:
    """Build the dataset unless it is there, and return its folder.

    Args:
      data_dir: folder of all datasets; default: see `datasets.default_data_dir`.
      config: `full`, or `tiny` for at most 512 places, which are then all the nodes.
      workers: processes that make records; 0 makes them in this one.

    Raises:
      ValueError: unknown config.
    """
    if config not in CONFIGS:
        raise ValueError(
            f"dataset us_places: config {config!r}, allowed {', '.join(CONFIGS)}"
        )
    make = functools.partial(content, config, workers if config == "full" else 0)
    return building.make_once("us_places", config, version(), make, data_dir)
