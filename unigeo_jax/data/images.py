# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small images as bytes: a fast PNG writer, and a reader that is hard to hurt.

The writer leaves rows unfiltered and deflates quickly, so that the reader undoes
it with one call of zlib. JPEG is read by simplejpeg, every other file by Pillow, to
the same pixels: both stand on libjpeg-turbo's accurate transform.

What a file claims of its size is bounded before anything is decoded. So a MemoryError
tells of this machine, not of the file: it is raised, not taken for a damaged image.
"""

import io
import struct
import zlib
from typing import BinaryIO

import numpy as np
import PIL.Image
import simplejpeg

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
# Pillow would clip more than 8 bits a channel to 255 in silence.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What decoders say instead of a MemoryError: libtiff (Pillow), Pillow, libjpeg-turbo.
_NO_MEMORY = ("decoder error -9", "out of memory", "nsufficient memory")
TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of TIFF
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: 1, 2: 3}  # PNG colour type -> channels: grey, RGB


class TooLarge(ValueError):
    """An image whose header claims too many pixels."""


def _chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def encode_png(pixels: np.ndarray, level: int = 1) -> bytes:
    """Write uint8 (height, width, 1 or 3) as a PNG without row filters."""
    height, width, channels = pixels.shape
    if pixels.dtype != np.uint8 or channels not in (1, 3):
        raise ValueError(
            f"encode_png: got {pixels.dtype} {pixels.shape},"
            " allowed uint8 (height, width, 1 or 3)"
        )
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    kind = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(rows.tobytes(), level))
    return _SIGNATURE + _chunk(b"IHDR", header) + body + _chunk(b"IEND", b"")


def _decode_plain_png(data: bytes) -> np.ndarray | None:
    """Read what `encode_png` writes; None if the file is of another make."""
    if data[:16] != _SIGNATURE + b"\0\0\0\rIHDR" or data[37:41] != b"IDAT":
        return None
    width, height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    channels = _COLOURS.get(kind)
    size = struct.unpack(">I", data[33:37])[0]
    if channels is None or depth != 8 or interlace or width * height > MAX_PIXELS:
        return None
    if data[45 + size : 53 + size] != b"\0\0\0\0IEND":
        return None
    if (
        zlib.crc32(data[37 : 41 + size])
        != struct.unpack(">I", data[41 + size : 45 + size])[0]
    ):
        raise ValueError("PNG: checksum of the pixels does not match")
    length = height * (1 + width * channels)
    reader = zlib.decompressobj()
    raw = reader.decompress(data[41 : 41 + size], length)
    if len(raw) != length:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    if rows[:, 0].any():
        return None
    return rows[:, 1:].reshape(height, width, channels)


def jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and colours of a grey or colour JPEG; None for anything else.

    Raises:
      TooLarge: of more than MAX_PIXELS pixels. ValueError: a damaged header.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
    _refuse_large([(int(width), int(height))])
    if kind not in ("YCbCr", "RGB", "Gray"):
        return None
    return int(height), int(width), kind


def _takes_bytes(into: np.ndarray) -> bool:
    flags = into.flags
    return into.dtype == np.uint8 and flags.c_contiguous and flags.writeable


def _decode_jpeg(
    data: bytes, channels: int, into: np.ndarray | None
) -> np.ndarray | None:
    """Read a grey or colour JPEG; None if it is none, or has four channels."""
    header = jpeg_header(data)
    if header is None:
        return None
    colours = "GRAY" if channels == 1 else "RGB"
    shape = (*header[:2], channels)
    if into is None or into.shape != shape or not _takes_bytes(into):
        return simplejpeg.decode_jpeg(data, colours)
    simplejpeg.decode_jpeg(data, colours, buffer=into)
    return into


def opened(file: BinaryIO) -> PIL.Image.Image:
    """An image of which only the header was read, not too large to be decoded.

    Raises:
      TooLarge: the picture, or the tiles of a TIFF, have more than MAX_PIXELS pixels.
      Exception: whatever Pillow raises of a file that is no such image.
    """
    # Pillow makes room for a WebP when it opens it; libtiff for a whole tile, however
    # small the picture is. Strips end with the picture.
    sizes = [_webp_size(file.read(30))]
    file.seek(0)
    _refuse_large(sizes)
    image = PIL.Image.open(file, formats=FORMATS)
    sizes = [image.size]
    if image.format == "TIFF":
        tags = image.tag_v2  # pyright: ignore
        sizes.append((int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_LENGTH, 0))))
    try:
        _refuse_large(sizes)
    except TooLarge:
        image.close()
        raise
    return image


def _refuse_large(sizes: list[tuple[int, int]]) -> None:
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise TooLarge(f"{width} x {height} pixels")


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height from the first 30 bytes of a WebP; zeros if it is none."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return 0, 0
    if head[12:16] == b"VP8X":
        ends = int.from_bytes(head[24:27], "little"), head[27:30]
        return 1 + ends[0], 1 + int.from_bytes(ends[1], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
    return width & 0x3FFF, height & 0x3FFF


def raise_memory(error: Exception) -> None:
    """Raises MemoryError where a decoder failed for lack of memory; else returns."""
    if isinstance(error, MemoryError) or any(w in str(error) for w in _NO_MEMORY):
        raise MemoryError(f"decoding an image: {error}") from error


def decode(
    data: bytes, channels: int = 3, into: np.ndarray | None = None
) -> np.ndarray:
    """Read an image as uint8 (height, width, channels), channels 1 or 3.

    A rotation that EXIF asks for is not applied; transparency is dropped. A JPEG of the
    shape of `into` is decoded there if that is contiguous uint8, and `into` returned;
    of a damaged one it holds what could be read.

    Raises:
      ValueError: not such an image, damaged, of more than 64 million pixels (or a TIFF
        of such tiles), or of more than 8 bits a channel.
      MemoryError: this machine has no room for what is allowed.
    """
    try:
        pixels = _decode_plain_png(data)
        if pixels is not None and pixels.shape[2] == channels:
            return pixels
        pixels = _decode_jpeg(data, channels, into)
        if pixels is not None:
            return pixels
        with opened(io.BytesIO(data)) as image:
            if image.mode in DEEP:
                raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # Pillow raises what comes, TypeError too
        raise_memory(error)
        raise ValueError(
            f"image of {len(data)} bytes cannot be read: {error};"
            f" allowed {'/'.join(FORMATS)} of 8 bits up to {MAX_PIXELS} pixels"
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)
