# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Building and reading a dataset of own places, beside limits and a torch DataLoader.

python benchmarks/pipeline.py [--places=100000] [--workers=2] [--quick] [--force]

Synthetic 256-pixel JPEGs (2,000 files, used in turn) and a raster of heights become a
dataset with launch/make_dataset.py's code; its training pipeline cuts 224 pixels and
56 of heights. All in one run, with the same number of processes:
- build: places/s, and its share of `code`: JPEG decoded and encoded, heights cut;
- ours: places/s of the training pipeline by processes, and by as many threads; their
  share of `decode`: JPEG decoded only, in memory;
- torch: a DataLoader of files decoded by Pillow, as its tutorials do, and by the
  decoder that we use, cut and turned alike; with `_whole` neither: ours leaves both to
  the device, which is not timed.
Reading takes turns (decode, ours, torch, ...), the median counts. `cpu_ms` is the CPU
time of all processes a place, which other work on the machine disturbs less. Every
process, of all sides, runs as launch/train.py does (unigeo_jax/host.py); with
GLIBC_TUNABLES="" in the environment memory goes back and forth instead.
"""

import importlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from benchmarks import pipeline_worker, protocol
from unigeo_jax import host

PLACES = flags.DEFINE_integer("places", 100_000, "Places to build.", 500)
WORKERS = flags.DEFINE_integer("workers", 2, "Processes of every side.", 1)
BATCH = flags.DEFINE_integer("batch", 128, "Places a batch.", 8)
BATCHES = flags.DEFINE_integer("batches", 60, "Batches a turn.", 4)
REPEATS = flags.DEFINE_integer("repeats", 5, "Turns.", 1)
OUT = flags.DEFINE_string("out", "runs/pipeline.json", "Result.")
QUICK = flags.DEFINE_bool("quick", False, "1,000 places, two turns of few batches.")
FORCE = flags.DEFINE_bool("force", False, "Measure on a busy machine too.")
FILES, PIXELS = 2000, 256
EXTENT = 4000  # pixels a side of the raster of heights, 10 m each


def make_sources(folder: pathlib.Path, places: int) -> list[tuple[float, float]]:
    """Write images, raster and table; positions of the places."""
    import simplejpeg
    from PIL import Image

    from unigeo_jax.data.own import rasters

    rasterio = rasters.library()
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(min(FILES, places)):
        coarse = rng.integers(0, 256, (20, 20, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize(
            (PIXELS, PIXELS), Image.Resampling.BICUBIC
        )
        noise = rng.integers(-12, 13, (PIXELS, PIXELS, 1), np.int16)
        pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
        data = simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")
        (folder / f"images/{number:05d}.jpg").write_bytes(data)
    heights = (
        rng.normal(0, 30, (EXTENT // 50, EXTENT // 50)).repeat(50, 0).repeat(50, 1)
    )
    heights = (heights + rng.normal(0, 1, heights.shape)).astype(np.float32)
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256}
    shape = {"height": EXTENT, "width": EXTENT, "count": 1, "dtype": "float32"}
    to = rasterio.Affine(10, 0, 390_000, 0, -10, 5_320_000)
    with rasterio.open(
        folder / "dem.tif", "w", crs="EPSG:32633", transform=to, **options, **shape
    ) as file:
        file.write(heights[None])
    corner = rng.integers(0, EXTENT - 64, (min(FILES, places), 2))
    np.save(
        folder / "heights.npy",
        np.stack([heights[r : r + 64, c : c + 64] for r, c in corner]),
    )
    x, y = (
        390_000 + rng.uniform(500, 39_500, places),
        5_320_000 - rng.uniform(500, 39_500, places),
    )
    lon, lat = rasterio.warp.transform("EPSG:32633", "EPSG:4326", x, y)
    with open(folder / "places.csv", "w", encoding="utf-8") as table:
        print("id,lat,lon,aerial", file=table)
        for i, (a, b) in enumerate(zip(lat, lon, strict=True)):
            print(f"{i},{a:.7f},{b:.7f},images/{i % FILES:05d}.jpg", file=table)
    return list(zip(lat[:FILES], lon[:FILES], strict=True))


def build(folder: pathlib.Path, places: int) -> dict[str, float]:
    """Build the dataset; places/s and CPU time."""
    from unigeo_jax.data import places as own
    from unigeo_jax.data.own import rasters

    source = rasters.Source("dsm", str(folder / "dem.tif"), bands=(1,), size=64)
    options = own.Options(sources=(source,), split="random", overlap=True)
    before, began = cpu_seconds(), time.perf_counter()
    own.build(folder / "places.csv", folder / "sets", "bench", options, WORKERS.value)
    seconds = time.perf_counter() - began
    return rate(places, seconds, cpu_seconds() - before)


def cpu_seconds() -> float:
    """CPU time of this process and its ended children."""
    parts = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(p.ru_utime + p.ru_stime for p in parts)


def below(pid: int) -> float:
    """CPU time of a process and all that run below it."""
    fields = (
        pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    )
    total = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("utf-8").split():
            total += below(int(child))
    return total


def rate(places: int, seconds: float, cpu: float) -> dict[str, float]:
    return {"places_per_s": places / seconds, "cpu_ms": 1000 * cpu / places}


class Limit:
    """Worker processes that decode, or decode and encode, what is in their memory."""

    def __init__(self, folder: pathlib.Path, at: list[tuple[float, float]]) -> None:
        files = [str(p) for p in sorted(folder.glob("images/*.jpg"))[:500]]
        job = {"files": files, "raster": str(folder / "dem.tif"), "at": at}
        command = [sys.executable, "-m", "benchmarks.pipeline_worker"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._processes = [
            subprocess.Popen(command, cwd=protocol.ROOT, text=True, **pipes)
            for _ in range(WORKERS.value)
        ]
        for process in self._processes:
            self._tell(process, job)
            self._hear(process)

    def measure(self, what: str, places: int) -> dict[str, float]:
        turns = places // WORKERS.value
        before = sum(below(p.pid) for p in self._processes)
        for process in self._processes:
            self._tell(process, {"what": what, "turns": turns})
        seconds = max(float(self._hear(p)) for p in self._processes)
        cpu = sum(below(p.pid) for p in self._processes) - before
        return rate(turns * WORKERS.value, seconds, cpu)

    def close(self) -> None:
        for process in self._processes:
            process.communicate()

    @staticmethod
    def _tell(process: subprocess.Popen, what: dict) -> None:
        assert process.stdin
        print(json.dumps(what), file=process.stdin, flush=True)

    @staticmethod
    def _hear(process: subprocess.Popen) -> str:
        assert process.stdout
        return process.stdout.readline()


def ours(folder: pathlib.Path, batches: int, threads: bool) -> Iterator[Any]:
    """Batches of the training pipeline, of WORKERS processes or threads.

    Colours stay as they are, on all sides.
    """
    from ml_collections import ConfigDict

    from unigeo_jax import modalities
    from unigeo_jax.data import datasets, order, pipeline

    w = pipeline_worker
    cut = {"size": w.SIDE, "shift": w.SHIFT, "symmetry": True, "jitter": 0.0}
    data = {
        "aerial": cut | {"on_device": True, "stored": PIXELS},
        "dsm": w.DSM,
        "coords": {"jitter_m": 25.0},
    }
    towers = {n: {"module": "", "data": d, "net": {}} for n, d in data.items()}
    towers["aerial"]["net"] = {"cut": w.SIDE}
    readers = pipeline.readers(ConfigDict(towers), modalities.get)
    source, index = datasets.load("bench", "train", folder / "sets", FIELDS)
    places = order.BatchOrder(
        index["lat"],
        index["lon"],
        **{"batch": BATCH.value, "steps": batches, "seed": 0},
        **{"fraction": 0.0, "size": 1},
    )
    read = pipeline.ReadPlaces(source, index["cell"], readers)
    workers = (0, WORKERS.value) if threads else (WORKERS.value, 1)
    how = dict(zip(("workers", "threads"), workers, strict=True))
    how = ConfigDict(how | {"prefetch": 2 * how["threads"]})
    return pipeline.train_batches(read, places, data=how, start=0, process=(0, 1))


FIELDS = ("lat", "lon", "aerial", "dsm", "place")


def torch_batches(folder: pathlib.Path, decoder: str, batches: int) -> Iterator[Any]:
    """Batches of a DataLoader of WORKERS processes."""
    data = importlib.import_module("torch.utils.data")
    places: Any = pipeline_worker.Torch(str(folder), batches * BATCH.value, decoder)
    loader = data.DataLoader(
        places,
        batch_size=BATCH.value,
        shuffle=True,
        num_workers=WORKERS.value,
        multiprocessing_context="spawn",
    )
    return iter(loader)


def drain(start: Callable[[], Iterator[Any]], batches: int) -> dict[str, float]:
    """Rate over all batches but the first 1 + 2 x WORKERS: processes have started."""
    stream, skipped = start(), 1 + 2 * WORKERS.value
    for _ in range(skipped):
        next(stream)
    before, began = below(os.getpid()), time.perf_counter()
    for _ in range(batches):
        next(stream)
    seconds, after = time.perf_counter() - began, below(os.getpid())
    for _ in stream:
        pass
    return rate(batches * BATCH.value, seconds, after - before)


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def measure(folder: pathlib.Path, places: int, batches: int, repeats: int) -> dict:
    """All figures by name."""
    at = make_sources(folder, places)
    limit = Limit(folder, at)
    some = min(places, 20_000) // WORKERS.value * WORKERS.value
    limit.measure("code", min(some, 4000))  # until caches and clocks have settled
    code = [limit.measure("code", some) for _ in range(2)]
    report = {"build": build(folder, places)}
    code += [limit.measure("code", some) for _ in range(2)]
    report["code"] = median(code)
    sides: dict[str, Callable[[], dict]] = {
        "decode": lambda: limit.measure("decode", batches * BATCH.value)
    }
    skip = 2 * (1 + 2 * WORKERS.value)
    more = batches + skip
    for name, threads in (("ours", False), ("ours_threads", True)):
        sides[name] = lambda t=threads: drain(lambda: ours(folder, more, t), batches)
    for decoder in ("pillow", "pillow_whole", "simplejpeg", "simplejpeg_whole"):
        sides[f"torch_{decoder}"] = lambda d=decoder: drain(
            lambda: torch_batches(folder, d, more), batches
        )
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            rows[name].append(side())
            time.sleep(protocol.PAUSE_S)
    limit.close()
    return report | {name: median(found) for name, found in rows.items()}


def main(argv: list[str]) -> None:
    del argv
    machine, quick = protocol.machine(), QUICK.value
    if not quick:
        try:
            protocol.check_idle(machine["load"], FORCE.value)
        except ValueError as error:
            sys.exit(f"error: {error}")
    sizes = (1000, 4, 2) if quick else (PLACES.value, BATCHES.value, REPEATS.value)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pipeline-"))
    try:
        figures = measure(folder, *sizes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = {}
    for key, how in (("places_per_s", 1), ("cpu_ms", -1)):
        value = {name: row[key] ** how for name, row in figures.items()}
        ratios[key] = {
            "build/code": value["build"] / value["code"],
            "ours/decode": value["ours"] / value["decode"],
            "ours_threads/decode": value["ours_threads"] / value["decode"],
        }
        for side in ("ours", "ours_threads"):
            torch = [name for name in value if name.startswith("torch")]
            ratios[key] |= {
                f"{side}/{name}": value[side] / value[name] for name in torch
            }
    report = {"machine": machine, "command": sys.argv, "quick": quick}
    report |= {"places": sizes[0], "batches": sizes[1], "repeats": sizes[2]}
    report["glibc_tunables"] = os.environ.get("GLIBC_TUNABLES")
    report |= {"workers": WORKERS.value, "figures": figures, "ratios": ratios}
    protocol.write(pathlib.Path(OUT.value), report)
    for name, row in figures.items():
        print(
            f"{name:<18}{row['places_per_s']:9.0f} places/s{row['cpu_ms']:8.3f} ms CPU"
        )
    for name, value in ratios["places_per_s"].items():
        print(f"{name:<22}{value:6.2f}   by CPU time {ratios['cpu_ms'][name]:.2f}")
    print(OUT.value)


if __name__ == "__main__":
    host.settle()
    app.run(main)
