# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the processes of benchmarks/pipeline.py do: limits, and PyTorch's side."""

import importlib
import json
import pathlib
import sys
import time
import warnings
from typing import Any

import numpy as np

SIDE, SHIFT = 224, 16  # what is cut out of 256 pixels, as configs/own.py does
TILE, TILE_SHIFT = 56, 4  # out of 64 pixels of heights
DSM = {"size": TILE, "shift": TILE_SHIFT, "symmetry": True}
# What Pillow gives whole cannot be written to; nobody does.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")


def decode(data: list[bytes], turns: int, job: dict) -> None:
    """The limit of reading: every JPEG decoded once a turn, nothing else."""
    import simplejpeg

    del job
    for number in range(turns):
        simplejpeg.decode_jpeg(data[number % len(data)], "RGB")


def code(data: list[bytes], turns: int, job: dict) -> None:
    """The limit of building: JPEG decoded and encoded, heights read and packed."""
    import simplejpeg

    from unigeo_jax.data.own import rasters

    raster = rasters.Raster(rasters.Source("dsm", job["raster"], bands=(1,)))
    at = np.array(job["at"])
    lat, lon = at[np.arange(turns) % len(at)].T
    chips = raster.cut(lat, lon)
    for number in range(turns):
        pixels = simplejpeg.decode_jpeg(data[number % len(data)], "RGB")
        simplejpeg.encode_jpeg(pixels, 92, "RGB", "420")
        next(chips)[0].astype(np.float32).tobytes()


class Torch:
    """A map-style dataset: file opened, decoded, cut, turned; heights likewise.

    `decoder`: pillow or simplejpeg; with _whole behind, pictures are neither cut nor
    turned.
    """

    def __init__(self, folder: str, places: int, decoder: str) -> None:
        self._files = sorted(map(str, pathlib.Path(folder).glob("images/*.jpg")))
        self._heights = np.load(f"{folder}/heights.npy", mmap_mode="r")
        self._places = places
        self._decoder, _, self._whole = decoder.partition("_")

    def __len__(self) -> int:
        return self._places

    def __getitem__(self, number: int) -> dict[str, Any]:
        import simplejpeg
        from PIL import Image

        from unigeo_jax.modalities import dsm

        torch = importlib.import_module("torch")
        rng = np.random.default_rng(number)
        file = number % len(self._files)
        if self._decoder == "pillow":
            with Image.open(self._files[file]) as image:
                pixels = np.asarray(image.convert("RGB"))
        else:
            data = pathlib.Path(self._files[file]).read_bytes()
            pixels = simplejpeg.decode_jpeg(data, "RGB")
        if not self._whole:
            pixels = cut(pixels, *rng.random(3))
        rng = np.random.default_rng(number)
        tile = dsm.read({"dsm": self._heights[file]}, rng, **DSM)
        return {
            "aerial": torch.from_numpy(np.ascontiguousarray(pixels)),
            "dsm": torch.from_numpy(np.asarray(tile)),
            "coords": torch.zeros(2),
        }


def cut(pixels: np.ndarray, element: float, down: float, right: float) -> np.ndarray:
    """The same window and symmetry as ours, in plain numpy."""
    top = (len(pixels) - SIDE) // 2 + round((2 * down - 1) * SHIFT)
    left = (pixels.shape[1] - SIDE) // 2 + round((2 * right - 1) * SHIFT)
    pixels = pixels[top : top + SIDE, left : left + SIDE]
    if int(8 * element) & 1:
        pixels = pixels[::-1]
    if int(8 * element) & 2:
        pixels = pixels[:, ::-1]
    return pixels.swapaxes(0, 1) if int(8 * element) & 4 else pixels


def serve() -> None:
    """A line {"what", "turns"} in, the seconds out; the first is a warm-up."""
    job = json.loads(sys.stdin.readline())
    data = [pathlib.Path(p).read_bytes() for p in job["files"]]
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        globals()[asked["what"]](data, asked["turns"], job)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    serve()
