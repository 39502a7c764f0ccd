# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small images as bytes, against Pillow, and files that are damaged or too large."""

import io

import numpy as np
import PIL.Image
import pytest

from unigeo_jax.data import images


@pytest.mark.parametrize("channels", [1, 3])
def test_png_files_agree_with_pillow_both_ways(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, channels), np.uint8)
    data = images.encode_png(pixels)
    with PIL.Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels.squeeze()).save(stream, "PNG")
    np.testing.assert_array_equal(images.decode(stream.getvalue(), channels), pixels)
    np.testing.assert_array_equal(images.decode(data, channels), pixels)


def test_bad_images_raise_a_value_error_and_nothing_else():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = images.encode_png(pixels)
    flipped = data[:90] + bytes([data[90] ^ 255]) + data[91:]
    huge = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "GIF")
    for bad in (b"", b"x", data[:50], data[:-30], flipped, huge, stream.getvalue()):
        with pytest.raises(ValueError, match="cannot be read"):
            images.decode(bad)
