# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Resizing and scaling against transformers' processors, with SigLIP 2's values."""

import numpy as np
import pytest

from unigeo_jax.modalities import aerial

# preprocessor_config.json of the released checkpoints; 2 is bilinear.
VALUES = {"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def picture(height: int, width: int) -> np.ndarray:
    """Noise over a gradient: edges of every kind, all 256 levels."""
    rng = np.random.default_rng(height * width)
    noise = rng.integers(0, 256, (height, width, 3))
    ramp = np.linspace(0, 255, width)[None, :, None]
    return np.where(rng.random((height, width, 1)) < 0.5, noise, ramp).astype(np.uint8)


def ours(image: np.ndarray, size: int) -> np.ndarray:
    if image.shape[:2] != (size, size):
        image = aerial.resize(image, size, size)
    return np.asarray(aerial.scale_pixels(image)).transpose(2, 0, 1)


SIZE = {"height": 224, "width": 224}
SHAPES = [(224, 224), (300, 500), (97, 64), (1024, 768), (225, 224)]


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_equal_the_processor_of_transformers(shape):
    pytest.importorskip("torch")
    name = "transformers.models.siglip.image_processing_pil_siglip"
    library = pytest.importorskip(name)
    processor = library.SiglipImageProcessorPil(size=SIZE, **VALUES)
    image = picture(*shape)
    expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    np.testing.assert_allclose(ours(image, 224), expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_within_one_level_of_torchs_kernel(shape):
    """The fast processor resizes by it: uint8, other weights in the last place."""
    torch = pytest.importorskip("torch")
    image = picture(*shape)
    batch = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    options = {"mode": "bilinear", "antialias": True}
    resized = torch.nn.functional.interpolate(batch, (224, 224), **options)[0].numpy()
    level = 2 / 255
    difference = np.abs(ours(image, 224) - (resized * level - 1))
    assert difference.max() < 1.001 * level
    assert difference.mean() < 0.05 * level


def test_the_range_is_minus_one_to_one():
    image = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3)
    got = np.asarray(aerial.scale_pixels(image)).ravel()
    np.testing.assert_allclose(got, [-1.0, -0.6, 1.0], rtol=0, atol=1e-7)
    assert got.dtype == np.float32
