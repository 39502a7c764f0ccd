# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`planet`: a *synthetic* world of any size, whose answer is known.

`planet/PLACES`, `planet/PLACESxPIXELS`, or either with `-SEED` behind: `planet` is
`planet/20000x36`. A hidden field drives all eight modalities (`planet_fields`); it is
the field `hidden` of every record and the targets of the folder `tasks`. The dataset's
folder holds where the places are, their splits and their graph, 60 bytes a place:
records are computed when they are read, so a million places cost no disk.
"""

import json
import os
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.spatial

from unigeo_jax.data import datasets, graph, splits
from unigeo_jax.data.datasets import building, planet_fields

VERSION = "1.0.0"
DEFAULT = "20000x36"
INFO = "planet.json"
NEAR, BLOCK_DEG = 2000, 10
LABELLED = 6000  # places in the tasks
SAMPLE = 500  # training places that the statistics are of
NEIGHBOURS, ALIKE = 4, 2  # edges of a node: to near places, to places like it


def parse(config: str) -> tuple[int, int, int]:
    """Places, pixels and seed of `PLACES[xPIXELS][-SEED]`.

    Raises:
      ValueError: another form, fewer than 256 places, pixels below 16 or above 1024.
    """
    found = re.fullmatch(r"(\d{1,9})(?:x(\d{1,4}))?(?:-(\d{1,6}))?", config)
    places, side, seed = (int(n or 0) for n in found.groups()) if found else (0, 0, 0)
    side = side or 36
    if places < 256 or not 16 <= side <= 1024:
        raise ValueError(
            f"dataset planet: config {config!r}; allowed: PLACES[xPIXELS][-SEED], 256"
            " places or more of 16 to 1024 pixels, as planet/1000000x36"
        )
    return places, side, seed


class Records(Sequence):
    """The records of one split, each computed when it is read.

    Args:
      folder: of the dataset. split: to read. fields: to compute, None = all.

    Raises:
      ValueError: unknown split or field.
    """

    def __init__(self, folder: pathlib.Path, split: str, fields=None) -> None:
        about = json.loads((folder / INFO).read_text("utf-8"))
        path = folder / f"number-{split}.npy"
        if not path.is_file():
            allowed = ", ".join(about["splits"])
            raise ValueError(f"dataset planet: split {split!r}, allowed {allowed}")
        known = planet_fields.FIELDS
        self._fields = known if fields is None else tuple(fields)
        if unknown := sorted(set(self._fields) - set(known)):
            raise ValueError(
                f"dataset planet: fields {unknown}, allowed {', '.join(known)}"
            )
        self._number_n = np.load(path, allow_pickle=False)
        self._seed, self._side = about["seed"], about["side"]

    def __len__(self) -> int:
        return len(self._number_n)

    def __getitem__(self, number):
        place = int(self._number_n[number])
        shown = planet_fields.Place(self._seed, place, self._side)
        return {name: shown.field(name) for name in self._fields}


def build(data_dir=None, config: str = DEFAULT) -> pathlib.Path:
    """Build the dataset unless it is there, and return its folder.

    Args:
      data_dir: folder of all datasets; default: see `datasets.default_data_dir`.
      config: see `parse`.

    Raises:
      ValueError: unknown config.
    """
    places, side, seed = parse(config)
    root = pathlib.Path(data_dir or datasets.default_data_dir()).expanduser()
    folder = root / "planet" / config / VERSION
    if (folder / INFO).is_file():
        return folder
    with building.locked(root / "planet" / f".lock-{config}", "planet"):
        if (folder / INFO).is_file():
            return folder
        made = root / "planet" / f".building-{config}"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        counts = _where(made, places, seed)
        about = {"seed": seed, "side": side, "splits": counts, "synthetic": True}
        (made / INFO).write_text(json.dumps(about), "utf-8")
        statistics = _statistics(made, counts, side)
        (made / "statistics.json").write_text(json.dumps(statistics), "utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, folder)
    return folder


def _where(folder: pathlib.Path, places: int, seed: int) -> dict[str, int]:
    """Write numbers and index of every split, graph and tasks; return the counts."""
    number_n = np.arange(places)
    lat_n, lon_n = planet_fields.positions(seed, number_n)
    near = min(NEAR, places // 20)
    split_n = splits.assign(lat_n, lon_n, near, BLOCK_DEG, f"planet-{seed}")
    block_n = splits.block_ids(lat_n, lon_n, BLOCK_DEG)
    counts = {}
    for split in splits.SPLITS:
        rows = np.flatnonzero(split_n == split)
        if not len(rows):
            continue
        counts[split] = len(rows)
        np.save(folder / f"number-{split}.npy", rows.astype(np.int32))
        np.savez(
            folder / f"index-{split}.npz",
            **{"lat": lat_n[rows], "lon": lon_n[rows], "cell": number_n[rows]},
            block=block_n[rows],
        )
    hidden_nk = planet_fields.hidden(seed, lat_n, lon_n)
    _graph(folder, lat_n, lon_n, hidden_nk)
    _tasks(folder / "tasks", lat_n, lon_n, hidden_nk)
    return counts


def _graph(folder: pathlib.Path, lat_n, lon_n, hidden_nk: np.ndarray) -> None:
    """Flows from every place to its nearest ones and to those most like it."""
    origin, destination, weight = [], [], []
    at_n3 = splits.unit_vectors(lat_n, lon_n)
    for points, edges in ((at_n3, NEIGHBOURS), (hidden_nk, ALIKE)):
        tree: Any = scipy.spatial.KDTree(points)
        near_nj = tree.query(points, k=edges + 1)[1][:, 1:]
        origin.append(np.repeat(np.arange(len(lat_n)), edges))
        destination.append(near_nj.ravel())
        unlike = np.abs(hidden_nk[origin[-1]] - hidden_nk[destination[-1]]).mean(-1)
        weight.append(np.round(100 * np.exp(-unlike)) + 1)
    joined = (np.concatenate(parts) for parts in (origin, destination, weight))
    graph.write(folder / "graph", *joined, nodes=len(lat_n))


def _tasks(folder: pathlib.Path, lat_n, lon_n, hidden_nk: np.ndarray) -> None:
    """The hidden field as tasks of `launch/evaluate.py --tasks`."""
    folder.mkdir()
    names = [f"hidden_{k}" for k in range(hidden_nk.shape[1])]
    rows = np.c_[lat_n, lon_n, hidden_nk][:LABELLED]
    header = ",".join(["lat", "lon", *names])
    np.savetxt(folder / "hidden.csv", rows, "%.6f", ",", header=header, comments="")
    tasks = [
        {"name": n, "file": "hidden.csv", "target": n, "kind": "regression"}
        for n in names
    ]
    (folder / "tasks.json").write_text(json.dumps(tasks), "utf-8")


def _statistics(folder: pathlib.Path, counts: dict[str, int], side: int) -> dict:
    """What `configs/own.py` asks of a dataset; spreads are of a sample."""
    train = Records(folder, "train")
    sample = [train[int(i)] for i in np.linspace(0, len(train) - 1, SAMPLE)]
    dsm = np.stack([r["dsm"] for r in sample if r["dsm"] is not None])
    relief = dsm - np.median(dsm, (1, 2), keepdims=True)
    height, width = planet_fields.view_shape(side)
    shown = 1 - planet_fields.MISSING
    present = {split: int(shown * count) for split, count in counts.items()}

    def field(tower: str, **about: Any) -> dict[str, Any]:
        return {"tower": tower, "present": present} | about

    spread = [float(dsm.std()), float(relief.std())]
    return {
        "name": "planet",
        "version": VERSION,
        "places": counts,
        "fields": {
            "aerial": field("aerial", size=side),
            "street": field("street", height=height, width=width, views=2),
            "dsm": field("dsm", size=side, std=spread),
            "text": field("text"),
            "poi": field("poi"),
            "demographics": field("demographics", width=planet_fields.DEMOGRAPHICS),
            "mobility": field("mobility"),
            "time": field("time"),
        },
        "regions": 1,
        "coords": {
            "extent_km": round(2 * np.pi * splits.EARTH_RADIUS_KM / 2, 1),
            "spacing_km": round(0.5 * (510e6 / sum(counts.values())) ** 0.5, 3),
        },
    }


def records(folder: pathlib.Path, split: str, fields=None) -> Records:
    """The records of a split, for `datasets.load`."""
    return Records(folder, split, fields)
