# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times the SigLIP towers B/16-224 and text-64 beside transformers' on torch.

python benchmarks/towers.py             image and text, forward and training, idle CPU
python benchmarks/towers.py --quick     seconds, to see that it runs; times mean nothing

The peers need `pip install torch==2.13.0 transformers`; without them their rows say so.
All variants get the same weights and inputs; transformers runs with `sdpa` and with
`eager` attention, and the faster one is the peer of a ratio. Training is the gradient
of every parameter, without an optimiser; bfloat16 computes in it over float32 weights
(autocast there, `dtype` here). The protocol is in benchmarks/protocol.py; every process
runs as launch/train.py does (unigeo_jax/host.py; --nosettle: not).

Writes --out: {"machine", "command", "repeats", "quick", "forced", "settle",
"cases": {"image/train/float32": {"batch", "variants": {name: row}, "ratio"}}}. A row
holds `times_s`, `min_s`, `median_s`, `per_s` (images or texts, by the median),
`peak_bytes`, `compile_s`, and `out_error`, `grad_error`: the largest difference from
torch_eager in float32 over its largest entry, of the embeddings and of the gradient of
the positions. `ratio` is our rate over the faster peer's. {"error"} says why not.
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

from benchmarks import protocol
from unigeo_jax import host

SIDES = ("torch_sdpa", "torch_eager", "ours")
TOWERS = flags.DEFINE_list("towers", ["image", "text"], "Which towers.")
STEPS = flags.DEFINE_list("steps", ["forward", "train"], "Which of forward and train.")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Which dtypes.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed runs of each variant.", 1)
IMAGES = flags.DEFINE_integer("images", 8, "Images of a batch.", 1)
TEXTS = flags.DEFINE_integer("texts", 32, "Texts of a batch.", 1)
SETTLE = flags.DEFINE_bool("settle", True, "All sides; unigeo_jax/host.py.")
FORCE = flags.DEFINE_bool("force", False, "Time on a busy machine; is recorded.")
QUICK = flags.DEFINE_bool("quick", False, "One layer, two rows, two repeats.")
OUT = flags.DEFINE_string("out", "runs/benchmarks/towers.json", "Where it goes.")
ALLOWED = {
    "towers": ("image", "text"),
    "steps": ("forward", "train"),
    "dtypes": ("float32", "bfloat16"),
}


def measure(
    tower: str, step: str, dtype: str, sizes: dict, expected: dict, repeats: int
) -> dict:
    """Returns the rows of one case; fills `expected` in the float32 case."""
    rows: dict[str, dict] = {name: {} for name in SIDES}
    workers = {}
    kept = host.environment() if SETTLE.value else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in SIDES:
            if name != "ours" and (lacking := missing()):
                rows[name]["error"] = f"not installed: {lacking}"
                continue
            spec = {"side": name, "tower": tower, "step": step, "dtype": dtype} | sizes
            worker = protocol.Worker("benchmarks.towers_worker", spec, kept)
            path = pathlib.Path(scratch) / f"{name}.npz"
            rows[name] |= worker.ask("start") | worker.ask("first", str(path))
            if "error" in rows[name]:
                worker.close()
                continue
            workers[name] = worker
            with np.load(path) as found:
                arrays = dict(found)
            if name == "torch_eager" and dtype == "float32":
                expected[tower, step] = arrays
            rows[name]["arrays"] = arrays
        for row in rows.values():
            compare(row, expected.get((tower, step)))
    for name, times in protocol.take_turns(workers, repeats).items():
        workers[name].close()
        if len(times) < repeats:
            rows[name]["error"] = f"{len(times)} of {repeats} runs ended"
            continue
        middle = statistics.median(times)
        rows[name] |= {"times_s": times, "min_s": min(times), "median_s": middle}
        rows[name]["per_s"] = sizes["batch"] / middle
    result = {"batch": sizes["batch"], "variants": rows}
    rates = {name: row["per_s"] for name, row in rows.items() if "per_s" in row}
    peers = [rate for name, rate in rates.items() if name != "ours"]
    if "ours" in rates and peers:
        result["ratio"] = rates["ours"] / max(peers)
    return result


def missing() -> str:
    """The packages that the peers lack, by the names that install them."""
    needed = ("torch", "transformers")
    return ", ".join(name for name in needed if not importlib.util.find_spec(name))


def compare(row: dict, expected: dict | None) -> None:
    """Turns the arrays of a row into its errors."""
    arrays = row.pop("arrays", None)
    for key, right in (expected or {}).items() if arrays else ():
        error = np.abs(arrays[key] - right).max() / np.abs(right).max()
        row[f"{key}_error"] = float(error)


def show(case: str, result: dict) -> None:
    heads = ("median s", "min s", "per s", "peak MB", "out err", "grad err")
    print(f"\n{case}, batch {result['batch']}")
    print("variant".ljust(14) + "".join(f"{h:>11}" for h in heads))
    for name, row in result["variants"].items():
        if "error" in row:
            print(f"{name:<14} {row['error'].splitlines()[0][:96]}")
            continue
        cells = [f"{row[k]:.3f}" for k in ("median_s", "min_s")]
        cells += [f"{row['per_s']:.2f}", f"{row['peak_bytes'] / 1e6:.0f}"]
        for key in ("out_error", "grad_error"):
            cells.append(f"{row[key]:.1e}" if key in row else "-")
        print(name.ljust(14) + "".join(f"{c:>11}" for c in cells))
    if "ratio" in result:
        print(f"ours over the faster peer: {result['ratio']:.3f}")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    for flag in (TOWERS, STEPS, DTYPES):
        for value in flag.value:
            if value not in ALLOWED[flag.name]:
                allowed = ", ".join(ALLOWED[flag.name])
                sys.exit(f"error: --{flag.name}: got {value!r}, allowed: {allowed}")
    machine = protocol.machine()
    quick, repeats = QUICK.value, 2 if QUICK.value else REPEATS.value
    if not quick:
        try:
            protocol.check_idle(machine["load"], FORCE.value)
        except ValueError as error:
            sys.exit(f"error: {error}")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    report = {
        "machine": machine,
        "command": sys.argv,
        "repeats": repeats,
        "quick": quick,
        "forced": FORCE.value and machine["load"] > protocol.MAX_LOAD,
        "settle": SETTLE.value,
        "cases": {},
    }
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.2f}")
    expected: dict = {}
    for dtype in sorted(DTYPES.value, reverse=True):  # float32 is what is compared with
        for tower in TOWERS.value:
            batch = IMAGES.value if tower == "image" else TEXTS.value
            sizes = {"batch": batch, "depth": 12, "vocab": 256_000}
            if quick:
                sizes = {"batch": 2, "depth": 1, "vocab": 1000}
            for step in STEPS.value:
                case = f"{tower}/{step}/{dtype}"
                result = measure(tower, step, dtype, sizes, expected, repeats)
                report["cases"][case] = result
                protocol.write(pathlib.Path(OUT.value), report)
                show(case, result)
    print(f"\n{OUT.value}")


if __name__ == "__main__":
    app.run(main)
