# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the records of a user's places: the transform that worker processes run."""

import functools
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet

from unigeo_jax import coordinates
from unigeo_jax.data import heights, splits
from unigeo_jax.data.datasets.chunks import Columns
from unigeo_jax.data.own import photos, problems, rasters, shards, statistics

JOB, PLACES = "job.json", "places.parquet"
CHUNK = 256
PICTURES = {"aerial": 3, "night": 1}  # rasters that become pictures, channels
VOIDS = {"int16": -32768, "uint16": 65535}
Place = dict[str, Any]


def stored(dtype: np.dtype) -> tuple[str, float]:
    """Type in which the bands of a raster are stored, and what stands for no data."""
    if dtype == np.uint8:
        return "int16", -32768
    if str(dtype) in VOIDS:
        return str(dtype), VOIDS[str(dtype)]
    return "float32", math.nan


def fields_of(job: dict[str, Any]) -> dict[str, shards.Field]:
    """How the fields of a job's records are stored."""
    field = shards.Field
    degrees = field("array", (), "float64")
    found = {"place": field("integer"), "id": field("text")}
    found |= {"lat": degrees, "lon": degrees}
    found |= {"cell": field("integer"), "block": field("integer")}
    kinds = {"text": "text", "poi": "text", "region": "text", "node": "integer"}
    found |= {n: field(kind) for n, kind in kinds.items() if n in job["columns"]}
    if "time" in job["columns"]:
        found |= {"year": field("number"), "month": field("number")}
    if job["demographics"]:
        found["demographics"] = field("array", (job["demographics"],))
    for name, width in job.get("vectors", {}).items():
        found[name] = field("array", (width,))
    for name in ("aerial", "street"):
        if name in job["photos"]:
            height = job["photos"][name]["height"] if name == "aerial" else None
            shape = (height, job["photos"][name]["width"], 3)
            found[name] = field("image", shape, format="jpeg")
    for given in job["sources"]:
        source, side = rasters.Source(**given), given["size"]
        if source.name in PICTURES:
            found[source.name] = field("image", (side, side, PICTURES[source.name]))
        elif source.name == "dsm":
            found["dsm"] = field("array", (side, side))
        else:
            shape = (side, side, len(source.bands))
            found[source.name] = field("array", shape, job["stored"][source.name][0])
    return found


class Maker:
    """Makes the records of a job; see `workers`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.job: dict[str, Any] = json.loads((folder / JOB).read_text("utf-8"))
        self.fields = fields_of(self.job)
        self._root: str = self.job["root"]
        self._table = pyarrow.parquet.read_table(folder / PLACES)
        sources = [rasters.Source(**given) for given in self.job["sources"]]
        self._rasters = [
            (s, None if s.path.startswith(rasters.COLUMN) else rasters.Raster(s))
            for s in sources
        ]
        self._reset()

    def _reset(self) -> None:
        self._found, self._tally = problems.Problems(), statistics.Tally()

    def notes(self) -> dict[str, Any]:
        """Problems and statistics since the last call."""
        notes = {"problems": self._found.plain(), "tally": self._tally.plain()}
        self._reset()
        return notes

    def chunks(self, shard: shards.Shard) -> Iterator[Columns]:
        """Columns of the records of a shard."""
        for start in range(shard.start, shard.stop, CHUNK):
            stop = min(start + CHUNK, shard.stop)
            places = self._table.slice(start, stop - start).to_pylist()
            yield self._make(start, places)

    def _make(self, start: int, places: list[Place]) -> Columns:
        lat_i = np.array([p["lat"] for p in places], np.float64)
        lon_i = np.array([p["lon"] for p in places], np.float64)
        columns: Columns = {
            "place": np.arange(start, start + len(places)),
            "id": [p["id"].encode() for p in places],
            **{"lat": lat_i, "lon": lon_i},
            "cell": np.array([p["cell_number"] for p in places], np.int64),
            "block": np.array([p["block_number"] for p in places], np.int64),
        }
        for name in ("text", "poi", "region"):
            if name in self.fields:
                columns[name] = [(p.get(name) or "").encode() for p in places]
                self._tally.seen(name, sum(bool(c) for c in columns[name]))
                lengths = [[float(len(c))] for c in columns[name] if c]
                self._tally.add(name, np.array(lengths).reshape(-1, 1))
        if "node" in self.fields:
            columns["node"] = np.array([p["node"] for p in places], np.int64)
            self._tally.seen("node", int((columns["node"] >= 0).sum()))
        if "year" in self.fields:
            columns |= self._times(places)
        if "demographics" in self.fields:
            width = self.job["demographics"]
            columns["demographics"] = self._lists("demographics", width, places)
            self._tally.add("demographics", columns["demographics"])
        for name, width in self.job.get("vectors", {}).items():
            columns[name] = self._lists(name, width, places)
        for name in self.job["photos"]:
            make = functools.partial(self._photo, name)
            columns[name] = [make(place) for place in places]
        for source, raster in self._rasters:
            if raster is None:
                cut = rasters.cut_files(source, places, self._root)
            else:
                cut = raster.cut(lat_i, lon_i)
            columns[source.name] = self._chips(source, places, cut)
        return columns

    def _times(self, places: list[Place]) -> Columns:
        pairs = []
        for place in places:
            try:
                pairs.append(coordinates.year_and_month(place["time"]))
            except ValueError as error:
                pairs.append((math.nan, math.nan))
                self._found.add(place["row"], "time", "no date", "masked", str(error))
        year_i, month_i = np.array(pairs, np.float32).T
        self._tally.seen("time", int(np.isfinite(year_i).sum()))
        self._tally.add("time", np.stack([year_i, month_i], 1))
        return {"year": year_i, "month": month_i}

    def _lists(self, name: str, width: int, places: list[Place]) -> np.ndarray:
        """Lists of `width` numbers, NaN where a place has none or another number."""
        out = np.full((len(places), width), np.nan, np.float32)
        for row, place in enumerate(places):
            given = place.get(name) or []
            if len(given) == width:
                out[row] = given
            elif given:
                what = f"{len(given)} numbers, allowed: {width}"
                self._found.add(
                    *(place["row"], name, "wrong number of figures", "masked", what)
                )
        self._tally.seen(name, int(np.isfinite(out).any(1).sum()))
        return out

    def _photo(self, name: str, place: Place) -> bytes:
        """A place's pictures, one below the other, encoded; b"" for none."""
        how, views = self.job["photos"][name], []
        height, width = how["height"], how["width"]
        for path in place[name][: how["views"]]:
            try:
                data = photos.load(self._root, path)
                pixels, repaired = photos.decode(data, (height, width))
            except photos.Unusable as error:
                self._found.add(place["row"], name, str(error), "masked", path)
                continue
            for what in repaired:
                self._found.add(place["row"], name, what, "repaired", path)
            views.append(photos.fit(pixels, height, width))
            if how["views"] == 1 and photos.is_plain_jpeg(data, height, width):
                self._colours(name, views[0])
                return data
        if not views:
            return b""
        stack = np.concatenate(views)
        self._colours(name, stack)
        return photos.encode(stack, "jpeg")

    def _colours(self, name: str, pixels: np.ndarray) -> None:
        self._tally.seen(name)
        channels = np.ascontiguousarray(pixels[::4, ::4].transpose(2, 0, 1))
        self._tally.add(name, channels.reshape(len(channels), -1).T)

    def _chips(
        self,
        source: rasters.Source,
        places: list[Place],
        cut: Iterator[tuple[np.ndarray, np.ndarray, str]],
    ) -> list[Any]:
        """A raster's chips as they are stored: bytes of pictures, arrays of others."""
        name, out = source.name, []
        for place, (chip, valid, why) in zip(places, cut, strict=True):
            if why:
                kind, _, what = why.partition(": ")
                self._tally.seen(f"{name}-{kind}")
                if what:
                    self._found.add(place["row"], name, "no chip", "masked", what)
                if why == "nodata":
                    kind = "no data in most of the chip"
                    self._found.add(place["row"], name, kind, problems.ABSENT)
                out.append(self._void(name))
                continue
            self._tally.seen(name)
            if name in PICTURES:
                pixels = rasters.picture(chip, valid, source)
                if pixels.shape[-1] != PICTURES[name]:
                    pixels = np.repeat(pixels[..., :1], PICTURES[name], -1)
                self._tally.add(name, pixels.reshape(-1, pixels.shape[-1]))
                out.append(photos.encode(pixels, "png"))
            else:
                out.append(self._numbers(name, chip, valid))
        return out

    def _numbers(self, name: str, chip: np.ndarray, valid: np.ndarray) -> np.ndarray:
        whole = chip.dtype.kind == "f" and valid.all()
        values = chip if whole else np.where(valid, chip, np.nan)
        if name == "dsm":
            values = values[..., 0]
            some = values[::2, ::2].ravel()  # as of colours: enough for statistics
            known = some if whole else some[np.isfinite(some)]
            relief = some - heights.median(known) if len(known) else some
            self._tally.add("dsm", np.stack([some, relief]).T)
            return values.astype(np.float32)
        self._tally.add(name, values.reshape(-1, values.shape[-1]))
        dtype, void = self.job["stored"][name]
        if dtype == "float32":
            return values.astype(np.float32)
        limits = np.iinfo(dtype)
        low, high = limits.min + (void == limits.min), limits.max - (void == limits.max)
        kept = np.clip(np.rint(np.where(valid, values, 0)), low, high)
        return np.where(valid, kept, void).astype(dtype)

    def _void(self, name: str) -> Any:
        if name in PICTURES:
            return b""
        field = self.fields[name]
        void = math.nan if name == "dsm" else self.job["stored"][name][1]
        return np.full([n or 0 for n in field.shape], void, field.dtype)


def cells(places: list[Place], lat_n, lon_n) -> np.ndarray:
    """Cell of each place: a hash of the column cell, else one a point (11 m)."""
    if any(p.get("cell") for p in places):
        names = (p.get("cell") or p["id"] for p in places)
        return (splits.hash64(names) >> np.uint64(1)).astype(np.int64)
    return splits.point_cells(lat_n, lon_n)
