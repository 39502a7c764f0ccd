# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a dataset of your own places: a table, and rasters that chips are cut from.

python launch/make_dataset.py --places=places.{csv,parquet} --out=DIR --name=NAME
    [--raster aerial=FILE.tif ...] [--metres aerial=640] [--size aerial=64]
python launch/train.py --config=configs/own.py:data=NAME --data_dir=DIR

Columns of the table: lat, lon (degrees, WGS 84), or GeoParquet points; where there
are such: id, cell, split, region, time (ISO 8601), text, poi (a line each: kind, name,
km, parted by tabs), aerial and street (paths of images; in CSV several parted by
semicolons), node (an id), demographics (a list), columns of numbers named by
--demographics, and of lists of numbers, vectors of any model, by --vectors. A raster
named aerial, night or dsm (heights in metres) feeds the tower of that name; any other
name is a tower of bands. --raster NAME=column:COLUMN cuts each place out of a GeoTIFF
of its own, whose path the table names (launch/convert.py). What is wrong with a row is
in report.txt, with its number; such rows are dropped or masked within --max_bad. Table,
images and rasters may lie behind addresses (s3://, https://).

--edges=flows.{csv,parquet} makes a graph of flows for the mobility tower: columns
origin, destination, weight and, if there is one, kind. Origins and destinations are ids
of the column node: numbers, texts or, with --h3_nodes, H3 cells of any resolution, for
which lat and lon may be missing. Flows given twice add up; an unknown node and a weight
that is negative or missing are errors that name the row; nodes without flows stay.

Killed, the same command goes on where it was. Exit codes: 0 done, 1 error, 2 usage,
3 too many bad rows.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from launch import errors

PLACES = flags.DEFINE_string("places", None, "CSV, Parquet or GeoParquet file.")
OUT = flags.DEFINE_string("out", None, "Folder of the datasets.")
NAME = flags.DEFINE_string("name", None, "Name of the dataset.")
RASTER = flags.DEFINE_multi_string("raster", [], "NAME=FILE or NAME=column:COLUMN.")
METRES = flags.DEFINE_multi_string("metres", [], "NAME=METRES a side of its chips.")
SIZE = flags.DEFINE_multi_string("size", [], "NAME=PIXELS a side of its chips (64).")
BANDS = flags.DEFINE_multi_string("bands", [], "NAME=4,3,2: bands, from 1; all.")
NODATA = flags.DEFINE_multi_string("nodata", [], "NAME=VALUE, if the file is silent.")
SCALE = flags.DEFINE_multi_string(
    "scale", [], "NAME=LOW,HIGH become 0 and 255; 2nd and 98th percentile."
)
DEMOGRAPHICS = flags.DEFINE_list("demographics", [], "Columns of numbers.")
TEXT = flags.DEFINE_string("text", "", "Template: 'A {kind} in {region}'.")
IMAGES = flags.DEFINE_string("images", "", "Folder of images; that of the table.")
AERIAL_PX = flags.DEFINE_integer("aerial_px", 256, "Pixels of the column aerial.", 8)
STREET_PX = flags.DEFINE_list("street_px", ["128", "256"], "Height and width.")
VIEWS = flags.DEFINE_integer("views", 3, "Street photos a place, at most.", 1)
PHOTOS = flags.DEFINE_string("photos", "", "Folder of photos with EXIF positions.")
PHOTO_TABLE = flags.DEFINE_string("photo_table", "", "Table: lat, lon, street (path).")
PHOTO_M = flags.DEFINE_float("photo_m", 50.0, "How far a photo may be.", 0.0)
VECTORS = flags.DEFINE_list("vectors", [], "Columns of lists of numbers.")
EDGES = flags.DEFINE_string("edges", "", "Table: origin, destination, weight, kind.")
H3_NODES = flags.DEFINE_bool("h3_nodes", False, "The column node holds H3 cells.")
SPLIT = flags.DEFINE_string(
    "split",
    "blocked:0.1",
    "random, blocked:DEGREES, s2:LEVEL, h3:RESOLUTION, region, time or column.",
)
SHARES = flags.DEFINE_list("shares", ["0.1", "0.1"], "Of val and test.")
BUFFER_M = flags.DEFINE_float(
    "buffer_m",
    -1.0,
    "Training places so near a held-out one are dropped; -1: as far as chips overlap.",
)
OVERLAP = flags.DEFINE_bool("allow_overlap", False, "Chips may overlap across splits.")
MAX_BAD = flags.DEFINE_float("max_bad", 0.01, "Share of rows that may be bad.", 0, 1)
SHARD = flags.DEFINE_integer("shard", 1024, "Places a file.", 1)
RUNNER = flags.DEFINE_string(
    "runner",
    "",
    "Of Apache Beam, with its options: 'DirectRunner --direct_num_workers=2'. --out and"
    " all inputs have to lie where its workers find them.",
)
WORKERS = flags.DEFINE_integer("workers", 2, "Processes; 0: this one.", 0)


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        for name in ("places", "out", "name"):
            if flags.FLAGS[name].value is None:
                raise ValueError(f"--{name} is required")
    except (flags.Error, ValueError) as error:
        errors.usage(error)
    return rest


def numbers(flag: str, text: str, count: int = 0) -> tuple[float, ...]:
    """Parts of `text` as numbers, `count` of them if not 0."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or (count and len(found) != count):
        what = "numbers parted by commas" if count != 1 else "a number"
        raise ValueError(f"--{flag}: got {text!r}; allowed: {what}")
    return found


def pairs(given: list[str]) -> dict[str, str]:
    """{name: value} of NAME=VALUE."""
    parts = [part.partition("=") for part in given]
    return {name: value for name, _, value in parts}


def by_name(flag: str, given: list[str], allowed: dict[str, str]) -> dict[str, str]:
    """{name: value} of NAME=VALUE, names being `allowed`."""
    found = pairs(given)
    if unknown := sorted(set(found) - set(allowed)):
        raise ValueError(
            f"--{flag}: got {', '.join(unknown)}; allowed: NAME=VALUE with a --raster"
            f" of that name: {', '.join(allowed) or 'none given'}"
        )
    return found


def options():
    """The command line as `places.Options`."""
    from unigeo_jax.data import places
    from unigeo_jax.data.own import rasters

    files = pairs(RASTER.value)
    for name, path in files.items():
        if not name.isidentifier() or not path:
            raise ValueError(f"--raster: got {name}={path}; allowed: NAME=FILE")
    metres, size = (by_name(f.name, f.value, files) for f in (METRES, SIZE))
    bands, nodata = (by_name(f.name, f.value, files) for f in (BANDS, NODATA))
    scale = by_name("scale", SCALE.value, files)
    sources = []
    for name, path in files.items():
        first = {"dsm": "1", "night": "1", "aerial": "1,2,3"}.get(name, "")
        chosen = bands.get(name, first)
        low, high = numbers("scale", scale.get(name, "0,0"), 2)
        sources.append(
            rasters.Source(
                *(name, path),
                metres=numbers("metres", metres.get(name, "0"), 1)[0],
                size=int(numbers("size", size.get(name, "64"), 1)[0]),
                bands=tuple(int(b) for b in numbers("bands", chosen)) if chosen else (),
                nodata=numbers("nodata", nodata[name], 1)[0]
                if name in nodata
                else None,
                **{"low": low, "high": high},
            )
        )
    height, width = numbers("street_px", ",".join(STREET_PX.value), 2)
    val, test = numbers("shares", ",".join(SHARES.value), 2)
    return places.Options(
        sources=tuple(sources),
        demographics=tuple(DEMOGRAPHICS.value),
        **{"vectors": tuple(VECTORS.value), "h3_nodes": H3_NODES.value},
        **{"text": TEXT.value, "images": IMAGES.value, "photos": PHOTOS.value},
        **{"aerial_px": AERIAL_PX.value, "views": VIEWS.value},
        street_px=(int(height), int(width)),
        **{"photo_table": PHOTO_TABLE.value, "photo_m": PHOTO_M.value},
        **{"edges": EDGES.value, "split": SPLIT.value, "shares": (val, test)},
        **{"buffer_m": BUFFER_M.value, "overlap": OVERLAP.value},
        **{"max_bad": MAX_BAD.value, "shard": SHARD.value, "runner": RUNNER.value},
    )


def main(argv: list[str]) -> None:
    del argv
    from unigeo_jax.data import places
    from unigeo_jax.data.own import problems

    name, out = NAME.value or "", OUT.value or ""
    try:
        folder = places.build(PLACES.value or "", out, name, options(), WORKERS.value)
    except problems.OverBudget as error:
        sys.exit(errors.fail(error, 3))
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"{folder}: DATA_CARD.md contact_sheet.png report.txt statistics.json")
    print(
        f"next: python launch/train.py --config=configs/own.py:data={name}"
        f" --data_dir={out}"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=read_flags)
