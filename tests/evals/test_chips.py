# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Chips of real satellite pixels with masks, and what patches tell of them.

The pixels are those of the bundle: NASA's Blue Marble, and MODIS land cover as masks.
"""

import json

import numpy as np
import pytest

from tests import geotiffs
from unigeo_jax.data.datasets import earth_crops
from unigeo_jax.evals import chips, dense

PLACES = {
    # Coasts and edges of deserts: water, bare land and green in most chips.
    "train": [(36, 3), (31, -9), (38, -8), (12, 43), (21, 39), (-18, 12), (28, 49)],
    "valid": [(33, 21), (24, 57), (-29, 17)],
    "test": [(37, 10), (30, 32), (15, 40), (-25, 14)],
}
BANDS = ("Red", "Green", "Blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Chips of 64 pixels; classes: water 0, land 1 and bare land 2."""
    root = tmp_path_factory.mktemp("chips")
    image = earth_crops.raster("blue_marble.jpg")
    cover = earth_crops.raster("landcover.png")
    names = {}
    for split, places in PLACES.items():
        names[split] = []
        for number, (lat, lon) in enumerate(places):
            name = f"{split}_{number}"
            names[split].append(name)
            (root / name).mkdir()
            pixels = earth_crops.crops(image, [lat], [lon], 64)[0]
            row, column = earth_crops.pixel([lat], [lon], *image.shape[:2])
            r = (row[0] - 32 + np.arange(64)) * cover.shape[0] // image.shape[0]
            c = (column[0] - 32 + np.arange(64)) * cover.shape[1] // image.shape[1]
            found = cover[np.ix_(r, c % cover.shape[1])]
            mask = np.where(found == 0, 0, np.where(found == 16, 2, 1))
            index = []
            for band, plane in zip(BANDS, np.moveaxis(pixels, -1, 0), strict=True):
                geotiffs.write_raster(root / name / f"{band}_2004.tif", plane[None])
                index.append([f"0{len(index)} - {band}", [f"{band}_2004.tif"]])
            (root / name / "band_index.json").write_text(json.dumps(index))
            mask = mask[None].astype(np.uint8)
            geotiffs.write_raster(root / name / "label_2004.tif", mask)
    (root / "default_partition.json").write_text(json.dumps(names))
    return root


def test_bands_are_found_by_name_and_masks_lie_beside(folder):
    found = chips.read(folder, ["red", "green", "blue"])
    assert {s: len(part.image) for s, part in found.items()} == {
        s: len(places) for s, places in PLACES.items()
    }
    assert found["train"].image.shape[1:] == (64, 64, 3)
    assert found["train"].label.shape == found["train"].image.shape[:3]
    assert set(np.unique(found["train"].label)) == {0, 1, 2}
    swapped = chips.read(folder, ["blue", "green", "red"])
    np.testing.assert_array_equal(swapped["test"].image, found["test"].image[..., ::-1])


def test_what_is_wrong_with_a_sample_is_named(folder):
    with pytest.raises(ValueError, match="bands nir not there once"):
        chips.read(folder, ["nir", "green", "blue"])
    with pytest.raises(ValueError, match=r"default_partition\.json"):
        chips.read(folder / "train_0", BANDS)


def test_heads_on_colours_find_water_and_deserts(folder, monkeypatch):
    monkeypatch.setattr(dense, "STEPS", 80)
    found = chips.read(folder, BANDS)
    z = {s: dense.lay(part.image, 32, dense.colours(4)) for s, part in found.items()}
    assert z["test"].shape == (4, 16, 16, 6)
    most = dense.majority(found)
    linear, light = (dense.segment(z, found, hidden) for hidden in (0, 16))
    assert linear["miou"] > most["miou"] + 0.2
    assert light["miou"] > most["miou"] + 0.2


def test_classes_of_chips_are_read_from_their_mean_patch(folder):
    found = {
        split: part._replace(label=(part.label == 2).mean((1, 2)) > 0.3)
        for split, part in chips.read(folder, BANDS).items()
    }
    found = {s: p._replace(label=p.label.astype(int)) for s, p in found.items()}
    z = {s: dense.lay(part.image, 32, dense.colours(4)) for s, part in found.items()}
    score = dense.classify(z, found)
    assert score["n"] == 4 and score["accuracy"] >= 0.5


def test_patches_of_whole_chips_lie_where_their_pixels_do():
    image = np.zeros((2, 40, 24, 3), np.uint8)
    image[:, 20:24, 8:12] = 255
    z = dense.lay(image, 16, dense.colours(4))
    assert z.shape == (2, 10, 6, 6)
    assert np.argwhere(z[..., 0] > 0.5).tolist() == [[0, 5, 2], [1, 5, 2]]


def test_overlap_leaves_out_ignored_pixels():
    label = np.array([[0, 1, 1, chips.IGNORED]])
    score = dense.overlap(label, np.array([[0, 1, 0, 1]]), 2)
    assert score["miou"] == pytest.approx(0.5)
    assert score["accuracy"] == pytest.approx(2 / 3)
