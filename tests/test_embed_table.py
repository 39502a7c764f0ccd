# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables in, GeoParquet out: whole, resumable, of one model only."""

import json
import pathlib
import signal
import struct
import subprocess
import sys
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unigeo_jax import coordinates, embed_table

ROOT = pathlib.Path(__file__).parents[1]


class Encoder:
    """Stands in for a loaded model: four numbers a place, counted calls."""

    int8_scale = 1.0

    def __init__(self, sha="aa", fail_at=None):
        self.info = {"model_id": "m", "package_version": "1", "sha256": sha, "dim": 4}
        self.calls, self.fail_at = 0, fail_at

    def embed(self, *, lat, lon):
        latlon = coordinates.degrees(lat, lon)
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        flat = np.deg2rad(latlon)
        return np.concatenate([np.sin(flat), np.cos(flat)], 1) / np.float32(2**0.5)


@pytest.fixture(params=["csv", "parquet"])
def table(request, tmp_path):
    lat, lon = np.linspace(-90, 90, 25), np.linspace(-180, 180, 25)
    path = tmp_path / f"places.{request.param}"
    if request.param == "csv":
        lines = [f"p{i},{a},{b}" for i, (a, b) in enumerate(zip(lat, lon, strict=True))]
        path.write_text("name,lat,lon\n" + "\n".join(lines) + "\n")
    else:
        columns = {"name": [f"p{i}" for i in range(25)], "lat": lat, "lon": lon}
        pq.write_table(pa.table(columns), path)
    return path


def test_every_row_keeps_its_columns_and_gets_point_and_vector(table, tmp_path):
    out = tmp_path / "out.parquet"
    assert embed_table.run(Encoder(), table, out, rows=10) == 25
    found = pq.read_table(out)
    assert found.column_names == ["name", "lat", "lon", "geometry", "embedding"]
    assert found["name"].to_pylist() == [f"p{i}" for i in range(25)]
    lat, lon = (found[c].to_numpy() for c in ("lat", "lon"))
    z = np.stack(found["embedding"].to_numpy())
    np.testing.assert_array_equal(z, Encoder().embed(lat=lat, lon=lon))
    point = struct.unpack("<BIdd", found["geometry"][3].as_py())
    assert point == (1, 1, lon[3], lat[3])
    about = json.loads(found.schema.metadata[b"unigeo_jax"])
    assert (about["model_id"], about["sha256"]) == ("m", "aa")
    geo = json.loads(found.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"]["id"]["code"] == "CRS84"
    assert not list(tmp_path.glob("*.part*"))


def test_geopandas_reads_it(table, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    embed_table.run(Encoder(), table, tmp_path / "out.parquet")
    frame = geopandas.read_parquet(tmp_path / "out.parquet")
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_authority() == ("OGC", "CRS84")
    np.testing.assert_array_equal(frame.geometry.x, frame.lon)


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 1e-3), ("int8", 4e-3)])
def test_small_types_stay_near(table, tmp_path, dtype, atol):
    out = tmp_path / "out.parquet"
    embed_table.run(Encoder(), table, out, dtype=dtype)
    found = pq.read_table(out)
    z = np.stack(found["embedding"].to_numpy()).astype(np.float32)
    want = Encoder().embed(lat=found["lat"].to_numpy(), lon=found["lon"].to_numpy())
    np.testing.assert_allclose(z / (127 if dtype == "int8" else 1), want, atol=atol)


class Long(Encoder):
    """One whose vectors are three times as long, and so beyond its scale here."""

    int8_scale = 2.0

    def embed(self, *, lat, lon):
        return 3 * super().embed(lat=lat, lon=lon)


def test_int8_keeps_what_its_scale_holds_and_says_what_it_cuts(table, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.warns(
        UserWarning, match=r"int8: \d+ of 100 numbers lie beyond \+-2\.0"
    ):
        embed_table.run(Long(), table, out, dtype="int8")
    found = pq.read_table(out)
    scale = json.loads(found.schema.metadata[b"unigeo_jax"])["int8_scale"]
    z = np.stack(found["embedding"].to_numpy()).astype(np.float32) * scale / 127
    want = Long().embed(lat=found["lat"].to_numpy(), lon=found["lon"].to_numpy())
    np.testing.assert_allclose(z, want.clip(-2, 2), atol=scale / 254 + 1e-6)
    with pytest.raises(ValueError, match=r"another model.*int8_scale"):
        embed_table.run(Encoder(), table, out, dtype="int8")


class Far(Encoder):
    """Warns of every part, of so many places and one more."""

    def embed(self, *, lat, lon):
        warnings.warn(f"{len(lat)} of {len(lat) + 1} places lie far", stacklevel=2)
        if len(lat) < 10:
            warnings.warn("the last part is short", stacklevel=2)
        return super().embed(lat=lat, lon=lon)


def test_a_warning_of_every_part_is_given_once_and_counted(table, tmp_path):
    with pytest.warns(UserWarning) as caught:
        embed_table.run(Far(), table, tmp_path / "out.parquet", rows=10)
    assert [str(warning.message) for warning in caught] == [
        "10 of 11 places lie far",
        "the last part is short",
        "2 more parts warned as: 10 of 11 places lie far",
    ]


def test_an_interrupted_job_goes_on_and_equals_a_straight_one(table, tmp_path):
    out, straight = tmp_path / "out.parquet", tmp_path / "straight.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_table.run(Encoder(fail_at=3), table, out, rows=10)
    assert not out.exists()
    with pytest.raises(ValueError, match=r"another model.*'bb'"):
        embed_table.run(Encoder("bb"), table, out, rows=10)
    again = Encoder()
    embed_table.run(again, table, out, rows=10)
    assert again.calls == 1
    embed_table.run(Encoder(), table, straight, rows=10)
    assert pq.read_table(out).equals(pq.read_table(straight))
    with pytest.raises(ValueError, match=r"another model.*'bb'"):
        embed_table.run(Encoder("bb"), table, out, rows=10)


KILLED = """
import os, pathlib, signal, sys
import numpy as np
from unigeo_jax import embed_table

class Encoder:
    int8_scale = 1.0
    info = {"model_id": "m", "package_version": "1", "sha256": "aa", "dim": 4}
    def embed(self, *, lat, lon):
        return np.stack([lat, lon, lat, lon], 1).astype(np.float32) / 180

calls, at = 0, int(sys.argv[3])
def mortal(whole):
    def call(*words, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*words, **named)
    return call
os.replace = mortal(os.replace)
pathlib.Path.unlink, pathlib.Path.rmdir = map(
    mortal, (pathlib.Path.unlink, pathlib.Path.rmdir))
count = embed_table.run(Encoder(), *map(pathlib.Path, sys.argv[1:3]), rows=10)
assert count == 25
"""


def test_a_kill_at_any_rename_or_removal_leaves_nothing_after_the_next_run(tmp_path):
    """Three parts: five renames, then four files and a folder to remove."""
    lat = np.linspace(-80, 80, 25)
    pq.write_table(pa.table({"lat": lat, "lon": lat}), tmp_path / "in.parquet")
    for at in (1, 4, 5, 6, 9, 10, 11):
        folder = tmp_path / str(at)
        folder.mkdir()
        files = [tmp_path / "in.parquet", folder / "out.parquet"]
        command = [sys.executable, "-c", KILLED, *map(str, files)]
        codes = []
        for last in (at, 0):
            ran = subprocess.run([*command, str(last)], cwd=ROOT, capture_output=True)
            codes.append(ran.returncode)
        assert codes == [-signal.SIGKILL if at < 11 else 0, 0], (at, ran.stderr)
        assert [p.name for p in folder.iterdir()] == ["out.parquet"], at
        found = pq.read_table(folder / "out.parquet")["embedding"].to_pylist()
        np.testing.assert_allclose(np.array(found)[:, 2] * 180, lat, rtol=1e-6)


def test_the_parts_of_another_job_stay(table, tmp_path):
    out = tmp_path / "out.parquet"
    embed_table.run(Encoder(), table, out)
    parts = tmp_path / "out.parquet.parts"
    embed_table.claim(parts, {"model_id": "another"})
    embed_table.run(Encoder(), table, out)
    assert (parts / "job.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", r"\['lat', 'lon'\] are missing"),
        ("lat,lon\n", "no rows"),
        ("lat,lon\nParis,2\n", "holds string"),
        ("lat,lon\n1,2\n99,2\n", "row 1: lat=99"),
        ("lat,lon\n1,2\n,2\n", "row 1: lat=nan"),
        ("lat,lon,geometry\n1,2,x\n", "geometry"),
    ],
)
def test_bad_tables_are_one_clear_error_and_leave_no_output(tmp_path, text, words):
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        embed_table.run(Encoder(), tmp_path / "in.csv", tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out*"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        embed_table.run(Encoder(), tmp_path / "x.csv", tmp_path / "out.parquet")
    (tmp_path / "x.txt").write_text("lat,lon\n1,2\n")
    with pytest.raises(ValueError, match=r"allowed: \.csv, \.parquet, \.geojson"):
        embed_table.run(Encoder(), tmp_path / "x.txt", tmp_path / "out.parquet")


class Timed(Encoder):
    """One that takes times: they are its vectors, and which rows it was given."""

    def __init__(self):
        super().__init__()
        self.info |= {"time": True}

    def embed(self, *, lat, lon, time=None):
        when = coordinates.times(time, len(lat))
        return np.concatenate([when, coordinates.degrees(lat, lon)], axis=1)


def write_times(path, kind):
    when = pa.array(["2021-06-30", None, "1999-01-01"])
    if kind != "text":
        when = when.cast(pa.date32() if kind == "date" else pa.timestamp("ms"))
    columns = {"lat": [1.0] * 3, "lon": [2.0] * 3, "time": when, "seen": when}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("kind", ["text", "date", "timestamp"])
@pytest.mark.parametrize("name", [None, "seen", ""])
def test_a_model_with_times_takes_the_column(kind, name, tmp_path):
    source, out = tmp_path / "t.parquet", tmp_path / "out.parquet"
    write_times(source, kind)
    assert embed_table.run(Timed(), source, out, rows=2, time=name) == 3
    z = np.stack(pq.read_table(out)["embedding"].to_numpy())
    known = [[2021 + 180 / 366, 6], [0, 0], [1999, 1]]
    np.testing.assert_allclose(z[:, :2], np.zeros((3, 2)) if name == "" else known)


def test_a_column_of_times_that_cannot_be_taken_is_refused(tmp_path):
    source, out = tmp_path / "t.parquet", tmp_path / "out.parquet"
    write_times(source, "text")
    with pytest.raises(ValueError, match=r"'when': is not among \['lat', 'lon'"):
        embed_table.run(Timed(), source, out, time="when")
    with pytest.raises(ValueError, match=r"'time': the model takes no time; allowed"):
        embed_table.run(Encoder(), source, out, time="time")
    assert embed_table.run(Encoder(), source, out) == 3  # and is one column of many
    columns = {"lat": [1.0], "lon": [2.0], "time": ["last summer"]}
    pq.write_table(pa.table(columns), source)
    with pytest.raises(ValueError, match=r"rows from 0.*row 0: time='last summer'"):
        embed_table.run(Timed(), source, tmp_path / "o.parquet")
