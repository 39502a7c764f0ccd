# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures decoded where the batch lies are those that the host cuts and turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simplejpeg

from unigeo_jax import export, modalities
from unigeo_jax.data import datasets, images, pipeline, places, reading
from unigeo_jax.modalities import aerial

SIDE, COUNT = 36, 24


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset of pictures of 36 pixels a side, JPEG."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    table = ["id,lat,lon,aerial"]
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        name = f"{i}.jpg"
        (folder / name).write_bytes(simplejpeg.encode_jpeg(pixels, 92, "RGB", "420"))
        table.append(f"{i},{40 + i / 10},{7 + i / 10},{name}")
    (folder / "places.csv").write_text("\n".join(table) + "\n", "utf-8")
    options = places.Options(aerial_px=SIDE, split="random", overlap=True)
    return places.build(folder / "places.csv", folder / "sets", "shots", options, 0)


@pytest.fixture
def config(built, monkeypatch):
    from configs import own

    monkeypatch.setenv("UNIGEO_DATA_DIR", str(built.parents[1]))
    return own.get_config("data=shots")


def read(config, source, index, seeds, **data):
    with config.unlocked():
        config.towers.aerial.data.update(data)
        config.towers.aerial.net.cut = 32 if config.towers.aerial.data.stored else 0
    readers = pipeline.readers(config.towers, modalities.get)
    numbers = np.arange(len(index["cell"]))
    return pipeline.ReadPlaces(source, index["cell"], readers).batch(numbers, seeds)


def test_the_device_cuts_what_the_host_would_and_turns_it_alike(config, built):
    data = config.towers.aerial.data
    assert (data.stored, data.size, config.towers.aerial.net.cut) == (SIDE, 32, 32)
    source, index = datasets.load("shots", "train", built.parents[1])
    n = len(source)
    for seeds in (None, np.arange(n, dtype=np.uint64)):
        whole = read(config.copy_and_resolve_references(), source, index, seeds)
        cut = read(config.copy_and_resolve_references(), source, index, seeds, stored=0)
        x, expected = whole["x"]["aerial"], cut["x"]["aerial"]
        assert x["image"].shape == (n, SIDE, SIDE, 3) and whole["here"]["aerial"].all()
        np.testing.assert_array_equal(x["image"][3], source[3]["aerial"])
        got = aerial.cut_each(jnp.asarray(x["image"]), x["at"], 32)
        np.testing.assert_array_equal(got, expected["image"])
        for key in ("turn", "colours"):
            np.testing.assert_array_equal(x[key], expected[key])
        assert (len({*map(tuple, x["at"].tolist())}) > 3) == (seeds is not None)


def test_the_encoder_cuts_pictures_that_come_whole(config, built, draw):
    source, index = datasets.load("shots", "train", built.parents[1])
    seeds = np.arange(len(source), dtype=np.uint64)
    whole, cut = (
        read(config.copy_and_resolve_references(), source, index, seeds, stored=s)
        for s in (SIDE, 0)
    )
    net = config.towers.aerial.net.to_dict()
    encoder = modalities.get("aerial").Encoder(dim=16, **net)
    x = jax.tree.map(jnp.asarray, whole["x"]["aerial"])
    variables = draw(encoder, x)
    z = jax.jit(encoder.apply)(variables, x)
    other = jax.jit(encoder.apply)(variables, cut["x"]["aerial"])
    np.testing.assert_allclose(z, other, atol=1e-5)


def test_a_record_is_decoded_into_the_array_that_is_given_if_it_fits(built):
    source, _ = datasets.load("shots", "train", built.parents[1])
    given = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert source.read_into(0, {"aerial": given})["aerial"] is given
    np.testing.assert_array_equal(given, source[0]["aerial"])
    small = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(
        source.read_into(0, {"aerial": small})["aerial"], given
    )
    assert not small.any()


class Damaged:
    """Every second picture ends in the middle; the third is of another size."""

    def __init__(self, source):
        rng = np.random.default_rng(1)
        self._source = source
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        self._whole = simplejpeg.encode_jpeg(pixels, 92, "RGB", "420")
        self._small = simplejpeg.encode_jpeg(pixels[:20, :20].copy(), 92, "RGB", "420")

    def __len__(self):
        return len(self._source)

    def read_into(self, number, into):
        record, data = self._source[number], self._whole
        data = data[: len(data) // 2] if number % 2 else data
        data = self._small if number == 2 else data
        try:
            record["aerial"] = images.decode(data, 3, into["aerial"])
        except ValueError:
            record |= {"aerial": None, datasets.DAMAGED: ["aerial"]}
        return record


def test_half_a_picture_leaves_zeros_and_another_size_is_resized(config, built, capsys):
    source, index = datasets.load("shots", "train", built.parents[1])
    damaged = Damaged(source)
    with np.errstate(all="raise"):
        batch = read(config, damaged, index, np.arange(len(source), dtype=np.uint64))
    here, x = batch["here"]["aerial"], batch["x"]["aerial"]
    np.testing.assert_array_equal(here, np.arange(len(source)) % 2 == 0)
    assert not x["image"][1::2].any() and x["image"][::2].any(axis=(1, 2, 3)).all()
    small = damaged.read_into(2, {"aerial": None})["aerial"]
    np.testing.assert_array_equal(x["image"][2], aerial.resize(small, SIDE, SIDE))
    assert "damaged aerial" in capsys.readouterr().err


class Picture:
    """A user's modality that gives the record's picture under a name of its own."""

    @staticmethod
    def spec(**_):
        return {"picture": np.zeros((SIDE, SIDE, 3), np.uint8)}

    @staticmethod
    def read(record, rng, **_):
        return {"picture": record["aerial"]}


@pytest.mark.parametrize("together", [1, 5, 32])
def test_towers_that_share_a_picture_have_it_in_every_row(built, together, monkeypatch):
    source, index = datasets.load("shots", "train", built.parents[1])
    monkeypatch.setattr(reading, "TOGETHER", together)
    module = modalities.get("aerial")
    options = {"on_device": True, "stored": SIDE, "size": 32, "shift": 2}
    readers = [(name, module, options) for name in ("aerial", "again")]
    readers.append(("other", Picture, {}))
    read = reading.ReadPlaces(source, index["cell"], readers)
    numbers = np.arange(len(source))
    for seeds in (None, numbers.astype(np.uint64)):
        batch = read.batch(numbers, seeds, lambda *a: np.full(*a[:1], 77, a[1]))
        keys = {"aerial": "image", "again": "image", "other": "picture"}
        for name, key in keys.items():
            assert batch["here"][name].all()
            for row in numbers:
                picture = batch["x"][name][key][row]
                np.testing.assert_array_equal(picture, source[row]["aerial"])


def test_few_large_records_are_held_at_once():
    large = {"aerial": np.zeros((2000, 3000, 3), np.uint8)}
    small = {"aerial": np.zeros((256, 256, 3), np.uint8)}
    assert reading._together([small, large, {"aerial": None}, None]) == 1
    assert reading._together([small, None]) == reading._together([None]) == 32


def test_weights_of_a_file_get_the_grid_that_the_encoder_sees(config):
    from unigeo_jax.siglip import start

    tower = config.towers.aerial
    grid = tuple(32 // side for side in tower.net.patch)
    assert start._grid("aerial", tower) == grid


def test_what_a_user_gives_is_read_as_it_is(config):
    given = export.as_given(config.towers.aerial)
    assert not given["on_device"] and "stored" not in given
    assert aerial.spec(**given).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("data", "net"),
    [
        ({"stored": 36, "on_device": True, "size": 32, "shift": 3}, {"cut": 32}),
        ({"stored": 36, "on_device": True, "size": 32, "shift": 2}, {"cut": 30}),
        ({"stored": 36, "on_device": True, "size": 32, "shift": 2}, {}),
        ({"stored": 36, "size": 32, "shift": 2}, {"cut": 32}),
        ({"size": 32, "shift": 2, "on_device": True}, {"cut": 32}),
        ({"stored": 36, "on_device": True, "size": 32, "naflex": 4}, {"cut": 32}),
    ],
)
def test_options_that_would_cut_nothing_or_twice_are_refused(data, net):
    with pytest.raises(ValueError, match=r"stored=.*allowed: .*stored of 3[68]"):
        aerial.check(data, net)
    aerial.check({"stored": 36, "on_device": True, "shift": 2}, {"cut": 32})
    aerial.check({}, {})
