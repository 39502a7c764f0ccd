# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small images as bytes, against Pillow, and files that are damaged or too large."""

import io
import struct
import subprocess
import sys

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


def tiff(width, length):
    """A TIFF of 16 x 16 grey pixels, by LZW, in one tile of this claimed size."""
    own = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 277: 1}  # sides, bits, ...
    own |= {322: width, 323: length, 324: 200, 325: 100}  # tile: sides, place, bytes
    entries = [struct.pack("<HHII", t, 4, 1, v) for t, v in sorted(own.items())]
    head = b"II*\0" + struct.pack("<IH", 8, len(own))
    return head + b"".join(entries) + bytes(1000)


def webp(kind, side):
    """A WebP whose header claims side x side pixels."""
    data = bytearray(
        saved(PIL.Image.new("RGB", (8, 8)), "WEBP", lossless=kind == "VP8L")
    )
    if kind == "VP8X":
        body = b"\0\0\0\0" + 2 * (side - 1).to_bytes(3, "little")
        data[12:12] = b"VP8X" + struct.pack("<I", len(body)) + body
    elif kind == "VP8L":
        data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    else:
        data[26:30] = struct.pack("<HH", side, side)
    data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


# Runs in a process of its own, that may take 64 MB more than it has.
DECODE = """
import pathlib, resource, sys
from unigeo_jax.data import images
from unigeo_jax.data.own import photos
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
most = size * resource.getpagesize() + 2**26
resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
for path in sys.argv[1:]:
    data = pathlib.Path(path).read_bytes()
    for read in (images.decode, photos.decode):
        try:
            read(data)
        except Exception as error:
            print(type(error).__name__, str(error)[:60])
"""


def decoded(*paths):
    command = [sys.executable, "-c", DECODE, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_sizes_are_refused_from_the_header_and_a_lack_of_memory_is_none_of_them(
    tmp_path,
):
    claims = {
        "tiles": tiff(40_000, 50_000),  # 2 GB for 16 x 16 pixels
        "VP8": webp("VP8 ", 16_000),
        "VP8L": webp("VP8L", 16_000),
        "VP8X": webp("VP8X", 12_000),
    }
    for name, data in claims.items():
        (tmp_path / name).write_bytes(data)
    lines = decoded(*(tmp_path / name for name in claims))
    assert [x.split()[0] for x in lines] == ["ValueError", "Unusable"] * len(claims)
    assert all("more than 64000000 pixels" in line for line in lines[1::2]), lines
    assert "40000 x 50000 pixels" in lines[0]
    # What is allowed, on a machine that has no room for it.
    (tmp_path / "tiff").write_bytes(tiff(20_000, 3_200))
    (tmp_path / "png").write_bytes(saved(PIL.Image.new("RGBA", (8_000, 8_000)), "PNG"))
    lines = decoded(tmp_path / "png", tmp_path / "tiff")
    assert [line.split()[0] for line in lines] == ["MemoryError"] * 4, lines
