# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Counts what the compiled all-pairs loss holds and sends on many devices; runs none.

python benchmarks/scaling.py           8 fake CPU devices; with libtpu, TPU topologies
python benchmarks/scaling.py --quick   8 fake CPU devices at B = 64 only

TPU programs are compiled on a machine without a TPU, which needs the extra `tpu`.
Value and gradients of the loss, five modalities of width 768, float32 on fake devices
and bfloat16 on TPU (the CPU compiler widens bfloat16, so its bytes mean nothing).
Figures are the compiler's: exact, whatever the load, and no run on hardware. Every
compilation has its own process.

Writes --out: {"machine", "command", "quick", "width", "rows": [{"topology", "form",
"batch", "dtype", "devices", "fits", "compile_s", "temp_bytes", "argument_bytes",
"output_bytes", "flops", "operations": {kind: number in the program's text},
"collectives": {kind: {"count", "bytes", "wire"}}}]}, all of one device. `count` and
bytes include the trips of loops; `wire` is what a device sends, in rings. Where `fits`
is false, `error` says why, `asked_bytes` and `available_bytes` if the compiler did.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from benchmarks import protocol

FORMS = ("naive", "naive_unmasked", "plain", "tiled", "ring")
# Topology, its accelerator type, batch and forms.
TPU = (
    *(("v5e:2x4", "v5litepod-8", b * 1024, FORMS) for b in (32, 128, 512)),
    ("v5e:16x16", "v5litepod-256", 1024 * 1024, ("ring",)),
)
FAKE_DEVICES = 8
QUICK = flags.DEFINE_bool("quick", False, "Fake devices only, B = 64, width 32.")
ONLY = flags.DEFINE_list("forms", list(FORMS), "Which forms to compile.")
TOPOLOGIES = flags.DEFINE_list(
    "topologies", ["cpu", *dict.fromkeys(t for t, *_ in TPU)], "And for which devices."
)
TIMEOUT_S = flags.DEFINE_integer("timeout_s", 1200, "Seconds a compilation may take.")
OUT = flags.DEFINE_string(
    "out", "runs/benchmarks/scaling.json", "Where the result goes."
)
KINDS = ("all-gather", "reduce-scatter", "collective-permute", "all-reduce")


def plan(quick: bool) -> list[dict]:
    """What to compile, each with the environment that its process needs."""
    batch, width = (64, 32) if quick else (8192, 768)
    flag = f"--xla_force_host_platform_device_count={FAKE_DEVICES}"
    flags_before = os.environ.get("XLA_FLAGS", "")
    fake = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags_before} {flag}".strip()}
    base = {"topology": "cpu", "batch": batch, "width": width, "dtype": "float32"}
    jobs = [base | {"form": form, "environment": fake} for form in FORMS]
    if quick:
        return jobs
    for topology, accelerator, batch, forms in TPU:
        environment = {
            "JAX_PLATFORMS": "cpu",
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": accelerator,
        }
        base = {"topology": topology, "batch": batch, "width": width}
        base |= {"dtype": "bfloat16", "environment": environment}
        jobs += [base | {"form": form} for form in forms]
    return jobs


def compile_one(job: dict) -> dict:
    """Compiles in a fresh process; a failure is a row too."""
    job = dict(job)
    environment = os.environ | job.pop("environment")
    row = {k: job[k] for k in ("topology", "form", "batch", "dtype")} | {"fits": False}
    if job["topology"] != "cpu" and not importlib.util.find_spec("libtpu"):
        return row | {"error": "not installed: libtpu"}
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.scaling_worker", json.dumps(job)],
            cwd=protocol.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S.value,
        )
    except subprocess.TimeoutExpired:
        return row | {"error": f"not compiled within {TIMEOUT_S.value} s"}
    if ran.returncode == 0:
        return row | {"fits": True} | json.loads(ran.stdout.splitlines()[-1])
    return row | protocol.why(ran.stderr) | {"code": ran.returncode}


def show(row: dict) -> None:
    head = (
        f"{row['topology']:<10} {row['batch']:>8} {row['dtype']:<9} {row['form']:<15}"
    )
    if not row["fits"]:
        said = row["error"][:80]
        if "asked_bytes" in row:
            asked, there = (row[f"{k}_bytes"] / 1e9 for k in ("asked", "available"))
            said = f"does not fit: asks {asked:.1f} GB of {there:.1f}"
        print(head, said, flush=True)
        return
    counts = "".join(f"{row['operations'][kind]:>8}" for kind in KINDS)
    sent = sum(each["wire"] for each in row["collectives"].values())
    print(
        f"{head} {row['temp_bytes'] / 1e6:>10.1f} {counts} {sent / 1e6:>10.1f}",
        flush=True,
    )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    for form in ONLY.value:
        if form not in FORMS:
            sys.exit(f"error: --forms: got {form!r}, allowed: {list(FORMS)}")
    report = {
        "machine": protocol.machine(),
        "command": sys.argv,
        "quick": QUICK.value,
        "width": 32 if QUICK.value else 768,
        "rows": [],
    }
    print("temporaries and bytes sent a device; operations in the program's text")
    print(
        f"{'topology':<10} {'B':>8} {'dtype':<9} {'form':<15} {'temp MB':>10} ", end=""
    )
    kinds = ("gather", "scatter", "permute", "reduce")
    print("".join(f"{name:>8}" for name in kinds), f"{'sent MB':>10}")
    for job in plan(QUICK.value):
        if job["form"] in ONLY.value and job["topology"] in TOPOLOGIES.value:
            row = compile_one(job)
            report["rows"].append(row)
            protocol.write(pathlib.Path(OUT.value), report)
            show(row)
    print(OUT.value)


if __name__ == "__main__":
    app.run(main)
