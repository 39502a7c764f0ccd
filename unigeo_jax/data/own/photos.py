# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' image files: read with care, turned as EXIF asks, fitted, encoded again.

What a file is, and how large, is read from its header before anything is decoded.
"""

import functools
import io
import os
import pathlib
import stat
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import scipy.spatial
import simplejpeg

from unigeo_jax.data import images, splits
from unigeo_jax.data.own import remote

MAX_BYTES = 64_000_000
NO_IMAGE = f"no {'/'.join(images.FORMATS)} image"
OUTSIDE = "outside of the folder of images (--images)"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
FORMS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
QUALITY = 92
_PLAIN = ("RGB", "L", "P", "RGBA", "LA", "1")
# Segments of a JPEG before its pixels: JFIF, Adobe, comment, tables, frame. Others may
# hold what changes how it is read: EXIF, further pictures.
_SAID = [bytes([n]) for n in (0xE0, 0xEE, 0xFE, 0xDB, 0xC4, 0xDD, 0xC0, 0xC1, 0xC2)]
# Nor does opening wait, as it would for a pipe that nobody writes to.
_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TURNED = 0x0112  # EXIF: orientation


class Unusable(ValueError):
    """An image file that is masked; the message says why, in few words."""


def load(root: str, path: str) -> bytes:
    """Bytes of a file below `root`, a folder or an address.

    Raises:
      Unusable: outside of root, missing, not a file, or too large.
    """
    if remote.is_remote(root):
        return _load_remote(root, path)
    name = os.path.basename(path)
    full = os.path.join(_resolved(root, os.path.dirname(path)), name)
    if name in ("", ".."):
        full = os.path.realpath(full)
    try:
        try:
            return _read(root, full)
        except OSError as error:
            if not os.path.islink(full):
                raise error
            return _read(root, os.path.realpath(full))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unusable("no such file") from error
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror})") from error


def _read(root: str, full: str) -> bytes:
    """Bytes of a file, in few calls of the system; OSError for a link."""
    if not os.path.join(full, "").startswith(os.path.join(_resolved(root), "")):
        raise Unusable(OUTSIDE)
    file = os.open(full, _NO_LINK)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise Unusable("no such file")
        if about.st_size > MAX_BYTES:
            raise Unusable(f"more than {MAX_BYTES} bytes")
        data = os.read(file, about.st_size)
        while more := os.read(file, about.st_size - len(data)):
            data += more
        return data
    finally:
        os.close(file)


@functools.lru_cache(maxsize=1024)
def _resolved(root: str, below: str = "") -> str:
    return os.path.realpath(os.path.join(root, below))


def _load_remote(root: str, path: str) -> bytes:
    try:
        data = remote.read(remote.below(root, path), MAX_BYTES)
    except ValueError as error:
        raise Unusable(OUTSIDE) from error
    except FileNotFoundError as error:
        raise Unusable("no such file") from error
    if len(data) > MAX_BYTES:
        raise Unusable(f"more than {MAX_BYTES} bytes")
    return data


def decode(
    data: bytes, least: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, list[str]]:
    """Pixels, uint8 (height, width, 3), and what was repaired.

    A JPEG far larger than `least` (height, width), to which `fit` will bring it, is
    decoded at the smallest of its scales (n / 8) that is twice that: much less work.

    Raises:
      Unusable: no image, damaged, too many pixels, more than 8 bits a channel.
    """
    repaired = []
    try:
        if _plain(data):
            return _pixels(data, least), repaired
        with _open(io.BytesIO(data)) as image:
            if image.mode in images.DEEP or image.mode.startswith("I;16"):
                raise Unusable("more than 8 bits a channel; allowed: --raster")
            if getattr(image, "n_frames", 1) > 1:
                repaired.append("several frames, first taken")
            turned = image.getexif().get(_TURNED, 1) if "exif" in image.info else 1
            if image.mode == "CMYK":
                repaired.append("CMYK, converted to RGB")
            elif image.mode not in _PLAIN:
                raise Unusable(f"mode {image.mode}")
            if turned == 1 and image.format == "JPEG" and image.mode in ("RGB", "L"):
                return _pixels(data, least), repaired
            if turned not in (0, 1):
                repaired.append("turned as EXIF asks")
                image = PIL.ImageOps.exif_transpose(image)
            return np.asarray(image.convert("RGB")), repaired
    except Unusable:
        raise
    except Exception as error:
        raise _unusable(error, "damaged") from error


def _plain(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and colours of a JPEG that says nothing else; None for others.

    Reading that from Pillow takes a fifth of the time of decoding.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] in _SAID:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at : at + 2] != b"\xff\xda":
        return None
    try:
        return images.jpeg_header(data)
    except images.TooLarge:
        raise
    except ValueError:  # Pillow says what it is
        return None


def _pixels(data: bytes, least: tuple[int, int]) -> np.ndarray:
    if not all(least):
        return images.decode(data)
    height, width = 2 * least[0], 2 * least[1]
    return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)


def header(data: bytes) -> str:
    """Suffix of an image's format, read from its header only.

    Raises:
      Unusable: no image, too many pixels, too many bytes.
    """
    if len(data) > MAX_BYTES:
        raise Unusable(f"more than {MAX_BYTES} bytes")
    try:
        with _open(io.BytesIO(data)) as image:
            return FORMS[image.format or ""]
    except Exception as error:
        raise _unusable(error, NO_IMAGE) from error


def _unusable(error: Exception, otherwise: str) -> Unusable:
    """What Pillow raised, in few words; raises MemoryError for that of this machine."""
    images.raise_memory(error)
    if isinstance(error, images.TooLarge | PIL.Image.DecompressionBombError):
        return Unusable(f"more than {images.MAX_PIXELS} pixels")
    if isinstance(error, PIL.UnidentifiedImageError):
        return Unusable(NO_IMAGE)
    return Unusable(otherwise)


def _open(file: BinaryIO) -> PIL.Image.Image:
    """As `images.opened`, without Pillow's warning of what it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        return images.opened(file)


def fit(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut the middle of the aspect height:width out of a picture and resize it."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    scale = min(rows / height, columns / width)
    top, left = (rows - height * scale) / 2, (columns - width * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    image = PIL.Image.fromarray(pixels)
    how = PIL.Image.Resampling.BILINEAR
    return np.asarray(image.resize((width, height), how, box, reducing_gap=3.0))


def encode(pixels: np.ndarray, form: str) -> bytes:
    """Bytes of uint8 (height, width, 1 or 3), `form` png or jpeg."""
    if form == "png":
        return images.encode_png(np.ascontiguousarray(pixels))
    space = "RGB" if pixels.shape[-1] == 3 else "GRAY"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, space, "420")


def is_plain_jpeg(data: bytes, height: int, width: int) -> bool:
    """Whether a file can stand in the records as it is; `decode` comes first."""
    found = _plain(data) if b"Exif" in data else images.jpeg_header(data)
    return found == (height, width, "YCbCr")


def positions(folder: pathlib.Path) -> Iterator[tuple[str, float, float]]:
    """Path below `folder`, latitude and longitude of each photo that tells them."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            try:
                with path.open("rb") as file, _open(file) as image:
                    gps = image.getexif().get_ifd(PIL.ExifTags.IFD.GPSInfo)
            except Exception as error:  # what Pillow raises of a damaged photo
                images.raise_memory(error)
                continue
            at = _degrees(gps, 1, 2), _degrees(gps, 3, 4)
            if abs(at[0]) <= 90 and abs(at[1]) <= 180:
                yield path.relative_to(folder).as_posix(), *at


def _degrees(gps: dict[int, Any], side: int, value: int) -> float:
    try:
        degrees, minutes, seconds = (float(x) for x in gps[value])
        sign = -1.0 if str(gps[side]).upper() in ("S", "W") else 1.0
        return sign * (degrees + minutes / 60 + seconds / 3600)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return float("nan")


def join(
    lat_i: np.ndarray,
    lon_i: np.ndarray,
    found: list[tuple[str, float, float]],
    metres: float,
    most: int,
) -> list[list[str]]:
    """Paths of the photos within `metres` of each place, the nearest `most`."""
    if not found:
        return [[] for _ in lat_i]
    found = sorted(found)
    names, lat_j, lon_j = zip(*found, strict=True)
    tree: Any = scipy.spatial.KDTree(
        splits.unit_vectors(np.array(lat_j), np.array(lon_j))
    )
    at = splits.unit_vectors(lat_i, lon_i)
    reach = float(splits.chord(metres / 1000))
    nearest = tree.query(at, k=list(range(1, most + 1)), distance_upper_bound=reach)
    return [[names[n] for n in row if n < len(names)] for row in nearest[1]]
