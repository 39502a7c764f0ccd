# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/embed.py and launch/explore.py as users run them, with a small model."""

import json
import pathlib
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unigeo_jax
from tests import small_models

ROOT = pathlib.Path(__file__).parents[1]
PEAK = """
import pathlib, sys
import unigeo_jax
from unigeo_jax import embed_table
enc = unigeo_jax.load(sys.argv[1])
count = embed_table.run(enc, *map(pathlib.Path, sys.argv[2:]), rows=8192)
status = pathlib.Path("/proc/self/status").read_text()
print(count, status.partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_models.write(tmp_path_factory.mktemp("models") / "model")


def embed(*flags):
    line = [sys.executable, "launch/embed.py", *map(str, flags)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_box_becomes_cells_with_the_models_vectors(model, tmp_path):
    out, box = tmp_path / "out.parquet", "--bbox=5,45,8,47"
    ran = embed(f"--model={model}", box, "--h3=4", f"--output={out}")
    assert ran.returncode == 0, ran.stderr
    found = pq.read_table(out)
    assert f"{len(found)} places in {out}" in ran.stdout and len(found) > 10
    lat, lon = (found[name].to_numpy() for name in ("lat", "lon"))
    want = unigeo_jax.load(model).embed(lat=lat, lon=lon)
    z_nd = np.stack(found["embedding"].to_numpy())
    np.testing.assert_allclose(z_nd, want, atol=1e-5)
    job = json.loads(found.schema.metadata[b"unigeo_jax"])
    assert job["model_id"] == "small" and "int8_scale" not in job


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_a_box_becomes_a_raster(model, tmp_path, suffix):
    pytest.importorskip("rasterio" if suffix == "tif" else "zarr")
    out = tmp_path / f"out.{suffix}"
    flags = ["--bbox=5,45,8,47", "--cell_deg=.5", "--dtype=int8"]
    ran = embed(f"--model={model}", f"--output={out}", *flags)
    assert ran.returncode == 0, ran.stderr
    assert "24 places in" in ran.stdout and out.exists()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--bbox=8,45,5", "--h3=4"], 1, "--bbox: got 8,45,5; allowed: west,south"),
        (["--bbox=a,45,5,50", "--h3=4"], 1, "--bbox: got a,45,5,50; allowed: west,sou"),
        (["--bbox=5,47,8,45", "--h3=4"], 1, "south below north"),
        (["--bbox=5,45,8,47"], 1, "--bbox with one of"),
    ],
)
def test_a_box_that_is_none_is_one_clear_error(model, tmp_path, flags, code, words):
    ran = embed(f"--model={model}", f"--output={tmp_path / 'o.parquet'}", *flags)
    assert ran.returncode == code and words in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr and not list(tmp_path.iterdir())


def peak(model, folder, rows):
    """Peak of the memory of a process that embeds so many rows, bytes."""
    source, lat = folder / f"{rows}.parquet", np.linspace(-89, 89, rows)
    pq.write_table(pa.table({"lat": lat, "lon": lat}), source, row_group_size=8192)
    words = [str(model), str(source), str(folder / f"{rows}.out.parquet")]
    line = [sys.executable, "-c", PEAK, *words]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    count, kilobytes = map(int, ran.stdout.split())
    assert count == rows
    return 1024 * kilobytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows_of_a_table(tmp_path):
    """Vectors of the longer table alone would take 164 MB, all columns 230 MB."""
    wide = small_models.write(tmp_path / "wide", dim=128)
    few, many = (peak(wide, tmp_path, rows) for rows in (32_000, 320_000))
    assert many - few < 60e6


def test_the_page_of_a_model_is_served_until_ctrl_c(model):
    line = [sys.executable, "launch/explore.py", f"--model={model}", "--port=0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Ignored in the background of a shell, also by children: they would not hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*line, "--cell_deg=5"], cwd=ROOT, **pipes)
    signal.signal(signal.SIGINT, before)
    try:
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address + "info", timeout=60) as reply:
            assert json.loads(reply.read())["model_id"] == "small"
        with urllib.request.urlopen(address + "near?lat=47&lon=8", timeout=60) as reply:
            assert len(json.loads(reply.read())["places"]) > 1
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in err
    finally:
        process.kill()
        process.communicate()


def test_a_page_of_no_model_is_one_clear_error():
    line = [sys.executable, "launch/explore.py", "--model=mars"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1 and "error: model 'mars': no such folder" in ran.stderr
    assert "Traceback" not in ran.stderr
