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


def saved(image: PIL.Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA"])
def test_every_format_and_mode_reads_as_pillow_reads_it(kind, mode):
    if (kind, mode) in {("JPEG", "P"), ("JPEG", "RGBA"), ("PNG", "CMYK")}:
        pytest.skip("the format has no such mode")
    noise = np.random.default_rng(0).integers(0, 256, (41, 37, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noise).convert(mode), kind)
    with PIL.Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode(data), expected)
    assert images.decode(data, 1).shape == (41, 37, 1)


def test_the_grey_of_a_colour_jpeg_is_its_luma():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    colour = np.stack([np.broadcast_to(ramp, (64, 64))] * 3, axis=-1)
    data = saved(PIL.Image.fromarray(colour), "JPEG", quality=95)
    got = images.decode(data, 1)[..., 0].astype(int)
    assert np.abs(got - colour[..., 0]).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_refused_not_clipped(kind):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    with pytest.raises(ValueError, match="more than 8 bits a channel"):
        images.decode(saved(PIL.Image.fromarray(deep), kind))


def test_damaged_jpegs_raise_a_value_error():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noise), "JPEG")
    start = data.index(b"\xff\xc0") + 5  # height and width of the frame
    huge = data[:start] + b"\xff\xff\xff\xff" + data[start + 4 :]
    for bad in (data[:100], data[: len(data) // 2], data[:3], huge):
        with pytest.raises(ValueError, match="cannot be read"):
            images.decode(bad)
