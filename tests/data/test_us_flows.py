# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Shared flights and gravity flows against every pair counted by hand."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import us_flows
from unigeo_jax.data.datasets.us_flows import MODELLED, SHARED_OUT


@pytest.fixture(scope="module")
def country():
    """60 areas in a square of 4 degrees, six without people, two at one point."""
    rng = np.random.default_rng(0)
    lat_n, lon_n = rng.uniform(38, 42, 60), rng.uniform(-90, -86, 60)
    lat_n[1], lon_n[1] = lat_n[0], lon_n[0]
    people_n = np.floor(rng.lognormal(7, 2, 60))
    people_n[10:16] = 0
    return splits.unit_vectors(lat_n, lon_n), people_n


def km_between(at_n3, to_m3):
    return splits.EARTH_RADIUS_KM * np.arccos(np.clip(at_n3 @ to_m3.T, -1, 1))


def test_gravity_is_people_times_people_by_distance_squared_cut_at_the_strongest(
    country, monkeypatch
):
    at_n3, people_n = country
    monkeypatch.setattr(us_flows, "NEIGHBOURS", 5)
    km_nn = np.maximum(km_between(at_n3, at_n3), us_flows.CLOSEST_KM)
    weight_nn = people_n[:, None] * people_n / km_nn**2
    weight_nn[km_nn > us_flows.GRAVITY_KM] = 0
    np.fill_diagonal(weight_nn, 0)
    fifth_n = np.sort(weight_nn, 1)[:, -5]
    weight_nn[weight_nn < fifth_n[:, None]] = 0
    weight_nn *= people_n.sum() / weight_nn.sum()
    for chunk in (7, 60):
        edges = us_flows.gravity(at_n3, people_n, chunk)
        found_nn = np.zeros_like(weight_nn)
        found_nn[edges.origin, edges.destination] = edges.weight
        assert len(edges.weight) == (weight_nn > 0).sum()
        np.testing.assert_allclose(found_nn, weight_nn, rtol=1e-6)
    assert not np.isin(np.arange(10, 16), edges.origin).any()
    assert found_nn[0, 1] > 0  # at one point, so 1 km apart


def test_flights_between_airports_are_shared_out_and_none_is_lost(country):
    at_n3, people_n = country
    airport_a3 = splits.unit_vectors([40.0, 39.0, 10.0], [-88.0, -87.0, 0.0])
    flights = us_flows.Edges(
        np.array([0, 1, 0]), np.array([1, 0, 2]), np.array([1000.0, 50.0, 7.0])
    )
    edges = us_flows.air(at_n3, people_n, airport_a3, flights)
    km_an = km_between(airport_a3, at_n3)
    near_an = (km_an <= us_flows.AIRPORT_KM) & (people_n > 0)
    shares = []
    for near_n in near_an[:2]:
        top = np.argsort(-np.where(near_n, people_n, -1))[: us_flows.AREAS]
        share_n = np.zeros(len(people_n))
        share_n[top] = np.where(near_n[top], people_n[top], 0)
        shares.append(share_n / share_n.sum())
    expected = 1000 * np.outer(*shares) + 50 * np.outer(*shares[::-1])
    np.fill_diagonal(expected, 0)
    found = np.zeros_like(expected)
    np.add.at(found, (edges.origin, edges.destination), edges.weight)
    np.testing.assert_allclose(found, expected)
    assert not near_an[0][near_an[1]].any()  # so nothing stays within one area
    assert edges.weight.sum() == pytest.approx(1050)  # the third has no area at all


def test_an_airport_far_from_everybody_shares_nothing(country):
    at_n3, _ = country
    nobody_n = np.zeros(len(at_n3))
    node_ak, share_ak = us_flows.catchments(at_n3, nobody_n, at_n3[:2])
    assert node_ak.shape == share_ak.shape == (2, us_flows.AREAS)
    assert not share_ak.any()


def run_on(data="us_places", towers=(), **more):
    """A run's config, in the parts that tell which flows it learned from."""
    found = {"data": {"name": data}, "towers": dict(towers), **more}
    return found, ConfigDict(found)


def flows(**data):
    return {"flows": {"module": "mobility", "data": {"graph": "", "kinds": ()} | data}}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_on("us_places", flows()), [MODELLED, SHARED_OUT]),
        (run_on("us_places/tiny", {"mobility": {"data": {}}}), [MODELLED, SHARED_OUT]),
        (run_on("us_places", flows(kinds=("air",))), [SHARED_OUT]),
        (run_on("us_places", flows(kinds=(us_flows.GRAVITY,))), [MODELLED]),
        (run_on("us_places", flows(graph="mine")), []),
        (run_on("us_places", {"poi": {"data": {}}}), []),
        (run_on("mine", flows()), []),
        (run_on(taught_by=("poi", "mobility")), [MODELLED, SHARED_OUT]),
        (run_on(taught_by=("poi",)), []),
    ],
)
def test_what_is_to_be_said_of_the_flows_of_a_run(run, said):
    for config in run:
        assert us_flows.cautions(config) == said == datasets.cautions(config)
        assert (us_flows.mark(config) == " (modelled)") == (MODELLED in said)
