# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a table of places, for launch/make_dataset.py, of data sets of other makes.

python launch/convert.py --from=webdataset --source=DIR_OR_TAR --out=DIR
python launch/convert.py --from=parquet --source=DIR_OR_FILE --out=DIR
  Images with values lat and lon: a .json in the archive, columns of Hugging Face's
  Parquet (--lat, --lon give their names). Other values become columns. Images go to
  the column --image, or to that of their name (aerial, street).
python launch/convert.py --from=bigearthnet --source=DIR --out=DIR
python launch/convert.py --from=geobench --source=DIR/m-TASK --out=DIR [--positions=CSV]
  Patches of bands become GeoTIFFs in the columns s2 and s1, or chip.

then python launch/make_dataset.py --places=DIR/places.parquet --out=... --name=...
    [--raster s2=column:s2] [--split=column]

Archives cannot write outside of --out, one that unpacks to over 200 times its size is
refused, and so is an image of more than 64 million pixels, by its header. What was
refused is in DIR/report.json, with the number of the sample. Exit codes: 0 done, 1
error, 2 usage, 3 too many bad samples.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from launch import errors

KINDS = ("webdataset", "parquet", "bigearthnet", "geobench")
FROM = flags.DEFINE_enum("from", None, KINDS, "What --source is.", required=True)
SOURCE = flags.DEFINE_string("source", None, "Folder or file.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to make.", required=True)
LAT = flags.DEFINE_string("lat", "", "Value with the latitude; lat or latitude.")
LON = flags.DEFINE_string("lon", "", "With the longitude; lon, lng or longitude.")
IMAGE = flags.DEFINE_enum("image", "aerial", ["aerial", "street"], "What images are.")
PARTITION = flags.DEFINE_string("partition", "default", "Of GEO-Bench.")
POSITIONS = flags.DEFINE_string("positions", "", "CSV: id, lat, lon, for GEO-Bench.")
MAX_BAD = flags.DEFINE_float("max_bad", 0.01, "Share of samples that may be bad.", 0, 1)


def main(argv: list[str]) -> None:
    errors.no_arguments(argv)
    from unigeo_jax.data.own import foreign, problems

    source, out = pathlib.Path(SOURCE.value or ""), pathlib.Path(OUT.value or "")
    options = foreign.Options(
        *(LAT.value, LON.value, IMAGE.value, PARTITION.value, POSITIONS.value),
        MAX_BAD.value,
    )
    try:
        count, bad = foreign.convert(FROM.value or "", source, out, options)
    except problems.OverBudget as error:
        sys.exit(errors.fail(error, 3))
    except (ValueError, OSError) as error:
        sys.exit(errors.fail(error, 1))
    print(f"{out}: places.parquet, {count:,} places; report.json, {bad} bad")


if __name__ == "__main__":
    app.run(main)
