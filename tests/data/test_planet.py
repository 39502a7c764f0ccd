# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The synthetic planet: computed as it is read, and its modalities tell its answer."""

import numpy as np
import pytest

from unigeo_jax.data import datasets, graph
from unigeo_jax.data.datasets import planet, planet_fields


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """512 places in an own folder."""
    return tmp_path_factory.mktemp("planet")


@pytest.fixture(scope="module")
def records(world):
    source, _ = datasets.load("planet/512", "train", world)
    return [source[i] for i in range(len(source))]


def test_a_record_is_the_same_whoever_reads_it_and_whatever_else(world, records):
    source, index = datasets.load("planet/512", "train", world)
    again, _ = datasets.load("planet/512", "train", world, ("dsm", "text"))
    for row in (0, 7, len(source) - 1):
        for name, value in source[row].items():
            np.testing.assert_array_equal(value, records[row][name])
        assert again[row]["text"] == records[row]["text"]
        np.testing.assert_array_equal(again[row]["dsm"], records[row]["dsm"])
        assert (index["lat"][row], index["lon"][row]) == (
            records[row]["lat"],
            records[row]["lon"],
        )
    other, _ = datasets.load("planet/512-1", "train", world)
    assert other[0]["lat"] != records[0]["lat"]


def test_places_are_spread_over_the_sphere_whatever_the_seed():
    for seed in (0, 5):
        lat, lon = planet_fields.positions(seed, np.arange(20_000))
        assert abs(np.sin(np.deg2rad(lat)).mean()) < 0.02
        assert abs(lon.mean()) < 3 and abs(lon.std() - 360 / 12**0.5) < 2


def explained(x, y):
    """Share of the variance of held-out y that ridge on x explains."""
    x = np.c_[(x - x.mean(0)) / (x.std(0) + 1e-9), np.ones(len(x))]
    half = len(x) // 2
    inner = x[:half].T @ x[:half] + np.eye(x.shape[1])
    weight = np.linalg.solve(inner, x[:half].T @ y[:half])
    left = y[half:] - x[half:] @ weight
    return 1 - left.var() / y[half:].var()


def seen(name, value):
    """A few numbers that a reader of the field would take from it."""
    if name == "text":
        steps = {}
        for line in value.splitlines():
            word, step = line.split()
            steps[word] = planet_fields.SCALE.index(step) - 1.9
        return [steps.get(word, 0.0) for word in planet_fields.WORDS]
    if name == "poi":
        return [np.log1p(value.count(f"{k}\t")) for k in planet_fields.KINDS]
    if name == "demographics":
        return np.nan_to_num(np.log(value), nan=4.0)
    if name == "dsm":
        return [value.mean(), np.log(value.std())]
    return value.mean((0, 1))


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        *(("aerial", 0), ("aerial", 2), ("street", 0), ("dsm", 1), ("dsm", 5)),
        *(("text", 3), ("poi", 1), ("demographics", 0)),
    ],
)
def test_every_modality_tells_of_the_hidden_field_and_is_sometimes_missing(
    name, channel, records
):
    here = [r for r in records if r[name] is not None and np.size(r[name])]
    here = [r for r in here if name not in ("text", "poi") or r[name]]
    here = [r for r in here if name != "demographics" or np.isfinite(r[name]).any()]
    assert 0.80 < len(here) / len(records) < 0.99
    x = np.array([seen(name, r[name]) for r in here], np.float64)
    y = np.array([r["hidden"][channel] for r in here], np.float64)
    assert explained(x, y) > 0.4
    assert explained(x, np.random.default_rng(0).permutation(y)) < 0.2


def test_pictures_are_of_any_size_and_the_season_greens_them():
    for side in (16, 64):
        place = planet_fields.Place(0, 3, side)
        assert place.field("aerial").shape == (side, side, 3)
    green = [[], []]
    for number in range(2000):
        place = planet_fields.Place(0, number, 16)
        if abs(place.summer) > 0.6:
            residue = place._colour()[1] - 128 - 50 * np.tanh(0.7 * place.h[1])
            green[place.summer > 0].append(residue)
    assert min(green[1]) > 15 and max(green[0]) < -15


def test_flows_join_places_that_are_alike(world, records):
    folder = datasets.find("planet/512", world)
    flows = graph.read(folder / "graph")
    assert flows.nodes == 512
    lat, lon = planet_fields.positions(0, np.arange(512))
    h = planet_fields.hidden(0, lat, lon)
    origin = np.repeat(np.arange(512), np.diff(flows.indptr_n))
    unlike = np.abs(h[origin] - h[np.asarray(flows.indices_e)]).mean()
    assert unlike < 0.6 * np.abs(h[origin] - h[origin[::-1]]).mean()


@pytest.mark.parametrize("config", ["", "12", "many", "512x8", "512x36x2"])
def test_other_configs_are_refused(config):
    with pytest.raises(ValueError, match="allowed: PLACES"):
        planet.parse(config)


def test_unknown_fields_and_splits_are_refused(world):
    with pytest.raises(ValueError, match="split 'dev', allowed train"):
        datasets.load("planet/512", "dev", world)
    with pytest.raises(ValueError, match=r"fields \['snow'\], allowed place"):
        datasets.load("planet/512", "train", world, ("snow",))


def test_own_takes_its_towers_from_the_planet(world, monkeypatch):
    from configs import own

    monkeypatch.setenv("UNIGEO_DATA_DIR", str(world))
    datasets.find("planet/512", world)
    config = own.get_config("data=planet/512,tiny")
    assert len(config.towers) == 8
    assert config.towers.street.data.rows == 16


@pytest.mark.parametrize("config", ["planet/512", "planet/256x64"])
def test_unified_reads_every_modality_of_every_size(config, world):
    from configs import unified
    from unigeo_jax import modalities
    from unigeo_jax.data import pipeline

    towers = unified.get_config(f"data={config}").towers
    readers = pipeline.readers(towers, modalities.get)
    folder = datasets.find(config, world)
    source, index = datasets.load(config, "train", world)
    read = pipeline.ReadPlaces(source, index["cell"], readers, folder)
    batch = read.batch(np.arange(64), np.arange(64, dtype=np.uint64))
    assert len(batch["here"]) == 8
    assert all(40 < here.sum() <= 64 for here in batch["here"].values())
