# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Embeds the places of a table: columns lat and lon in, GeoParquet out.

python launch/embed.py --model=DIR --input=places.{csv,parquet} --output=out.parquet
    [--dtype=float32|float16|int8] [--lat=lat] [--lon=lon] [--rows=65536]

All columns stay; `geometry` (points, WGS 84) and `embedding` are added. Memory does not
grow with the table. The same command resumes: finished parts lie in OUTPUT.parts, and
OUTPUT appears whole, at the end. int8 is round(127 z), for unit vectors.
Exit codes: 0 done, 1 error, 2 usage.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from launch import errors

MODEL = flags.DEFINE_string("model", None, "Folder or name of a model.", required=True)
INPUT = flags.DEFINE_string("input", None, "CSV or Parquet.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "GeoParquet.", required=True)
LAT = flags.DEFINE_string("lat", "lat", "Column of latitudes, degrees, WGS 84.")
LON = flags.DEFINE_string("lon", "lon", "Column of longitudes.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "int8"], "")
ROWS = flags.DEFINE_integer("rows", 65_536, "Rows a part.", lower_bound=1)


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    logging.set_verbosity(logging.WARNING)
    import unigeo_jax
    from unigeo_jax import embed_table

    try:
        count = embed_table.run(
            unigeo_jax.load(MODEL.value),
            pathlib.Path(INPUT.value),
            pathlib.Path(OUTPUT.value),
            columns=(LAT.value, LON.value),
            dtype=DTYPE.value,
            rows=ROWS.value,
        )
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"{count:,} rows in {OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
