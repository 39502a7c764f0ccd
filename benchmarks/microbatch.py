# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of a training step: 4,096 places by 64 (`config.microbatch`), or just 64.

python benchmarks/microbatch.py           sizes mini and S; runs mini, S compiles only
python benchmarks/microbatch.py --quick   tiny towers, 128 places by 16

Every row is a process of its own. State, inputs and temporaries are those of the
compiled step of configs/five_modal.py, exact: on a CPU the inputs of the whole batch
count, as they do on an accelerator. "resident" is what two real steps add to a
process (state, batch and all; Linux). Writes --out: each row in bytes, their ratios.
"""

import gc
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import protocol

SIZES = flags.DEFINE_list("sizes", ["mini", "S"], "Sizes of configs/five_modal.py.")
RUN = flags.DEFINE_list(
    "run", ["mini"], "Sizes whose steps are run, not only compiled."
)
BATCH = flags.DEFINE_integer("batch", 4096, "Places of the large batch.")
MICROBATCH = flags.DEFINE_integer("microbatch", 64, "Places at a time.")
QUICK = flags.DEFINE_bool("quick", False, "Tiny towers, 128 places by 16.")
OUT = flags.DEFINE_string("out", "runs/benchmarks/microbatch.json", "The result.")
ONE = flags.DEFINE_string("one", "", "One row, as JSON: what each process is asked.")
COLUMNS = ("state", "inputs", "temporaries", "total", "resident")


def measure(arg: str, batch: int, microbatch: int, run: bool) -> dict[str, Any]:
    """Compiles the step of `configs/five_modal.py:arg`; returns its figures in bytes.

    total: arguments and temporaries; the new state takes the place of the old one.
    resident: with `run`, peak that state, batch and two steps add to this process.
    """
    import jax

    from configs import five_modal
    from unigeo_jax import modalities, sharding, train
    from unigeo_jax.data import pipeline

    config = five_modal.get_config(arg)
    config.batch, config.microbatch = batch, microbatch
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    example = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))
    prepared = train.prepare(config, mesh, example)

    def inputs(make):
        return jax.tree.map(lambda x: make((batch, *x.shape[1:]), x.dtype), example)

    def size(tree) -> int:
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

    abstract = inputs(jax.ShapeDtypeStruct)
    step: Any = prepared.step
    program = step.lower(prepared.abstract, abstract, {}).compile()
    memory = program.memory_analysis()
    aside = memory.output_size_in_bytes - memory.alias_size_in_bytes
    out = {
        "state": size(prepared.abstract),
        "inputs": size(abstract),
        "temporaries": memory.temp_size_in_bytes,
        "total": memory.argument_size_in_bytes + memory.temp_size_in_bytes + aside,
    }
    if run:
        init: Any = prepared.init
        init = init.lower().compile()

        def two_steps() -> None:
            rows = inputs(np.ones)
            rows["index"][:] = np.arange(batch)
            rows["cell"][:, 0] = np.arange(batch)
            rows = sharding.to_global(rows, mesh)
            gc.collect()  # the loader's copy is not the step's
            state = init()
            for _ in range(2):
                state, values = program(state, rows, {})
            assert np.isfinite(values["loss"])

        out["resident"], _ = protocol.host_growth(two_steps)
    return out


def row(*case: Any) -> dict[str, Any]:
    """Measures one case in a process of its own."""
    command = [sys.executable, __file__, f"--one={json.dumps(case)}"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    if ONE.value:
        print(json.dumps(measure(*json.loads(ONE.value))))
        return
    sizes, batch, at_a_time = SIZES.value, BATCH.value, MICROBATCH.value
    if QUICK.value:
        sizes, batch, at_a_time = ["tiny"], 128, 16
    rows, ratios = [], {}
    print("size  places   by " + "".join(f" {name:>12}" for name in COLUMNS) + "  MiB")
    for size in sizes:
        arg = size if size == "tiny" else f"size={size}"
        run = QUICK.value or size in RUN.value
        found = []
        for places, by in ((at_a_time, 0), (batch, at_a_time), (batch, 0)):
            # All at once is what cannot be run: compiled only.
            figures = row(arg, places, by, run and (by > 0 or places == at_a_time))
            found.append({"size": size, "batch": places, "microbatch": by} | figures)
            cells = [
                f"{figures[name] / 2**20:13,.0f}" if name in figures else f"{'-':>13}"
                for name in COLUMNS
            ]
            print(f"{size:5} {places:6} {by:4} " + "".join(cells), flush=True)
        small, large, _ = found
        ratios[size] = {
            name: large[name] / small[name]
            for name in ("total", "temporaries", "resident")
            if name in large
        }
        rows += found
    for size, ratio in ratios.items():
        line = ", ".join(f"{name} {value:.2f}" for name, value in ratio.items())
        print(f"{size}: {batch} by {at_a_time} over {at_a_time}: {line}")
    report = {"rows": rows, "ratios": ratios, "machine": protocol.machine()}
    protocol.write(pathlib.Path(OUT.value), report)
    print(f"wrote {OUT.value}")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    app.run(main)
