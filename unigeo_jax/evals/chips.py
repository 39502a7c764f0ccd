# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Chips of GeoTIFF with masks or classes, laid out as GEO-Bench lays out its samples.

    default_partition.json     {"train": [sample, ...], "valid": [...], "test": [...]}
    SAMPLE/band_index.json     [["Red", ["Red_2020.tif"]], ...], one date a band
    SAMPLE/Red_2020.tif        one band
    SAMPLE/label*.tif          a class a pixel (m-pv4ger-seg, m-chesapeake), or
    SAMPLE/label.json          a class a chip (m-pv4ger)

GEO-Bench (arXiv 2306.03831) packs the same samples in HDF5 with pickled attributes,
which nothing here reads: write them with its `format="tif"`. A sample without
band_index.json may be one picture, image.tif, of as many bands as are asked for.
Letters: `n` chips, `h` rows and `w` columns of pixels, `c` bands.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax import extras, jsons

SPLITS = ("train", "valid", "test")
IGNORED = 255  # in masks: no class


class Chips(NamedTuple):
    """Chips of a split: uint8 (n, h, w, 3), and int labels (n,) or (n, h, w)."""

    image: np.ndarray
    label: np.ndarray


def read(folder: pathlib.Path, bands: Sequence[str]) -> dict[str, Chips]:
    """Reads all splits; bands of other types are stretched to 0..255.

    The stretch is linear between the 2nd and 98th percentile of the training chips, a
    band by itself, as `make_dataset` does it.

    Raises:
      ValueError: a file, band or split is missing, or chips differ in size.
    """
    path = folder / "default_partition.json"
    names = _json(path)
    if lacking := [
        s for s in SPLITS if not isinstance(names, dict) or not names.get(s)
    ]:
        raise ValueError(f"{path}: no samples of {', '.join(lacking)}")
    found: dict[str, Chips] = {}
    stretch = None
    for split in SPLITS:
        samples = [_sample(folder / str(name), bands) for name in names[split]]
        for name, (image, label) in zip(names[split], samples, strict=True):
            if image.shape != samples[0][0].shape or label.shape not in (
                *((), image.shape[:2]),
            ):
                raise ValueError(
                    f"{folder / str(name)}: pixels {image.shape}, label {label.shape};"
                    f" allowed: {samples[0][0].shape}, a label a chip or a pixel"
                )
        image, label = (np.stack(column) for column in zip(*samples, strict=True))
        if image.dtype != np.uint8:
            stretch = stretch or np.nanpercentile(image, (2, 98), axis=(0, 1, 2))
            low_c, high_c = stretch
            share = (image - low_c) / np.maximum(high_c - low_c, 1e-12)
            image = (255 * np.clip(np.nan_to_num(share), 0, 1) + 0.5).astype(np.uint8)
        found[split] = Chips(image, label.astype(np.int64))
    return found


def _json(path: pathlib.Path) -> Any:
    try:
        return jsons.read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"chips: {path}: {error}") from error


def _sample(
    folder: pathlib.Path, bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    index = folder / "band_index.json"
    if index.exists():
        files = {_plain(name): found for name, found in _json(index)}
        if lacking := [band for band in bands if len(files.get(_plain(band), ())) != 1]:
            raise ValueError(
                f"{index}: bands {', '.join(lacking)} not there once;"
                f" there are: {', '.join(files)}"
            )
        layers = [_tif(folder / files[_plain(band)][0])[0] for band in bands]
    else:
        layers = list(_tif(folder / "image.tif"))
        if len(layers) != len(bands):
            raise ValueError(
                f"{folder}/image.tif: {len(layers)} bands; allowed: {len(bands)}"
            )
    if (path := folder / "label.json").exists():
        return np.stack(layers, -1), np.asarray(_json(path), np.int64)
    masks = sorted(folder.glob("label*.tif"))
    if len(masks) != 1:
        raise ValueError(
            f"{folder}: {len(masks)} label*.tif; allowed: 1, or label.json"
        )
    return np.stack(layers, -1), _tif(masks[0])[0].astype(np.int64)


def _plain(band: str) -> str:
    """ "04 - Red" and "red" are one band."""
    return band.rsplit(" - ", 1)[-1].strip().lower()


def _tif(path: pathlib.Path) -> np.ndarray:
    """(bands, height, width), whatever its georeference."""
    rasterio = extras.need("rasterio", "chips")
    try:
        with rasterio.open(path) as file:
            return file.read()
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"chips: {error}") from error
