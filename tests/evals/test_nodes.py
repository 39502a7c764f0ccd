# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of known places: looked up by position, fused over what is present."""

import numpy as np
import pytest

from unigeo_jax.evals import nodes


def places(count=4):
    rng = np.random.default_rng(count)
    z = {name: rng.normal(size=(count, 3)) for name in ("poi", "mobility")}
    here = {"poi": np.ones(count, bool), "mobility": np.arange(count) % 2 == 0}
    return nodes.Nodes(
        np.linspace(30, 45, count), np.linspace(-120, -70, count), z, here
    )


def test_a_place_is_found_in_any_order_and_after_rounding_to_float32():
    one = places()
    embed = nodes.lookup(one.lat, one.lon, one.z["poi"])
    order = np.array([2, 0, 3])
    got = embed(one.lat[order].astype(np.float32), one.lon[order].astype(np.float32))
    np.testing.assert_array_equal(got, one.z["poi"][order])
    np.testing.assert_array_equal(
        embed(one.lat[:1], one.lon[:1] + 360.0), one.z["poi"][:1]
    )
    with pytest.raises(ValueError, match=r"none of 4 at lat=30\.1"):
        embed(np.array([30.1]), np.array([-120.0]))


def test_two_nodes_in_one_place_are_averaged():
    one = places()
    lat, lon = np.append(one.lat, one.lat[1]), np.append(one.lon, one.lon[1])
    z = np.concatenate([one.z["poi"], [[9.0, 9.0, 9.0]]])
    got = nodes.lookup(lat, lon, z)(lat[[1, 0]], lon[[1, 0]])
    np.testing.assert_allclose(got, [(z[1] + 9) / 2, z[0]])


def test_what_a_place_lacks_is_left_out_of_the_mean():
    one = places()
    got = nodes.fuse(one, ["poi", "mobility"])
    np.testing.assert_allclose(got[0], (one.z["poi"][0] + one.z["mobility"][0]) / 2)
    np.testing.assert_allclose(got[1], one.z["poi"][1])
    assert not nodes.present(one, "mobility")[1].any()


def test_splits_are_put_one_behind_another():
    whole = nodes.join([places(4), places(3)])
    assert whole.lat.shape == (7,) and whole.here["poi"].shape == (7,)
    np.testing.assert_array_equal(whole.z["poi"][4:], places(3).z["poi"])


def test_encoders_of_places_are_means_of_towers_and_cover_these_places_only():
    one = places()
    found = {encoder.name: encoder for encoder in nodes.encoders(one, "a: ", ("text",))}
    assert found.keys() == {"a: mobility", "a: all towers", "a: all but mobility"}
    rows = np.array([3, 1])
    for name, towers in (
        ("all towers", ["poi", "mobility"]),
        ("mobility", ["mobility"]),
    ):
        encoder = found[f"a: {name}"]
        got = encoder.embed(one.lat[rows], one.lon[rows])
        np.testing.assert_array_equal(got, nodes.fuse(one, towers)[rows])
        assert encoder.saw == ("text",)
        assert encoder.covers and encoder.covers(one.lat[rows], one.lon[rows])
        assert not encoder.covers(one.lat[rows], one.lon[rows] + 0.01)
