# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Night lights: the middle of the tile, darkness included."""

import numpy as np

from unigeo_jax.modalities import night


def test_the_middle_is_cut_out_and_darkness_is_present():
    tile = np.zeros((20, 20, 1), np.uint8)
    tile[2, 2] = 200
    got = night.read({"night": tile}, None)
    assert got.shape == night.spec().shape and got.dtype == np.uint8
    assert got[0, 0, 0] == 200
    assert night.read({"night": np.zeros((16, 16, 1), np.uint8)}, None) is not None
    assert night.read({}, None) is None


def test_a_small_raster_is_enlarged_and_a_flat_one_stays_flat():
    got = night.read({"night": np.full((8, 8), 70, np.uint8)}, None, size=16)
    assert got.shape == (16, 16, 1) and (got == 70).all()
