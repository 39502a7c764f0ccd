# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""TFDS builder of `earth`: 60,000 places on land, seen in five ways, from the bundle.

Region scale: the sharpest image has 7.4 km a pixel. The street view is *rendered*
from the image and the heights. See the data card of the bundle.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import earth_chunks, earth_crops, earth_render

CONFIGS = ("full", "tiny")
TINY = {"train": 256, "val": 96, "test": 96, "near": 64}
CHUNK = 256
INDEX = ("lat", "lon", "cell", "block")


def version() -> str:
    """Version of the builder and, as last number, a hash of the bundle's manifest."""
    path = earth_crops.BUNDLE / "manifest.json"
    data = path.read_bytes() if path.exists() else b""
    return f"1.2.{int(hashlib.sha256(data).hexdigest()[:7], 16)}"


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


def _features() -> tfds.features.FeaturesDict:
    def tensor(shape, dtype):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    camera = earth_render.Camera()
    street = (camera.views * camera.rows, camera.azimuths, 3)
    size, night, dsm = earth_chunks.AERIAL, earth_chunks.NIGHT, earth_chunks.DSM
    return tfds.features.FeaturesDict(
        {
            "place": np.int64,
            "lat": np.float64,
            "lon": np.float64,
            "cell": np.int64,
            "h3": np.int64,
            "block": np.int32,
            "aerial": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "night": tfds.features.Image(
                shape=(night, night, 1), encoding_format="png"
            ),
            "dsm": tensor((dsm, dsm), np.int16),
            "street": tfds.features.Image(shape=street, encoding_format="png"),
            "text": tfds.features.Text(),
            "text_masked": tfds.features.Text(),
            "landcover": np.int32,
            "landcover_fractions": tensor((17,), np.float32),
            "koppen": np.int32,
            "climate": tensor((6,), np.float32),
            "ndvi": tensor((2,), np.float32),
            "night_light": np.float32,
            "elevation_m": np.float32,
            "demographics": tensor((46,), np.float32),
            "population_100km": np.float32,
            "country": tfds.features.Text(),
            "continent": tfds.features.Text(),
            "airport": np.int32,
        }
    )


class Earth(tfds.core.GeneratorBasedBuilder):
    """60,000 places on land; configs `full` and `tiny` (at most 512 places)."""

    VERSION = tfds.core.Version(version())
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]  # noqa: RUF012
    workers = 0

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = tfds.core.MetadataDict(
            street="rendered: rays cast over the heights, coloured by the image",
            camera=dataclasses.asdict(earth_render.Camera()),
            text="bearings are from the place to what is named",
            dsm=f"metres; {earth_crops.VOID_M} = no height: Greenland's ice",
            sources="see DATA_CARD.md and licences/ of the bundle",
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=_features(),
            disable_shuffling=True,
            metadata=metadata,
        )

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        del dl_manager
        config: Any = self.builder_config
        anchors = plan(config.name)
        jobs = [
            (split, anchor_i[start : start + CHUNK])
            for split, anchor_i in anchors.items()
            for start in range(0, len(anchor_i), CHUNK)
        ]
        total = sum(len(chunk) for _, chunk in jobs)
        chunks = earth_chunks.stream([chunk for _, chunk in jobs], self.workers)
        progress = _Progress(total)
        names = [split for split, _ in jobs]
        return {
            s: self._generate_examples(names.count(s), chunks, progress)
            for s in anchors
        }

    def _generate_examples(
        self, count: int, chunks, progress
    ) -> Iterator[tuple[int, dict]]:
        number = 0  # the key: TFDS sorts by it, so records keep this order
        for _ in range(count):
            columns = next(chunks)
            for values in zip(*columns.values(), strict=True):
                yield number, dict(zip(columns, values, strict=True))
                number += 1
            progress.add(len(columns["place"]))


class _Progress:
    """One line on standard error that says how far the build is."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        seconds = time.monotonic() - self._start
        left = seconds / self._done * (self._total - self._done)
        end = "\n" if self._done == self._total else ""
        line = f"earth: {self._done:,} of {self._total:,} places,"
        line += f" {seconds:.0f} s, {left:.0f} s left"
        if sys.stderr.isatty() or end:
            print(f"\r{line} ", end=end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it if this process dies."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(
                f"earth: waiting for the build of {file.read().strip()}",
                file=sys.stderr,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        print(
            f"host {socket.gethostname()}, process {os.getpid()}", file=file, flush=True
        )
        yield


def _is_complete(folder: pathlib.Path) -> bool:
    names = ["dataset_info.json", *(f"index-{split}.npz" for split in splits.SPLITS)]
    return all((folder / name).is_file() for name in names)


def _write_indexes(folder: pathlib.Path, config: str) -> None:
    anchors = earth_crops.table("anchors.npz")
    for split, anchor_i in plan(config).items():
        lat_i = anchors["lat"][anchor_i].astype(np.float64)
        lon_i = anchors["lon"][anchor_i].astype(np.float64)
        arrays = (
            lat_i,
            lon_i,
            splits.cell_ids(lat_i, lon_i),
            splits.block_ids(lat_i, lon_i),
        )
        np.savez(folder / f"index-{split}.npz", **dict(zip(INDEX, arrays, strict=True)))


def build(data_dir=None, config: str = "full", workers: int = 2) -> pathlib.Path:
    """Build the dataset unless it is there, and return its folder.

    Two processes that start at once both end with the finished dataset: the second
    waits. What an interrupted build left behind is removed.

    Args:
      data_dir: folder of all datasets; default: see `datasets.default_data_dir`.
      config: `full` or `tiny`.
      workers: processes that make records; 0 makes them in this one.

    Raises:
      ValueError: unknown config.
    """
    if config not in CONFIGS:
        raise ValueError(
            f"dataset earth: config {config!r}, allowed {', '.join(CONFIGS)}"
        )
    root = pathlib.Path(data_dir or datasets.default_data_dir()).expanduser() / "earth"
    folder = root / config / version()
    if _is_complete(folder):
        return folder
    with _locked(root / f".lock-{config}"):
        if _is_complete(folder):
            return folder
        scratch = root / f".building-{config}"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        print(f"earth: building {folder} (once)", file=sys.stderr, flush=True)
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()), datasets.quiet():
            builder = Earth(data_dir=scratch, config=config, file_format="array_record")
            builder.workers = workers if config == "full" else 0
            builder.download_and_prepare()
        _write_indexes(pathlib.Path(builder.data_dir), config)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(builder.data_dir, folder)
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
