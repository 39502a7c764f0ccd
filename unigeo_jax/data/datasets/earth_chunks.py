# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the records of `earth` chunk by chunk, here or in worker processes.

A worker is a fresh interpreter that runs this file's `main`, reads what to do from
its standard input and streams chunks to its standard output. So a build started from
any script or notebook neither imports that script again nor forks a process that
holds threads.
"""

import io
import itertools
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

import h3
import numpy as np
import PIL.Image

from unigeo_jax.data import images, splits
from unigeo_jax.data.datasets import earth_captions, earth_crops, earth_render

AERIAL, NIGHT, DSM = 36, 16, 36  # pixels a side; aerial and dsm with a margin of 2
Columns = dict[str, np.ndarray | list[bytes]]


def scene(lats, camera: earth_render.Camera) -> earth_render.Scene:
    """The real world at the grid of the heights, for rays cast from some latitudes."""
    height_m = earth_crops.elevation()
    size = height_m.shape[::-1]
    box = PIL.Image.Resampling.BOX
    blue = PIL.Image.fromarray(earth_crops.raster("blue_marble.jpg")).resize(size, box)
    wet = PIL.Image.fromarray(
        (earth_crops.raster("landcover.png") == 0).view(np.uint8) * 255
    )
    water = np.asarray(wet.resize(size, box)) > 127
    return earth_render.Scene(height_m, np.asarray(blue), water, lats, camera)


class Maker:
    """Makes the records of chunks of places."""

    def __init__(self, lats) -> None:
        self.camera = earth_render.Camera()
        self._scene = scene(lats, self.camera)
        self._places = earth_crops.Places()
        self._captions = earth_captions.Writer(self._places)
        self._aerial = earth_crops.raster("blue_marble.jpg")
        self._night = np.ascontiguousarray(
            earth_crops.raster("black_marble.jpg")[..., :1]
        )
        self._height_m = earth_crops.surface()

    def make(self, anchor_i: np.ndarray) -> Columns:
        """Columns of the records of some anchors, images already encoded."""
        anchors = earth_crops.table("anchors.npz")
        lat_i = anchors["lat"][anchor_i].astype(np.float64)
        lon_i = anchors["lon"][anchor_i].astype(np.float64)
        koppen_i = anchors["koppen"][anchor_i].astype(np.int32)
        pairs = list(zip(lat_i.tolist(), lon_i.tolist(), strict=True))
        return {
            "place": anchor_i.astype(np.int64),
            "lat": lat_i,
            "lon": lon_i,
            "cell": splits.cell_ids(lat_i, lon_i),
            "h3": np.array(
                [h3.str_to_int(h3.latlng_to_cell(*at, 5)) for at in pairs], np.int64
            ),
            "block": splits.block_ids(lat_i, lon_i),
            "koppen": np.where(koppen_i == 255, -1, koppen_i).astype(np.int32),
            "climate": anchors["climate"][anchor_i].astype(np.float32),
            "airport": earth_crops.nearest_airport(lat_i, lon_i),
            "ndvi": earth_crops.ndvi(lat_i, lon_i),
            **self._pictures(lat_i, lon_i),
            **self._people(lat_i, lon_i),
        }

    def _pictures(self, lat_i, lon_i) -> Columns:
        night = earth_crops.crops(self._night, lat_i, lon_i, NIGHT)
        light_i = earth_crops.crops(self._night, lat_i, lon_i, 3).mean((1, 2, 3))
        cover_i, shares_ic = earth_crops.land_cover_fractions(lat_i, lon_i)
        columns = {"aerial": earth_crops.crops(self._aerial, lat_i, lon_i, AERIAL)}
        columns |= {"night": night, "street": self._street(lat_i, lon_i)}
        encoded = {k: [images.encode_png(p) for p in v] for k, v in columns.items()}
        return encoded | {
            "dsm": earth_crops.crops(self._height_m, lat_i, lon_i, DSM),
            "night_light": light_i.astype(np.float32),
            "landcover": cover_i,
            "landcover_fractions": shares_ic,
        }

    def _street(self, lat_i, lon_i) -> np.ndarray:
        """All rendered views of each place, one below the other."""
        views = self.camera.views
        seed_i = splits.hash_places("earth-street", lat_i, lon_i)
        jitter, heading = earth_render.jitters(seed_i, self.camera)
        seen = self._scene.render(
            np.repeat(lat_i, views),
            np.repeat(lon_i, views),
            jitter.reshape(-1, 2),
            heading.reshape(-1),
        )
        return seen.reshape(len(lat_i), -1, *seen.shape[2:])

    def _people(self, lat_i, lon_i) -> Columns:
        """Captions, country and what is counted around each place."""
        places = self._places
        within = {km: places.within(lat_i, lon_i, km) for km in (25.0, 100.0)}
        sums = {k: [places.population[n].sum() for n in v] for k, v in within.items()}
        counts = {k: [len(n) for n in v] for k, v in within.items()}
        areas = np.log1p([sums[25.0], counts[25.0], sums[100.0], counts[100.0]]).T
        captions = self._captions.write(lat_i, lon_i, within[100.0])

        km_i1, nearest_i1 = places.nearest(lat_i, lon_i, 1)
        km_i, nearest_i = np.reshape(km_i1, -1), np.reshape(nearest_i1, -1)
        codes = [places.country_codes[c] for c in places.country[nearest_i]]
        codes = [
            c if km <= earth_crops.TEXT_REACH_KM else ""
            for c, km in zip(codes, km_i, strict=True)
        ]
        known = [earth_captions.countries().get(code, {}) for code in codes]
        unknown = np.full(42, np.nan)
        ages = [c.get("age_histogram") or unknown for c in known]

        place_m = places.elevation_m[nearest_i].astype(np.float32)
        cell_i = splits.cell_ids(places.lat[nearest_i], places.lon[nearest_i])
        inside_i = cell_i == splits.cell_ids(lat_i, lon_i)
        inside_i &= place_m > earth_crops.VOID_M
        map_m = earth_crops.crops(self._height_m, lat_i, lon_i, 1)[:, 0, 0]
        map_m = np.where(map_m == earth_crops.VOID_M, np.nan, map_m)
        return {
            "text": [text.encode() for text, _ in captions],
            "text_masked": [masked.encode() for _, masked in captions],
            "country": [code.encode() for code in codes],
            "continent": [(c.get("continent") or "").encode() for c in known],
            "demographics": np.concatenate([areas, ages], 1).astype(np.float32),
            "population_100km": np.array(sums[100.0], np.float32),
            "elevation_m": np.where(inside_i, place_m, map_m).astype(np.float32),
        }


def pack(columns: Columns) -> bytes:
    """Turn columns into bytes; lists of bytes become one array and its lengths."""
    arrays = {}
    for name, column in columns.items():
        if isinstance(column, list):
            arrays[name] = np.frombuffer(b"".join(column), np.uint8)
            column, name = (
                np.array([len(part) for part in column], np.int64),
                name + "/lengths",
            )
        arrays[name] = column
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def unpack(data: bytes) -> Columns:
    """Undo `pack`."""
    columns: Columns = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in arrays.files:
            if name.endswith("/lengths"):
                continue
            if name + "/lengths" not in arrays.files:
                columns[name] = arrays[name]
                continue
            ends = np.cumsum(arrays[name + "/lengths"]).tolist()
            joined = arrays[name].tobytes()
            columns[name] = [
                joined[a:b] for a, b in zip([0, *ends], ends, strict=False)
            ]
    return columns


def main() -> None:
    """Be a worker: npz with `anchor` and `chunk` in, length-prefixed chunks out."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the stream
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as job:
        anchor_i, bounds = job["anchor"], job["bounds"]
    maker = Maker(np.unique(earth_crops.table("anchors.npz")["lat"][anchor_i]))
    for start, stop in itertools.pairwise(bounds):
        data = pack(maker.make(anchor_i[start:stop]))
        out.write(len(data).to_bytes(8, "big"))
        out.write(data)
        out.flush()


def _start_worker(chunks: Sequence[np.ndarray]) -> subprocess.Popen[bytes]:
    root = str(pathlib.Path(__file__).parents[3])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = f"from {__name__} import main; main()"
    worker = subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    job = io.BytesIO()
    bounds = np.cumsum([0, *map(len, chunks)])
    np.savez(job, anchor=np.concatenate(chunks), bounds=bounds)
    assert worker.stdin
    worker.stdin.write(job.getvalue())
    worker.stdin.close()
    return worker


def stream(chunks: Sequence[np.ndarray], workers: int) -> Iterator[Columns]:
    """Yield the columns of each chunk of anchors, in order.

    Args:
      chunks: anchor numbers of each chunk.
      workers: processes that make them; 0 makes them here.

    Raises:
      RuntimeError: a worker ended before its work was done.
    """
    if not workers:
        maker = Maker(earth_crops.table("anchors.npz")["lat"][np.concatenate(chunks)])
        yield from map(maker.make, chunks)
        return
    running = [
        _start_worker(chunks[w::workers]) for w in range(min(workers, len(chunks)))
    ]
    try:
        for number in range(len(chunks)):
            pipe = running[number % len(running)].stdout
            assert pipe
            length = int.from_bytes(pipe.read(8), "big")
            data = pipe.read(length)
            if not length or len(data) != length:
                raise RuntimeError(
                    f"earth: worker {number % len(running)} of {len(running)} ended"
                    f" before chunk {number} of {len(chunks)} was made;"
                    " its message is above"
                )
            yield unpack(data)
    finally:
        for worker in running:
            worker.kill()
            worker.wait()
            if worker.stdout:
                worker.stdout.close()
