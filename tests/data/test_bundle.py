# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Check the files of the bundle: digests, formats, no pickle; and its converter."""

import hashlib
import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unigeo_jax.data import bundled, tokenizer
from unigeo_jax.data.datasets import (
    earth_captions,
    earth_crops,
    earth_pins,
    earth_places,
    earth_sources,
    points,
)

BUNDLE = Path(earth_sources.__file__).parents[1] / "bundle"
UNLISTED = {  # written by hand, or made later from the training captions
    "DATA_CARD.md",
    "manifest.json",
    "vocabulary.model",
    "licences/NOTICE.txt",
}
HANDWRITTEN = UNLISTED - {"vocabulary.model"}


def test_manifest_lists_every_file_with_its_true_size_and_digest():
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    listed = {entry["file"]: entry for entry in manifest["outputs"]}
    present = {
        path.relative_to(BUNDLE).as_posix()
        for path in BUNDLE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert present - UNLISTED == set(listed)
    assert present >= HANDWRITTEN
    for file, entry in listed.items():
        content = (BUNDLE / file).read_bytes()
        assert len(content) == entry["bytes"], file
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], file


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A bundle of its own, that the package reads."""
    folder = shutil.copytree(BUNDLE, tmp_path / "bundle")
    monkeypatch.setattr(bundled, "BUNDLE", folder)
    monkeypatch.setattr(tokenizer, "VOCABULARY", folder / bundled.VOCABULARY)
    caches = (earth_crops.table, earth_crops.raster, tokenizer.load)
    for cache in caches:
        cache.cache_clear()
    yield folder
    for cache in caches:
        cache.cache_clear()


def test_an_edited_file_of_the_bundle_is_refused_by_all_who_read_it(copied):
    read = {
        "places.npz": earth_crops.table,
        "black_marble.jpg": earth_crops.raster,
        "countries.json": lambda _: earth_captions.countries.__wrapped__(),
        "leads.json": lambda _: points._described.__wrapped__(),
        "vocabulary.model": lambda _: tokenizer.load(),
    }
    for name, reader in read.items():
        reader(name)  # whole, it is read
    earth_crops.table.cache_clear()
    earth_crops.raster.cache_clear()
    tokenizer.load.cache_clear()
    for name, reader in read.items():
        path = copied / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}: was edited or is damaged"):
            reader(name)
    (copied / "elevation.png").unlink()
    with pytest.raises(ValueError, match=r"elevation\.png: FileNotFoundError"):
        earth_crops.raster("elevation.png")


def test_manifest_names_exactly_the_pinned_inputs():
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    found = {
        (e["name"], e["version"], e["path"], e["sha256"]) for e in manifest["inputs"]
    }
    assert found == {
        (s.package.name, s.package.version, s.path, s.sha256)
        for s in earth_pins.SOURCES.values()
    }


def test_bundle_weighs_at_most_40_megabytes():
    total = sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file())
    assert total <= 40e6


def test_data_card_names_every_package_and_every_file():
    card = (BUNDLE / "DATA_CARD.md").read_text()
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    for entry in manifest["inputs"]:
        assert f"{entry['name']} {entry['version']}" in card
    for entry in manifest["outputs"]:
        assert Path(entry["file"]).name in card


def test_no_array_needs_a_pickle():
    assert not [p for p in BUNDLE.rglob("*") if p.suffix in {".pkl", ".pickle", ".pth"}]
    for path in BUNDLE.glob("*.npz"):
        with np.load(path, allow_pickle=False) as pack:
            assert all(pack[name].dtype != object for name in pack)


def test_png_writer_is_lossless_with_either_row_filter():
    image = np.random.default_rng(0).integers(0, 256, (7, 11), np.uint8)
    for difference in (False, True):
        content = earth_sources.png_bytes(image, horizontal_difference=difference)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), image)


def test_npz_writer_gives_the_same_bytes_twice_and_its_arrays_back():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "names": np.array(["Af", "BWh"])}
    content = earth_sources.npz_bytes(**arrays)
    assert content == earth_sources.npz_bytes(**arrays)
    with np.load(io.BytesIO(content), allow_pickle=False) as pack:
        assert all(np.array_equal(pack[name], arrays[name]) for name in arrays)


def test_missing_vegetation_pixels_do_not_pull_the_mean_down():
    fine = np.full((4, 4), np.nan, np.float32)
    fine[0, 0], fine[0, 1] = 0.4, 0.6  # mean 0.5 over the two valid of four
    fine[2:, 2:] = -0.2
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, fine)
    image = np.asarray(
        Image.open(io.BytesIO(earth_sources.ndvi_png(buffer.getvalue())))
    )
    assert image.tolist() == [[1 + round(0.7 / 1.2 * 254), 0], [0, 1]]


def test_division_code_is_named_only_by_a_clear_majority_of_its_places():
    codes = [("FR", "75")] * 5 + [("FR", "76")] * 5 + [("FR", "")] * 5
    names = ["Aquitaine", "Limousin", "", "Aquitaine", "Limousin"]
    names += ["Alsace"] * 4 + ["Lorraine"] + ["Corse"] * 5
    assert earth_places.majority_names(codes, names) == {("FR", "76"): "Alsace"}


def test_changed_source_is_refused(tmp_path):
    import tarfile

    source = earth_pins.SOURCES["flights"]
    with tarfile.open(tmp_path / source.package.archive, "w:gz") as pack:
        info = tarfile.TarInfo(source.path)
        info.size = 3
        pack.addfile(info, io.BytesIO(b"a,b"))
    with pytest.raises(ValueError, match=r"flights-airport.csv.*pinned"):
        earth_sources.read_source(source, tmp_path)


def test_table_reader_refuses_a_pickle_that_calls_anything_else():
    hostile = pickle.dumps(print)
    with pytest.raises(ValueError, match="print is not allowed"):
        earth_sources.PvczUnpickler(io.BytesIO(hostile)).load()
