# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times the all-pairs loss, forward and backward, beside ten OpenCLIP ClipLosses.

python benchmarks/loss.py               one device, B = 1024 to 8192, idle machine only
python benchmarks/loss.py --notimes     memory and agreement, whatever the load
python benchmarks/loss.py --quick       seconds, to see that it runs; times mean nothing

The peers need torch and OpenCLIP's loss; without them their rows say so:
  pip install torch==2.13.0 && pip install --no-deps open_clip_torch==3.3.0
(On Linux `torch==2.13.0+cpu` from PyTorch's own index leaves the CUDA packages out.)

Five modalities of width 768, ten unordered pairs, one temperature a pair. Every variant
gets the same unit vectors; bfloat16 ones get them rounded. The protocol is in
benchmarks/protocol.py. Writes --out: {"machine", "command", "modalities", "width",
"pairs", "repeats", "quick", "forced", "load_before", "sizes": {B: {"reference",
"variants": {name: row}, "ratios": [...]}}}. A row holds `device`, `compile_s`,
`first_s` (the first run), `times_s`, `min_s`, `median_s`, `peak_bytes`, `temp_bytes`
(the peak without the gradients, which every variant must return), `xla_temp_bytes`
(what the compiler states), and `loss_error`, `grad_z_error`, `grad_tau_error`: the
largest difference from the reference over its largest entry. {"error"} says why not.
A ratio divides the peer's figure by ours: above 1 is better.
"""

import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from benchmarks import loss_worker, protocol

VARIANTS = {
    "openclip_fp32": {"side": "openclip", "form": "sum", "dtype": "float32"},
    "openclip_amp": {"side": "openclip", "form": "sum", "dtype": "amp"},
    "openclip_bf16": {"side": "openclip", "form": "sum", "dtype": "bfloat16"},
    "openclip_by_pair_fp32": {
        "side": "openclip",
        "form": "by_pair",
        "dtype": "float32",
    },
    "openclip_by_pair_bf16": {
        "side": "openclip",
        "form": "by_pair",
        "dtype": "bfloat16",
    },
    "plain_fp32": {"side": "ours", "form": "plain", "dtype": "float32"},
    "plain_bf16": {"side": "ours", "form": "plain", "dtype": "bfloat16"},
    "tiled_fp32": {"side": "ours", "form": "tiled", "dtype": "float32"},
    "tiled_bf16": {"side": "ours", "form": "tiled", "dtype": "bfloat16"},
}
SIZES = flags.DEFINE_list("sizes", ["1024", "2048", "4096", "8192"], "Batch sizes.")
NAMES = flags.DEFINE_list("variants", list(VARIANTS), "Which rows to fill.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed runs of each variant.", 1)
TIMES = flags.DEFINE_bool("times", True, "--notimes: memory and agreement only.")
FORCE = flags.DEFINE_bool("force", False, "Time on a busy machine; is recorded.")
TILE = flags.DEFINE_integer("tile", None, "Rows of a tile, else the loss chooses.")
QUICK = flags.DEFINE_bool("quick", False, "B = 64, width 32, two repeats.")
OUT = flags.DEFINE_string("out", "runs/benchmarks/loss.json", "Where the result goes.")

QUICK_WIDTH, WIDTH = 32, 768
LIMIT_FLOAT64 = 8192  # beyond, the first float32 variant is the reference
ERRORS = ("loss", "grad_z", "grad_tau")
MB = 1e6


def measure(names: list[str], batch: int, width: int, repeats: int) -> dict:
    """Returns reference, rows and ratios of one batch size."""
    rows: dict[str, dict] = {name: {} for name in names}
    workers = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            if lacking := missing(VARIANTS[name]["side"]):
                rows[name]["error"] = f"not installed: {lacking}"
                continue
            spec = VARIANTS[name] | {"batch": batch, "width": width}
            if TILE.value and spec["form"] == "tiled":
                spec["tile"] = TILE.value
            worker = protocol.Worker("benchmarks.loss_worker", spec)
            row = rows[name]
            row |= worker.ask("start") | worker.ask("first", f"{scratch}/{name}.npz")
            if "error" not in row:
                row["temp_bytes"] = max(row["peak_bytes"] - row["gradient_bytes"], 0)
            print(f"B = {batch}: {name} is ready", file=sys.stderr)
            if "error" in row or not repeats:
                worker.close()
            else:
                workers[name] = worker
        reference = compare(rows, batch, width, pathlib.Path(scratch))
    for name, times in protocol.take_turns(workers, repeats).items():
        workers[name].close()
        if len(times) < repeats:
            rows[name]["error"] = f"{len(times)} of {repeats} runs ended"
        else:
            rows[name] |= {"times_s": times, "min_s": min(times)}
            rows[name]["median_s"] = statistics.median(times)
    return {"reference": reference, "variants": rows, "ratios": ratios(rows)}


def missing(side: str) -> str:
    """The packages that a side lacks, by the names that install them."""
    needs = {"torch": "torch", "open_clip": "open_clip_torch"}
    if side == "ours":
        return ""
    return ", ".join(p for m, p in needs.items() if not importlib.util.find_spec(m))


def compare(rows: dict, batch: int, width: int, scratch: pathlib.Path) -> str:
    """Writes the errors into the rows; returns the name of the reference."""
    saved = {n: scratch / f"{n}.npz" for n in rows if (scratch / f"{n}.npz").exists()}
    if batch <= LIMIT_FLOAT64:
        name = "float64"
        expected = loss_worker.reference(*loss_worker.inputs(batch, width))
    else:
        name = next((n for n in saved if n.endswith("fp32")), "none")
        if name == "none":
            return name
        expected = dict(np.load(saved[name]))
    for variant, path in saved.items():
        row = rows[variant]
        with np.load(path) as found:
            for key in ERRORS:
                error = np.abs(found[key] - expected[key]).max()
                error /= np.abs(expected[key]).max()
                row[f"{key}_error"] = float(error)
    return name


def ratios(rows: dict) -> list[dict]:
    """Each of ours against each peer on the same kind of device, and both errors."""
    found = []
    for name, row in rows.items():
        for peer, other in rows.items():
            sides = VARIANTS[name]["side"], VARIANTS[peer]["side"]
            if sides != ("ours", "openclip") or "grad_z_error" not in row:
                continue
            if "grad_z_error" not in other or row["device"] != other["device"]:
                continue
            ratio = {"ours": name, "peer": peer}
            for key, label in (("median_s", "time"), ("temp_bytes", "memory")):
                if row.get(key) and other.get(key):
                    ratio[label] = other[key] / row[key]
            ratio["grad_z_error"] = row["grad_z_error"]
            ratio["peer_grad_z_error"] = other["grad_z_error"]
            found.append(ratio)
    return found


def show(batch: str, result: dict) -> None:
    print(f"\nB = {batch}; errors against {result['reference']}")
    head = ("compile s", "min s", "median s", "peak MB", "temp MB", "XLA MB")
    keys = ("compile_s", "min_s", "median_s", "peak_bytes", "temp_bytes")
    heads = (*head, *(f"{e} err" for e in ERRORS))
    print("variant".ljust(22) + "".join(f"{h:>13}" for h in heads))
    for name, row in result["variants"].items():
        if "error" in row:
            print(f"{name:<22}  {row['error'].splitlines()[0][:96]}")
            continue
        cells = []
        for key in (*keys, "xla_temp_bytes"):
            value = row.get(key)
            scale = MB if key.endswith("bytes") else 1
            digits = 0 if key.endswith("bytes") else 3
            cells.append("-" if value is None else f"{value / scale:.{digits}f}")
        cells += [f"{row[f'{e}_error']:.1e}" for e in ERRORS]
        print(name.ljust(22) + "".join(f"{cell:>13}" for cell in cells))
    if not result["ratios"]:
        return
    heads = ("time", "memory", "grad_z err", "peer's")
    print(
        "\nratio of".ljust(23) + "over".ljust(22) + "".join(f"{h:>13}" for h in heads)
    )
    for r in result["ratios"]:
        cells = [f"{r[k]:.2f}x" if k in r else "-" for k in heads[:2]]
        cells += [f"{r['grad_z_error']:.1e}", f"{r['peer_grad_z_error']:.1e}"]
        print(f"{r['peer']:<22}{r['ours']:<22}" + "".join(f"{c:>13}" for c in cells))


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    for name in NAMES.value:
        if name not in VARIANTS:
            sys.exit(f"error: --variants: got {name!r}, allowed: {list(VARIANTS)}")
    sizes, width, repeats = [int(b) for b in SIZES.value], WIDTH, REPEATS.value
    if QUICK.value:
        sizes, width, repeats = [64], QUICK_WIDTH, 2
    machine = protocol.machine()
    if not TIMES.value:
        repeats = 0
    elif not QUICK.value:
        try:
            protocol.check_idle(machine["load"], FORCE.value)
        except ValueError as error:
            sys.exit(f"error: {error}")
    # Where JAX and torch share an accelerator, neither takes all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    report = {
        "machine": machine,
        "command": sys.argv,
        "modalities": len(loss_worker.MODALITIES),
        "width": width,
        "pairs": len(loss_worker.PAIRS),
        "repeats": repeats,
        "quick": QUICK.value,
        "forced": FORCE.value and machine["load"] > protocol.MAX_LOAD,
        "sizes": {},
    }
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.2f}")
    for batch in sizes:
        result = measure(NAMES.value, batch, width, repeats)
        report["sizes"][str(batch)] = result
        protocol.write(pathlib.Path(OUT.value), report)
        show(str(batch), result)
    print(f"\n{OUT.value}")


if __name__ == "__main__":
    app.run(main)
