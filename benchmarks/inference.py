# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times an encoder of coordinates beside GeoCLIP's; then a table of many rows.

python benchmarks/inference.py --model=earth [--rows=10000000]
  32,768 coordinates, turn by turn; then launch/embed.py on that many rows
python benchmarks/inference.py [--student=DIR]
  a workdir of launch/distill.py instead; default: a student with drawn weights
python benchmarks/inference.py --quick
  seconds: times mean nothing

GeoCLIP (torch, float32, the weights in its wheel) needs pip install torch==2.13.0
geoclip. `geoclip` is as its users run it; `geoclip_flushed` with subnormal numbers set
to zero, which is faster and not its default. Ours is the time from numpy degrees to
numpy vectors.

Writes --out: {"machine", "command", "rows": {variant: {"median_s", "min_s", "per_s",
and of a model "load_s" of a fresh process and "latency_ms" of one point}}, "ratios":
{peer: coordinates a second of ours over the peer's}, "tables": [{"rows", "seconds",
"per_s", "peak_bytes" of the process, "output_bytes"}]}.
"""

import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import app, flags

from benchmarks import protocol

MODEL = flags.DEFINE_string("model", "", "Name in the package, or a model's folder.")
ROWS = flags.DEFINE_integer("rows", 0, "Rows of a table; a tenth of them comes first.")
DTYPE = flags.DEFINE_string("dtype", "float16", "Of the table's vectors.")
STUDENT = flags.DEFINE_string("student", "", "A student's folder; default: untrained.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns.", 1)
FORCE = flags.DEFINE_bool("force", False, "Time on a busy machine; is recorded.")
QUICK = flags.DEFINE_bool("quick", False, "Small: to see that it runs.")
OUT = flags.DEFINE_string("out", None, "Default runs/benchmarks/<this>.json.")
WORKER = "benchmarks.coordinates_worker"


def measure(variants: dict[str, dict], count: int, repeats: int) -> dict[str, dict]:
    """{variant: its times and coordinates a second, or "error"}, taken in turns."""
    rows: dict[str, dict] = {name: {} for name in variants}
    workers = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, spec in variants.items():
            spec = dict(spec)
            needs = [
                n for n in spec.pop("needs", ()) if not importlib.util.find_spec(n)
            ]
            if needs:
                rows[name]["error"] = f"not installed: {', '.join(needs)}"
                continue
            worker = protocol.Worker(WORKER, {"count": count} | spec)
            answer = worker.ask("start") | worker.ask("first", f"{scratch}/z.npz")
            if "error" in answer:
                rows[name]["error"] = answer["error"]
                worker.close()
                continue
            workers[name] = worker
            known = ("load_s", "latency_ms")
            rows[name] |= {key: answer[key] for key in known if key in answer}
    for name, times in protocol.take_turns(workers, repeats).items():
        workers[name].close()
        middle = statistics.median(times)
        rows[name] |= {"median_s": middle, "min_s": min(times), "per_s": count / middle}
    return rows


def embed_table(model: str, count: int, dtype: str) -> dict:
    """Run launch/embed.py on drawn coordinates: its time, memory and output."""
    with tempfile.TemporaryDirectory() as scratch:
        source, out = f"{scratch}/in.parquet", pathlib.Path(scratch) / "out.parquet"
        rng, schema = (
            np.random.default_rng(0),
            pa.schema([("lat", "f8"), ("lon", "f8")]),
        )
        with pq.ParquetWriter(source, schema) as writer:
            for first in range(0, count, 1 << 20):
                size = min(1 << 20, count - first)
                lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, size)))
                columns = {"lat": lat, "lon": rng.uniform(-180, 180, size)}
                writer.write_table(pa.table(columns))
        command = [sys.executable, "launch/embed.py", f"--model={model}"]
        command += [f"--input={source}", f"--output={out}", f"--dtype={dtype}"]
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=protocol.ROOT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return {"rows": count, "error": f"exit code {process.returncode}"}
        rows = pq.read_metadata(out).num_rows
        return {
            **{"rows": rows, "seconds": seconds, "per_s": rows / seconds},
            "peak_bytes": 1024 * used.ru_maxrss,
            "output_bytes": out.stat().st_size,
        }


def finish(rows: dict[str, dict], own: str, report: dict, name: str) -> None:
    """Adds the ratios of `own`, prints and writes."""
    out = pathlib.Path(OUT.value or f"runs/benchmarks/{name}.json")
    report["rows"], report["ratios"] = rows, {}
    for variant, row in rows.items():
        if "error" in row:
            print(f"{variant:20} {row['error'][:100]}")
            continue
        ratio = rows[own].get("per_s", 0.0) / row["per_s"]
        if variant != own:
            report["ratios"][variant] = ratio
        print(f"{variant:20}{row['per_s']:14,.0f} coordinates/s   ours is {ratio:.1f}x")
    protocol.write(out, report)
    print(out)


def begin() -> dict:
    """What stands beside the figures; ends the program on a busy machine."""
    report: dict = {"machine": protocol.machine(), "command": sys.argv}
    try:
        protocol.check_idle(report["machine"]["load"], FORCE.value or QUICK.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    return report | {"quick": QUICK.value}


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    report = begin()
    peer = {"side": "geoclip", "needs": ("torch", "geoclip", "pandas")}
    own = "packaged" if MODEL.value else "student"
    folder = str(pathlib.Path(MODEL.value).resolve()) if "/" in MODEL.value else ""
    sides = {
        "packaged": {"side": "packaged", "model": folder or MODEL.value},
        "student": {"side": "student", "folder": STUDENT.value},
    }
    variants = {
        own: sides[own],
        "geoclip": peer | {"flush": False},
        "geoclip_flushed": peer | {"flush": True},
    }
    if QUICK.value:
        rows = measure(variants, 1000, 2)
    else:
        rows = measure(variants, 32_768, REPEATS.value)
    if ROWS.value and MODEL.value:
        counts = (ROWS.value // 10, ROWS.value)
        model = sides["packaged"]["model"]
        report["tables"] = [embed_table(model, n, DTYPE.value) for n in counts]
        for row in report["tables"]:
            print({k: round(v) if k != "error" else v for k, v in row.items()})
    finish(rows, own, report, "inference")


if __name__ == "__main__":
    app.run(main)
