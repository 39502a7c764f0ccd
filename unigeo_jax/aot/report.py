# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles the training step of a config for given devices and says what it costs.

All of it is computed, nothing is measured: the memory is what the compiler assigned,
FLOPs and collectives are counted in the compiled program, times are a roofline from
published peak figures. A real step is slower than the roofline.
"""

import dataclasses
import math
import pathlib
import re
import tempfile
import time
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.sharding import Mesh

from unigeo_jax import checkpoint, modalities, sharding, train
from unigeo_jax.aot import cost
from unigeo_jax.data import pipeline

GIB = 2**30
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}


class Chip(NamedTuple):
    """Peak figures of one chip.

    flops: bfloat16 operations a second. memory: bytes that a program may use. hbm, ici,
    dcn: bytes a second to main memory, sent to other chips of the slice, sent to other
    slices; 0 is unknown.
    """

    flops: float
    memory: float
    hbm: float
    ici: float
    dcn: float


# Source: docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, "key specifications": peak
# bf16 compute, HBM bandwidth, and half of the bidirectional inter-chip bandwidth (400,
# 1200, 800 GB/s); for v4, 6 links of 50 GB/s, Jouppi et al. 2023, arXiv 2304.01433,
# table 4. Data centre network: v5e 6.4 Tb/s for 256 chips, v5p 50 Gb/s a chip.
# `memory` is less than the 32, 16, 95 and 32 GB of these pages, or in other units: what
# the compiler (libtpu 0.0.42) says is available when a program does not fit.
CHIPS = {
    "v4": Chip(275e12, 30.75 * GIB, 1200e9, 300e9, 0),
    "v5e": Chip(197e12, 15.75 * GIB, 819e9, 200e9, 3.125e9),
    "v5p": Chip(459e12, 95.74 * GIB, 2765e9, 600e9, 6.25e9),
    "v6e": Chip(918e12, 31.25 * GIB, 1638e9, 400e9, 0),
}


def report(config: Any, mesh: Mesh, chip: Chip) -> dict[str, Any]:
    """Compiles the step of `config` for the devices of `mesh`; see the README.

    Needs no dataset but for towers with constants (modalities/__init__.py): that of
    the default folder. `fits` is False where the compiler runs out of memory; then
    `largest` holds its own list of buffers, and the rest is of the program that it
    gave up on.

    Raises:
      ValueError: the config does not fit the mesh.
    """
    if config.batch % mesh.size:
        raise ValueError(
            f"config.batch: got {config.batch};"
            f" allowed: a multiple of {mesh.size} devices"
        )
    readers = pipeline.readers(config.towers, modalities.get)
    shared = pipeline.constants(config, modalities.get, None, mesh.size)
    run = train.prepare(config, mesh, pipeline.example_batch(readers), shared)
    constants = checkpoint.abstract_like(
        shared, sharding.constant_shardings(shared, mesh)
    )
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            (config.batch, *x.shape[1:]),
            x.dtype,
            sharding=sharding.batch_sharding(mesh),
        ),
        pipeline.example_batch(readers),
    )
    lowered = run.step.lower(run.abstract, batch, constants)  # pyright: ignore
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        out, text = _compile(lowered, pathlib.Path(folder), chip)
        out["compile_s"] = round(time.monotonic() - began, 1)
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = jax.make_jaxpr(run.task.loss_fn)(
        run.abstract.params, batch, key, constants
    )
    out["parameters"] = train.count(run.abstract.params)
    out["model_flops"] = 3 * forward_flops(traced.jaxpr)
    if text:
        out |= _estimate(cost.read(text), out["model_flops"] / mesh.size, chip)
    return out


def _compile(
    lowered: Any, folder: pathlib.Path, chip: Chip
) -> tuple[dict[str, Any], str]:
    """Memory of the compiled program, and its text.

    `peak` is what the compiler laid out in main memory: arguments, outputs and
    temporaries, which share space where they can.
    """
    options = {"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True}
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        hbm = {"peak": None, "available": chip.memory} | _sizes(str(error))
        dumped = [*folder.glob("*.oom_intermediate_module.txt")]
        text = dumped[0].read_text(encoding="utf-8") if dumped else ""
        return {"fits": False, "hbm": hbm, "largest": _buffers(folder)[1]}, text
    memory = compiled.memory_analysis()
    hbm = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "alias": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    peak, largest = _buffers(folder)
    hbm["peak"] = peak or sum(hbm.values()) - 2 * hbm["alias"]
    hbm["program"] = memory.generated_code_size_in_bytes
    hbm["available"] = chip.memory
    fits = hbm["peak"] + hbm["program"] <= chip.memory
    return {"fits": fits, "hbm": hbm, "largest": largest}, compiled.as_text()


def _sizes(message: str) -> dict[str, float]:
    """Bytes asked and available from the compiler's message."""
    pattern = r"([\d.]+)([KMGT]?)"
    forms = (
        rf"\({pattern}\) exceeds available HBM \({pattern}\)",
        rf"Used {pattern} of {pattern} hbm",
    )
    for form in forms:
        if found := re.search(form, message):
            a, a_unit, b, b_unit = found.groups()
            peak, available = float(a) * UNITS[a_unit], float(b) * UNITS[b_unit]
            return {"peak": peak, "available": available}
    return {}


def _buffers(folder: pathlib.Path, count: int = 8) -> tuple[int, list[str]]:
    """Bytes of main memory and the largest buffers, from the compiler's own report.

    A buffer is its size and the values that take turns in it.
    """
    for path in folder.glob("*memory-usage-report.txt"):
        head, _, text = path.read_text(encoding="utf-8").partition("(color=0)\n")
        if head.count("\n") == 0 and text:
            lines = text.partition("Memory Space")[0].splitlines()
            total = int(re.sub(r"\D*(\d+).*", r"\1", lines[0]))
            rows = [[part.strip() for part in line.split(";")] for line in lines[3:]]
            rows = [row for row in rows if len(row) == 5]
            rows.sort(key=lambda row: _number(row[1]), reverse=True)
            largest = [f"{row[1].split('(')[0]}: {row[4][:200]}" for row in rows]
            return total, largest[:count]
    return 0, []


def _number(text: str) -> float:
    """'3.45GiB( 9%)' in bytes."""
    found = re.match(r"([\d.]+)([KMGT]?)", text)
    return float(found[1]) * UNITS[found[2]] if found else 0


def _estimate(counted: cost.Cost, model: float, chip: Chip) -> dict[str, Any]:
    """Roofline of one step and the utilisation that it would mean.

    Each term is the time of one resource at its published peak; `step_s` is the largest
    (all else hidden behind it), `unhidden_s` their sum. mfu = 3 forward FLOPs / (chips
    x peak x step_s), with no credit for recomputation.
    """
    wire = {True: 0.0, False: 0.0}
    for kind, each in counted.collectives.items():
        wire[kind.startswith("dcn-")] += each.wire
    terms = {
        "compute_s": counted.flops / chip.flops,
        "hbm_s": counted.traffic / chip.hbm,
        "ici_s": wire[False] / chip.ici,
        "dcn_s": wire[True] / chip.dcn if chip.dcn else None,
    }
    known = {name: value for name, value in terms.items() if value is not None}
    step = max(known.values())
    roofline = terms | {
        "bound": max(known, key=lambda name: known[name]).removesuffix("_s"),
        "step_s": step,
        "unhidden_s": sum(known.values()),
        "mfu": model / (chip.flops * step),
        "mfu_unhidden": model / (chip.flops * sum(known.values())),
    }
    return {
        "flops_per_chip": counted.flops,
        "model_flops_per_chip": model,
        "hbm_traffic_per_chip": counted.traffic,
        "collectives_per_chip": {
            kind: dataclasses.asdict(each)
            for kind, each in sorted(counted.collectives.items())
        },
        "uncounted": dict(counted.uncounted),
        "unknown_loops": counted.unknown_loops,
        "roofline": roofline,
    }


def forward_flops(jaxpr: Any) -> float:
    """FLOPs of the dots and convolutions of a traced function, two a multiply-add.

    Loops count with their length, a branch is the largest, what runs on each device of
    a mesh counts on all. A `while` of unknown length counts once.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        values: list[Any] = [*eqn.invars, *eqn.outvars]
        shapes: list[Any] = [getattr(v.aval, "shape", ()) for v in values]
        if name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(shapes[0][axis] for axis in contracted)
            total += 2.0 * inner * math.prod(shapes[2])
            continue
        if name == "conv_general_dilated":
            out = eqn.params["dimension_numbers"].rhs_spec[0]
            inner = math.prod(shapes[1]) / shapes[1][out]
            total += 2.0 * inner * math.prod(shapes[2])
            continue
        inner = [forward_flops(part) for part in _inside(eqn.params.values())]
        if not inner:
            continue
        times = {
            "scan": lambda p: p["length"],
            "shard_map": lambda p: p["mesh"].size,
            "pallas_call": lambda p: math.prod(p["grid_mapping"].grid),
        }.get(name, lambda p: 1)(eqn.params)
        total += times * (max(inner) if name == "cond" else sum(inner))
    return total


def _inside(values: Any) -> list[Any]:
    """Every jaxpr among the parameters of an equation."""
    found = []
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, core.Jaxpr):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _inside(value)
    return found
