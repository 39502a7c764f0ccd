# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times a distilled student beside GeoCLIP's location encoder: coordinates a second.

python benchmarks/inference.py [--student=DIR]   32,768 coordinates, turn by turn
python benchmarks/inference.py --quick           seconds: times mean nothing

GeoCLIP (torch, float32, the weights in its wheel) needs pip install torch==2.13.0
geoclip. `geoclip` is as its users run it; `geoclip_flushed` with subnormal numbers set
to zero, which is faster and not its default. Ours is the time from numpy degrees to
numpy vectors. Writes --out: {"machine", "command", "rows": {variant: {"median_s",
"min_s", "per_s"}}, "ratios": {peer: coordinates a second of ours over the peer's}}.
"""

import importlib.util
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from benchmarks import protocol

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
    for name, times in protocol.take_turns(workers, repeats).items():
        workers[name].close()
        middle = statistics.median(times)
        rows[name] |= {"median_s": middle, "min_s": min(times), "per_s": count / middle}
    return rows


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
    variants = {
        "student": {"side": "student", "folder": STUDENT.value},
        "geoclip": peer | {"flush": False},
        "geoclip_flushed": peer | {"flush": True},
    }
    if QUICK.value:
        rows = measure(variants, 1000, 2)
    else:
        rows = measure(variants, 32_768, REPEATS.value)
    finish(rows, "student", report, "inference")


if __name__ == "__main__":
    app.run(main)
