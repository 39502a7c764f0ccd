# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Embeds places: of a table or vector file, or of a grid over a bounding box.

python launch/embed.py --model=NAME --input=places.{csv,parquet,geojson,gpkg,fgb,shp}
    --output=out.parquet [--lat=lat] [--lon=lon] [--time=time] [--points=64]
python launch/embed.py --model=NAME --bbox=5,45,11,48 --h3=6 --output=out.parquet
python launch/embed.py --model=NAME --bbox=5,45,11,48 --cell_deg=.01
    --output=out.{tif,zarr}

Tables need columns lat and lon; geometries (points, polygons: the mean over --points
places of their area) may have any CRS and need the extra `geo`. A model that was
trained with times reads the column time where there is one; else, and in boxes, the
time is unknown. All columns stay; `embedding` is added, and `geometry` (WGS 84) where
there was none. GeoParquet keeps CRS, model id, version and hash in its metadata,
GeoTIFF in its tags, Zarr in its attributes. Memory does not grow with the table. The
same command resumes: finished parts lie in OUTPUT.parts, and OUTPUT appears whole, at
the end.
--dtype=float32|float16|int8 (z = int8_scale * value / 127, where the metadata say
int8_scale: 1 for unit vectors), --rows=65536 a part. Exit codes: 0 done, 1 error, 2
usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

MODEL = flags.DEFINE_string("model", None, "Folder or name of a model.", required=True)
INPUT = flags.DEFINE_string("input", None, "Table or vector file.")
BBOX = flags.DEFINE_list("bbox", None, "west,south,east,north, degrees.")
H3 = flags.DEFINE_integer("h3", None, "With --bbox: cells of this resolution.")
CELL_DEG = flags.DEFINE_float("cell_deg", None, "With --bbox: side of a pixel.")
OUTPUT = flags.DEFINE_string(
    "output", None, "GeoParquet, GeoTIFF or Zarr.", required=True
)
LAT = flags.DEFINE_string("lat", "lat", "Column of latitudes, degrees, WGS 84.")
LON = flags.DEFINE_string("lon", "lon", "Column of longitudes.")
TIME = flags.DEFINE_string(
    "time", None, "Column of times; default: time, if it is there. --time= takes none."
)
POINTS = flags.DEFINE_integer("points", 64, "Places of a polygon.", lower_bound=1)
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "int8"], "")
ROWS = flags.DEFINE_integer("rows", 65_536, "Rows a part.", lower_bound=1)


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    grid = (H3.value is None) + (CELL_DEG.value is None) == 1
    if bool(INPUT.value) == bool(BBOX.value) or grid != bool(BBOX.value):
        raise app.UsageError("--input, or --bbox with one of --h3 and --cell_deg")
    if TIME.value and BBOX.value:
        raise app.UsageError("--time is a column of --input, not for --bbox")
    try:
        count = run()
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"{count:,} places in {OUTPUT.value}")


def run() -> int:
    import unigeo_jax
    from unigeo_jax import embed_table, grids

    output = pathlib.Path(OUTPUT.value)
    how = {"dtype": DTYPE.value, "rows": ROWS.value}
    if INPUT.value:
        source, enc = pathlib.Path(INPUT.value), unigeo_jax.load(MODEL.value)
        how |= {"columns": (LAT.value, LON.value), "points": POINTS.value}
        return embed_table.run(enc, source, output, time=TIME.value, **how)
    box = grids.parse(BBOX.value or [])
    enc = unigeo_jax.load(MODEL.value)
    if H3.value is not None:
        return grids.cells(enc, box, H3.value, output, **how)
    return grids.raster(enc, box, float(CELL_DEG.value or 0), output, **how)


if __name__ == "__main__":
    app.run(main)
