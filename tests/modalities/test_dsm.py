# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Surface height: scaling, voids, sea, and agreement with the aerial image."""

import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.modalities import aerial, dsm


def heights(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-50, 3000, (28, 28)).astype(np.int16)


def test_a_tile_is_its_height_above_the_median_in_units_of_scale_and_clipped():
    for size in (23, 24):
        got = dsm.read({"dsm": heights()}, None, size=size, scale_m=100, clip=8)
        start = (28 - size) // 2
        tile = heights()[start : start + size, start : start + size].astype(float)
        expected = np.clip((tile - np.median(tile)) / 100, -8, 8)
        np.testing.assert_allclose(got[..., 0], expected, atol=1e-5)
        assert got.dtype == np.float32 and got.shape == dsm.spec(size=size).shape


def test_a_large_tile_takes_its_median_of_some_rows_however_it_is_turned():
    rng = np.random.default_rng(0)
    raster = rng.normal(500, 30, (64, 64)).astype(np.float32)
    options = {"size": 56, "scale_m": 1, "clip": 1e9}
    tile = raster[4:60, 4:60]
    expected = tile - np.median(tile[::2, ::2])
    got = dsm.read({"dsm": raster}, None, **options)[..., 0]
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert abs(np.median(got)) < 3
    for seed in range(8):
        rng = np.random.Generator(np.random.SFC64(seed))
        element = int(8 * np.random.Generator(np.random.SFC64(seed)).random())
        turned = dsm.read({"dsm": raster}, rng, shift=0, symmetry=True, **options)
        np.testing.assert_array_equal(turned[..., 0], aerial.turn(got, element))


def test_absolute_elevation_is_left_out():
    low = dsm.read({"dsm": heights()}, None)
    high = dsm.read({"dsm": heights() + np.int16(1000)}, None)
    np.testing.assert_allclose(low, high, atol=1e-6)


def test_voids_are_zero_and_leave_the_median_alone():
    raster = heights()
    raster[:, :8] = dsm.VOID
    got = dsm.read({"dsm": raster}, None)[..., 0]
    tile = raster[2:26, 2:26].astype(float)
    known = tile != dsm.VOID
    expected = np.where(known, np.clip((tile - np.median(tile[known])) / 500, -8, 8), 0)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    as_nan = np.where(raster == dsm.VOID, np.nan, raster).astype(np.float32)
    np.testing.assert_array_equal(dsm.read({"dsm": as_nan}, None)[..., 0], got)


def test_sea_and_tiles_of_mostly_void_are_absent():
    half = heights()
    half[:14] = dsm.VOID
    assert dsm.read({"dsm": half}, None) is not None
    half[14] = dsm.VOID
    assert dsm.read({"dsm": half}, None) is None
    assert dsm.read({"dsm": np.zeros((28, 28), np.int16)}, None) is None
    assert dsm.read({"dsm": np.full((28, 28), dsm.VOID, np.int16)}, None) is None
    assert dsm.read({}, None) is None


def test_symmetry_and_shift_agree_with_the_aerial_image_of_the_place():
    rows, columns = np.mgrid[:28, :28]
    picture = np.stack([rows, columns, rows], -1).astype(np.uint8)
    raster = np.random.default_rng(0).permutation(28 * 28).reshape(28, 28)
    record = {"dsm": raster.astype(np.int16), "aerial": picture}
    options = {"size": 24, "shift": 2, "symmetry": True}
    tiles = set()
    for seed in range(40):
        rngs = [np.random.Generator(np.random.SFC64(seed)) for _ in range(2)]
        tile = dsm.read(record, rngs[0], scale_m=1, clip=1e9, **options)[..., 0]
        image = aerial.read(record, rngs[1], jitter=0, **options)
        expected = raster[image[..., 0], image[..., 1]]
        np.testing.assert_allclose(tile, expected - np.median(expected), atol=1e-3)
        tiles.add(tile.tobytes())
    assert len(tiles) > 30


def test_a_size_above_the_native_one_is_interpolated():
    got = dsm.read({"dsm": heights()}, None, size=224)
    assert got.shape == (224, 224, 1)
    assert abs(got.mean() - dsm.read({"dsm": heights()}, None).mean()) < 0.05


def test_encoder_reads_the_class_token_after_registers(draw):
    x = jax.random.normal(jax.random.key(0), (2, 24, 24, 1))
    encoder = dsm.Encoder(dim=16, patch=8, width=16, depth=1, heads=2)
    params = draw(encoder, x)["params"]
    assert params["registers"].shape == (1, 4, 16)
    assert params["pos_embedding"].shape == (1, 9, 16)
    apply = jax.jit(encoder.apply)
    before = apply({"params": params}, x)
    moved = {**params, "cls": params["cls"] + jnp.linspace(-1, 1, 16).reshape(1, 1, 16)}
    assert float(jnp.abs(apply({"params": moved}, x) - before).max()) > 1e-2


def test_contrast_lifts_gentle_relief_and_is_off_by_default(draw):
    x = jax.random.normal(jax.random.key(0), (2, 24, 24, 1))
    options = {"dim": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    plain, lifted = dsm.Encoder(**options), dsm.Encoder(**options, contrast=20.0)
    variables = draw(plain, x)
    expected = jax.jit(plain.apply)(variables, jnp.arcsinh(20.0 * x))
    got = jax.jit(lifted.apply)(variables, x)
    np.testing.assert_allclose(got, expected, atol=1e-5)
