# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Aerial images on the host and in the encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax import modalities
from unigeo_jax.modalities import aerial
from unigeo_jax.nn import vit


def image(side=36):
    rows, columns = np.mgrid[:side, :side]
    return np.stack([rows, columns, rows + columns], -1).astype(np.uint8)


def test_evaluation_takes_the_middle_pixels_unchanged():
    got = aerial.read({"aerial": image()}, None, size=32, shift=2, symmetry=True)
    np.testing.assert_array_equal(got, image()[2:34, 2:34])


def test_training_shifts_reach_every_offset_and_change_nothing_else():
    offsets = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        got = aerial.read({"aerial": image()}, rng, size=32, shift=2, jitter=0)
        top, left = (int(v) for v in got[0, 0, :2])
        np.testing.assert_array_equal(got, image()[top : top + 32, left : left + 32])
        offsets.add((top, left))
    assert offsets == {(r, c) for r in range(5) for c in range(5)}


def test_symmetry_draws_all_eight_elements_of_the_square():
    seen = set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        options = {"shift": 0, "jitter": 0, "symmetry": True}
        got = aerial.read({"aerial": image(32)}, rng, size=32, **options)
        np.testing.assert_array_equal(np.unique(got[..., :2]), np.arange(32))
        seen.add(got.tobytes())
    elements = {
        np.ascontiguousarray(aerial.turn(image(32), e)).tobytes() for e in range(8)
    }
    assert seen == elements and len(elements) == 8


def test_colour_jitter_keeps_middle_grey_within_its_offset_and_never_wraps_round():
    rng = np.random.default_rng(0)
    grey = np.full((4, 4, 3), 127, np.uint8)
    white, black = np.full_like(grey, 255), np.zeros_like(grey)
    for _ in range(50):
        moved = aerial.jitter_colours(grey, rng, 0.1).astype(int)
        assert np.abs(moved - 127).max() <= 0.1 * 128 + 2
        assert aerial.jitter_colours(white, rng, 0.1).min() > 200
        assert aerial.jitter_colours(black, rng, 0.1).max() < 55
    np.testing.assert_array_equal(aerial.jitter_colours(image(), rng, 0.0), image())


def test_a_size_above_the_native_one_is_interpolated_to_spec():
    got = aerial.read({"aerial": image()}, None, size=224)
    zeros = aerial.spec(size=224)
    assert got.shape == zeros.shape == (224, 224, 3) and got.dtype == zeros.dtype
    # A linear ramp stays a linear ramp: the mean of the 32 native pixels is kept.
    assert abs(got.mean() - image()[2:34, 2:34].mean()) < 1


def test_a_place_without_an_image_is_absent():
    assert aerial.read({}, None) is None
    assert aerial.read({"aerial": None}, None) is None


def test_a_shift_that_leaves_nothing_is_an_error():
    with pytest.raises(ValueError, match="leave nothing of a raster of 36x36"):
        aerial.read({"aerial": image()}, None, shift=18)


def test_encoder_sees_pixels_from_minus_one_to_one(draw):
    x = jnp.asarray(np.stack([image(32), 255 - image(32)]))
    options = {"patch": 8, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2}
    encoder = modalities.get("aerial").Encoder(dim=16, **options)
    variables = draw(encoder, x)
    plain = vit.ViT(**options)
    expected = jax.jit(plain.apply)(
        variables, jnp.asarray(x, jnp.float32) / 127.5 - 1.0
    )
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(variables, x), expected, atol=1e-5
    )


@pytest.mark.parametrize("element", range(8))
@pytest.mark.parametrize("shape", [(5, 7, 3), (6, 6)])
def test_symmetries_are_numpys_flips_whatever_a_pixel_is(element, shape):
    kind = np.uint8 if len(shape) == 3 else np.float32
    whole = np.random.default_rng(0).integers(0, 255, (9, 9, *shape[2:])).astype(kind)
    raster = whole[1 : 1 + shape[0], 2 : 2 + shape[1]]
    expected = np.flip(raster, 0) if element & 1 else raster
    expected = np.flip(expected, 1) if element & 2 else expected
    expected = np.swapaxes(expected, 0, 1) if element & 4 else expected
    np.testing.assert_array_equal(aerial.turn(raster, element), expected)


@pytest.mark.parametrize("symmetry", [True, False])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_what_is_left_to_the_device_comes_out_as_on_the_host(symmetry, jitter):
    rng, host, left = np.random.default_rng(0), [], []
    options = {"size": 32, "shift": 2, "jitter": jitter, "symmetry": symmetry}
    for seed in [None, *range(24)]:
        record = {"aerial": rng.integers(0, 256, (36, 36, 3)).astype(np.uint8)}
        rngs = [seed if seed is None else np.random.default_rng(seed) for _ in range(2)]
        host.append(aerial.read(record, rngs[0], **options))
        left.append(aerial.read(record, rngs[1], **options, on_device=True))
    zeros = aerial.spec(**options, on_device=True)
    assert all(jax.tree.map(np.shape, x) == jax.tree.map(np.shape, zeros) for x in left)
    x = jax.tree.map(lambda *leaves: jnp.stack(leaves), *left)
    turned = aerial.turn_each(x["image"], x["turn"])
    levels = np.asarray(jax.jit(aerial.recolour)(turned, x["colours"]))
    off = np.abs(levels - np.stack(host))  # a fused product may round another way
    assert off.max() <= (1 if jitter else 0) and (off > 0).mean() < 1e-3
    assert symmetry == bool(x["turn"].any())


def test_the_encoder_does_what_was_left_to_it_and_a_picture_is_taken_as_it_is(draw):
    record, options = {"aerial": image()}, {"size": 32, "symmetry": True}
    host = [aerial.read(record, np.random.default_rng(s), **options) for s in range(4)]
    left = [
        aerial.read(record, np.random.default_rng(s), **options, on_device=True)
        for s in range(4)
    ]
    net = {"patch": 8, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2}
    encoder = modalities.get("aerial").Encoder(dim=16, **net)
    pictures = jnp.stack(host)
    variables, x = draw(encoder, pictures), jax.tree.map(lambda *a: jnp.stack(a), *left)
    got = jax.jit(encoder.apply)(variables, x)
    np.testing.assert_allclose(
        got, jax.jit(encoder.apply)(variables, pictures), atol=2e-3
    )
    assert np.abs(got - jax.jit(encoder.apply)(variables, x["image"])).max() > 0.01
