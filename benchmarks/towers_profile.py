# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Says where a training step of the image tower B/16-224 goes on a CPU.

python benchmarks/towers_profile.py [--batch=8]

Prints the step; the time of its matrix products alone, each shape timed by itself, and
of torch's for the same shapes; what is left over, by kind of operation in the trace of
the compiled program. Products that run on threads of their own are not in the trace, so
the kinds do not add up to the step. On an idle machine; needs torch for its column.
"""

import collections
import importlib
import importlib.util
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import protocol, towers_worker
from unigeo_jax import host

BATCH = flags.DEFINE_integer("batch", 8, "Images of a batch.", 1)
DEPTH = flags.DEFINE_integer("depth", 12, "Layers.", 1)
REPEATS = 7
# Events of the runtime itself, and of the host.
NOT_WORK = re.compile(r"^(\$|Thunk|PjRt|Thread|Tfrt|Common|Python|Parse|end:|Handle)")


def median_s(run) -> float:
    times = []
    for _ in range(REPEATS + 2):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def products(batch: int, depth: int) -> dict[tuple[int, int, int], int]:
    """(rows, inputs, outputs) of the products of all blocks, and how many of each."""
    rows = batch * (towers_worker.SIZE // towers_worker.PATCH) ** 2
    w, hidden = towers_worker.WIDTH, towers_worker.HIDDEN
    return {
        (rows, w, w): 4 * depth,
        (rows, w, hidden): depth,
        (rows, hidden, w): depth,
    }


def alone(side: str, shape: tuple[int, int, int]) -> float:
    """Seconds of one product and of the two of its gradient."""
    m, i, o = shape
    if side == "torch":
        torch = importlib.import_module("torch")
        torch.set_num_threads(protocol.cores())
        x, w, g = torch.randn(m, i), torch.randn(o, i), torch.randn(m, o)
        return sum(map(median_s, (lambda: x @ w.T, lambda: g @ w, lambda: g.T @ x)))
    x, w, g = jnp.ones((m, i)), jnp.ones((i, o)), jnp.ones((m, o))
    forms = [(x, w, 1, 0), (g, w, 1, 1), (x, g, 0, 0)]
    total = 0.0
    for a, b, left, right in forms:
        numbers = (((left,), (right,)), ((), ()))
        program = jax.jit(lambda a, b, n=numbers: jax.lax.dot_general(a, b, n))
        total += median_s(
            lambda p=program, a=a, b=b: jax.block_until_ready(p(a, b)),
        )
    return total


def kinds(run) -> list[tuple[str, float, int]]:
    """(kind, milliseconds, how many) of the operations of one traced run."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
    seconds, count = collections.Counter(), collections.Counter()
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                if NOT_WORK.match(event.name):
                    continue
                kind = re.sub(r"[.\d]+$", "", event.name)
                seconds[kind] += event.duration_ns / 1e6
                count[kind] += 1
    return [(kind, ms, count[kind]) for kind, ms in seconds.most_common(16)]


def main(argv: list[str]) -> None:
    del argv
    batch, depth = BATCH.value, DEPTH.value
    work = towers_worker.ours("image", "train", "float32", batch, depth, 1)
    step = median_s(work.run)
    sides = ["ours"] + ["torch"] * bool(importlib.util.find_spec("torch"))
    print(f"step {step * 1e3:.0f} ms, batch {batch}, {depth} layers")
    for side in sides:
        needed = products(batch, depth)
        total = sum(n * alone(side, shape) for shape, n in needed.items())
        flops = sum(6 * m * i * o * n for (m, i, o), n in needed.items())
        rate = flops / total / 1e9
        share = total / step
        print(
            f"products of the blocks alone, {side}: {total * 1e3:.0f} ms"
            f" ({share:.0%} of the step), {rate:.0f} GFLOP/s"
        )
    print("in the trace of one step:")
    for kind, ms, count in kinds(work.run):
        print(f"{ms:9.1f} ms {count:5d} {kind}")


if __name__ == "__main__":
    host.settle()
    app.run(main)
