# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers of tables, archives, rasters and vector files, and whole files for them."""

import contextlib
import io
import json
import pathlib
import shutil
import tarfile
from collections.abc import Callable
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet

import unigeo_jax
from benchmarks import fuzz_folders
from benchmarks.fuzz_changes import (
    Change,
    Target,
    mutate_bytes,
    mutate_json,
    mutate_parquet,
    mutate_tar,
    of_files,
)
from tests import geotiffs
from unigeo_jax import embed_table
from unigeo_jax.data import edge_tables, images
from unigeo_jax.data.own import foreign, problems, rasters, table
from unigeo_jax.modalities import demographics, poi, vector

LAT, LON = [48.0, -1.5, 90.0], [13.5, 179.0, -180.0]


def _geoparquet(path: pathlib.Path, crs: str, **columns: Any) -> None:
    import geopandas

    points = geopandas.points_from_xy(LON, [48.0, -1.5, 80.0])
    frame = geopandas.GeoDataFrame(columns, geometry=points, crs="EPSG:4326")
    frame.to_crs(crs).to_parquet(path)


def place_table(folder: pathlib.Path) -> Target:
    """Parquet and GeoParquet, read on by the modalities that take their columns."""
    near = [[{"kind": "cafe", "name": "A", "km": 0.1}], [], None]
    columns = {
        **{"id": ["a", "b", "c"], "lat": LAT, "lon": LON, "text": ["x", "y", None]},
        **{"poi": near, "node": [1, 2, 3], "demographics": [[1.0, None]] * 3},
        **{"time": np.array(["2024-01", "2024-02", "NaT"], "datetime64[s]")},
        **{"aerial": [["a.jpg"], [], None], "income": [1.5, None, 2.0]},
    }
    pyarrow.parquet.write_table(pa.table(columns), folder / "p.parquet")
    _geoparquet(folder / "g.parquet", "EPSG:4326", id=["a", "b", "c"])
    rows = 'a,1,2,3,"cafe\tB\t2"\nb,3,4,,\n'
    (folder / "t.csv").write_text(f"id,lat,lon,income,poi\n{rows}", "utf-8")

    def parse(path: pathlib.Path) -> None:
        figures = ("income",) if path.name == "t.csv" else ()
        columns = table.Columns(demographics=figures, template="of {id}")
        found = problems.Problems()
        places, _ = table.read(path, found, columns)
        for place in places:
            demographics.read(place, None, 1 if figures else 2)
            poi.read(place, None)

    kinds: dict[str, Change] = {"p.parquet": mutate_parquet, "t.csv": mutate_bytes}
    return of_files(folder, kinds | {"g.parquet": mutate_parquet}, parse)


def edge_list(folder: pathlib.Path) -> Target:
    """Flows between nodes whose ids are texts, and between H3 cells."""
    edges = "origin,destination,weight,kind\na,b,1,x\nb,c,2.5,y\nc,a,0.1,x\n"
    (folder / "e.csv").write_text(edges, encoding="utf-8")
    cells = [h3.str_to_int(h3.latlng_to_cell(lat, 10.0, 5)) for lat in (1, 2, 3)]
    for name, id in (("e", [*"abc"]), ("c", np.array(cells, np.uint64))):
        made = {"origin": id, "destination": id[::-1], "weight": [1.0, 2.0, 0.0]}
        pyarrow.parquet.write_table(pa.table(made), folder / f"{name}.parquet")
    named, numbered = edge_tables.ranked("abc"), edge_tables.ranked(cells)

    def parse(path: pathlib.Path) -> None:
        cells = path.name[0] == "c"
        id = numbered if cells else named
        edge_tables.from_table(folder / "out", path, id, cells)

    kinds: dict[str, Change] = {"e.csv": mutate_bytes}
    kinds |= dict.fromkeys(("e.parquet", "c.parquet"), mutate_parquet)
    return of_files(folder, kinds, parse)


def vectors(folder: pathlib.Path) -> Target:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(folder / "v.npy", values)
    rows = pa.table({"v": [*map(list, values)], "w": [1] * 4})
    pyarrow.parquet.write_table(rows, folder / "v.parquet")

    def parse(path: pathlib.Path) -> None:
        vector.open_file.cache_clear()
        where = {"width": 3, "file": str(path), "column": "v"}
        vector.check(where, {})
        for node in range(4):
            vector.read({"node": node}, None, **where)

    kinds: dict[str, Change] = {"v.npy": mutate_bytes, "v.parquet": mutate_parquet}
    return of_files(folder, kinds, parse)


def _embedder(folder: pathlib.Path) -> Callable[[pathlib.Path], None]:
    """Embeds a table by a real model, whose program is compiled once."""
    enc = unigeo_jax.load(fuzz_folders.small_model(folder))
    out = folder / "out.parquet"

    def parse(path: pathlib.Path) -> None:
        try:
            embed_table.run(enc, path, out, points=4)
        finally:
            out.unlink(missing_ok=True)
            shutil.rmtree(f"{out}.parts", ignore_errors=True)

    return parse


def embed(folder: pathlib.Path) -> Target:
    (folder / "a.csv").write_text("lat,lon,name\n1,2,a\n3,4,b\n", "utf-8")
    made = pa.table({"lat": LAT, "lon": LON, "name": ["a", None, "c"]})
    pyarrow.parquet.write_table(made, folder / "a.parquet")
    _geoparquet(folder / "g.parquet", "EPSG:3857", name=["a", "b", "c"])
    kinds: dict[str, Change] = {"a.csv": mutate_bytes, "a.parquet": mutate_parquet}
    kinds |= {"g.parquet": mutate_parquet}
    return of_files(folder, kinds, _embedder(folder))


def vector_file(folder: pathlib.Path) -> Target:
    import geopandas
    import shapely

    shapes = [shapely.Point(13.5, 48), shapely.box(5, 45, 6, 46)]
    frame = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=shapes, crs="EPSG:4326")
    for end in ("geojson", "gpkg", "fgb"):
        frame.to_file(folder / f"v.{end}")
    frame.iloc[1:].to_crs("EPSG:32632").to_file(folder / "v.shp")
    kinds: dict[str, Change] = {"v.geojson": mutate_json, "v.gpkg": mutate_bytes}
    kinds |= dict.fromkeys(("v.fgb", "v.shp"), mutate_bytes)
    return of_files(folder, kinds, _embedder(folder))


def _converted(folder: pathlib.Path, kind: str) -> Callable[[pathlib.Path], None]:
    out = folder / "out"

    def parse(path: pathlib.Path) -> None:
        try:
            foreign.convert(kind, path, out, foreign.Options())
        finally:
            shutil.rmtree(out, ignore_errors=True)

    return parse


def webdataset(folder: pathlib.Path) -> Target:
    pixels = images.encode_png(np.zeros((4, 4, 3), np.uint8))
    files = {
        "0.json": json.dumps({"lat": 1.5, "lon": 2, "about": {"caption": "x"}}),
        **{"0.png": pixels, "0.street.0.png": pixels, "0.txt": "a text"},
        "1.json": json.dumps({"latitude": "48", "lng": 13.5, "split": "validation"}),
        "1.png": pixels,
    }
    for name in ("a.tar", "a.tar.gz"):
        with tarfile.open(folder / name, "w:gz" if name[-1] == "z" else "w") as archive:
            for member, held in files.items():
                data = held.encode() if isinstance(held, str) else held
                about = tarfile.TarInfo(member)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    kinds: dict[str, Change] = {"a.tar": mutate_tar, "a.tar.gz": mutate_bytes}
    return of_files(folder, kinds, _converted(folder, "webdataset"))


def hf_parquet(folder: pathlib.Path) -> Target:
    pixels = images.encode_png(np.zeros((4, 4, 3), np.uint8))
    rows = pa.table(
        {
            **{"image": [{"bytes": pixels, "path": "a.png"}, None, None]},
            **{"street": [[{"bytes": pixels}], [], None], "latitude": LAT},
            **{"lng": LON, "caption": ["a", "b", None]},
        }
    )
    pyarrow.parquet.write_table(rows, folder / "train-00000-of-00001.parquet")
    kinds: dict[str, Change] = {"train-00000-of-00001.parquet": mutate_parquet}
    return of_files(folder, kinds, _converted(folder, "parquet"))


def raster(folder: pathlib.Path) -> Target:
    """A raster as such, and as one of a file for every place."""
    draw = np.random.default_rng(0)
    low = draw.integers(0, 255, (1, 20, 20), np.uint8)
    geotiffs.write_raster(folder / "a.tif", low)
    high = draw.normal(size=(2, 40, 40)).astype(np.float32)
    geotiffs.write_raster(folder / "b.tif", high, nodata=-9999.0)
    lat, lon = np.array([48.024, 48.0245, 0.0]), np.array([13.526, 13.5245, 0.0])

    def parse(path: pathlib.Path) -> None:
        like = rasters.Source("r", "column:r", metres=80.0, size=8, high=1.0)
        place = {"column:r": path.name, "lat": lat[0], "lon": lon[0]}
        for _ in rasters.cut_files(like, [place], str(folder)):
            pass
        opened = rasters.Raster(rasters.Source("r", str(path), size=8))
        with contextlib.closing(opened):
            opened.about()
            opened.contains(lat, lon)
            for _ in opened.cut(lat, lon):
                pass

    return of_files(folder, dict.fromkeys(("a.tif", "b.tif"), mutate_bytes), parse)
