# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points of interest around places, against every distance in the bundle."""

import numpy as np
import pytest

from unigeo_jax.data import splits
from unigeo_jax.data.datasets import earth_crops, points


@pytest.fixture(scope="module")
def places():
    return earth_crops.Places()


@pytest.fixture(scope="module")
def found(places):
    lat, lon = np.array([48.8566, -54.9, 0.0]), np.array([2.3522, -67.6, -140.0])
    lines = points.Points(places).lines(lat, lon, 50.0)
    return [[line.split("\t") for line in text.split("\n") if line] for text in lines]


def test_lines_are_kind_name_and_km_nearest_first_and_at_most_32(found):
    paris, tierra_del_fuego, sea = found
    assert len(paris) == points.MOST
    assert 0 < len(tierra_del_fuego) < points.MOST
    assert sea == []
    for lines in (paris, tierra_del_fuego):
        km = [float(far) for _, _, far in lines]
        assert km == sorted(km)
        assert km[-1] <= 50
        for kind, name, _ in lines:
            assert kind in {*points.KINDS.values(), points.AIRPORT, points.DESCRIBED}
            assert name.strip() == name != ""


def test_the_points_are_those_of_the_bundle_within_reach(found, places):
    airports = earth_crops.table("airfields.npz")
    lat = np.concatenate([places.lat, airports["lat"]])
    lon = np.concatenate([places.lon, airports["lon"]])
    names = [*places.names, *bytes(airports["names"]).decode().split("\n")]
    dot = splits.unit_vectors(lat, lon) @ splits.unit_vectors(-54.9, -67.6)
    km = splits.EARTH_RADIUS_KM * np.arccos(np.clip(dot, -1, 1))
    expected = {(names[i], f"{km[i]:.1f}") for i in np.flatnonzero(km <= 50)}
    assert {(name, far) for kind, name, far in found[1] if "city" not in kind} == (
        expected
    )


def test_airports_capitals_and_described_cities_are_named_as_what_they_are(places):
    (text,) = points.Points(places).lines([21.3245], [-157.9251], 5.0)
    kinds = {line.split("\t")[0]: line.split("\t")[1] for line in text.split("\n")}
    assert "Inouye" in kinds["airport"]
    (text,) = points.Points(places).lines([48.8566], [2.3522], 2.0)
    lines = [line.split("\t")[:2] for line in text.split("\n")]
    assert ["capital", "Paris"] in lines
    described = next(name for kind, name in lines if kind == points.DESCRIBED)
    assert described.startswith("Paris, capital")


@pytest.mark.parametrize(
    ("lead", "says"),
    [
        ("Lyon is the third-largest city of France. It is old.", "third-largest city"),
        ("Kinshasa, formerly Leopoldville, is a port", "port"),
        ("No predicate here", ""),
    ],
)
def test_a_lead_gives_what_its_subject_is(lead, says):
    assert points.predicate(lead).startswith(says)
    assert bool(points.predicate(lead)) == bool(says)


def test_a_long_predicate_is_cut_at_a_word():
    said = points.predicate("It is " + "very " * 40 + "long.")
    assert len(said) <= 80
    assert set(said.split()) == {"very"}
