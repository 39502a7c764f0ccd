# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinate encoders after SatCLIP and GeoCLIP against their formulas in NumPy."""

import jax
import numpy as np
import pytest

from configs import peers
from unigeo_jax.modalities import geoclip, satclip
from unigeo_jax.nn import fourier, harmonics

LATLON = np.array([[48.2, 16.4], [-33.9, 151.2], [0, -179.9]], np.float32)


def test_satclip_is_harmonics_and_sines():
    net = satclip.Encoder(dim=8, levels=6, hidden=16, layers=2)
    params = net.init(jax.random.key(0), LATLON)["params"]
    params = jax.tree.map(np.asarray, params)
    x = harmonics.real_harmonics(LATLON.astype(np.float64), 6, m0_pi=True)
    for name, w0 in (("siren_0", 30.0), ("siren_1", 1.0)):
        x = np.sin(w0 * (x @ params[name]["kernel"] + params[name]["bias"]))
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    got = net.apply({"params": params}, LATLON)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert np.abs(params["siren_0"]["kernel"]).max() <= 1 / 36
    assert np.abs(params["siren_1"]["kernel"]).max() == pytest.approx(
        np.sqrt(6 / 16), rel=0.05
    )


def test_geoclip_is_a_sum_over_scales():
    net = geoclip.Encoder(dim=8, sigmas=(1.0, 4.0), frequencies=5, hidden=16, layers=2)
    params = net.init(jax.random.key(0), LATLON)["params"]
    params = jax.tree.map(np.asarray, params)
    at = np.asarray(fourier.project_equal_earth(LATLON))
    expected = 0
    for scale in range(2):
        turns = 2 * np.pi * at @ params["frequencies"][scale].T
        x = np.concatenate([np.cos(turns), np.sin(turns)], 1)
        for name in ("hidden_0", "hidden_1", "head"):
            layer = params[f"scale_{scale}_{name}"]
            x = x @ layer["kernel"] + layer["bias"]
            x = x if name == "head" else np.maximum(x, 0)
        expected = expected + x
    got = net.apply({"params": params}, LATLON)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_an_unknown_encoder_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="got 'oracle'; allowed: satclip, satclip40"):
        peers.get_config("coords=oracle")
