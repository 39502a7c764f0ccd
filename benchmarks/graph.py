# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times propagation over a graph beside PyG, torch and scipy; samplers; a nation.

python benchmarks/graph.py            100,000 nodes, 2 million edges, d = 128, float32;
                                      sampler: 20 million edges, fan-out 15-10
python benchmarks/graph.py --quick    seconds, to see that it runs; times mean nothing
python benchmarks/graph.py --scale    a synthetic nation of 195,574 cells, 100 million
                                      edges: written, sampled, trained
python benchmarks/graph.py --topology=v5e:4x4   a billion edges, compiled for TPUs;
                                      needs libtpu, runs nowhere

The peers need torch and PyG: pip install torch==2.13.0 torch_geometric. All graphs are
synthetic. PyG's row is GCNConv's propagation alone, on edge lists, without its linear
layer; on a sparse tensor PyG calls torch's CSR product, which has a row of its own.
Ours runs with the memory settings of launch/train.py (unigeo_jax/host.py), the peers as
their users start them; rows named `kept` are peers with our settings.
`forward` is A @ X; `both` adds the gradient, A^T @ G. Writes --out: {"machine",
"command", "cases": {case: {variant: {"min_s", "median_s", "medges_per_s", "peak_bytes",
"out_error", ...}}}, "ratios", "sampler"}. Errors are against float64, over its largest
entry. A ratio is the peer's median time over ours: above 1 is better.
"""

import importlib.util
import pathlib
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from benchmarks import graph_scale, graph_worker, protocol
from unigeo_jax import host
from unigeo_jax.data import graph as graphs
from unigeo_jax.data import neighbours

VARIANTS = {
    "ours": {"side": "ours", "form": "rows"},
    "ours_buckets": {"side": "ours", "form": "buckets"},
    "jax_segment_sum": {"side": "ours", "form": "segment_sum"},
    "pyg_gcnconv": {"side": "torch", "form": "gcn"},
    "torch_index_add": {"side": "torch", "form": "index_add"},
    "torch_csr": {"side": "torch", "form": "csr"},
    "scipy_csr": {"side": "scipy", "form": "csr"},
    "pyg_gcnconv_kept": {"side": "torch", "form": "gcn"},
    "torch_csr_kept": {"side": "torch", "form": "csr"},
}
NEEDS = {
    "pyg_gcnconv": "torch_geometric",
    "torch_index_add": "torch",
    "torch_csr": "torch",
    "pyg_gcnconv_kept": "torch_geometric",
    "torch_csr_kept": "torch",
}
# Rows that run as launch/train.py does; the others as a process comes.
KEPT = ("ours", "ours_buckets", "pyg_gcnconv_kept", "torch_csr_kept")
NAMES = flags.DEFINE_list("variants", list(VARIANTS), "Which rows to fill.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns.", 1)
FORCE = flags.DEFINE_bool("force", False, "Time on a busy machine; is recorded.")
QUICK = flags.DEFINE_bool("quick", False, "Small: to see that it runs.")
SCALE = flags.DEFINE_bool("scale", False, "The synthetic nation instead.")
EDGES = flags.DEFINE_integer("edges", None, "Edges of the nation, by default 10**8.")
TOPOLOGY = flags.DEFINE_string("topology", None, "Compile for v5e:4x4 and the like.")
OUT = flags.DEFINE_string("out", "runs/benchmarks/graph.json", "Where it goes.")
FANOUT, BATCH = (15, 10), 1024


def measure(case: str, size: dict, repeats: int) -> dict[str, dict]:
    """Returns the rows of one case, "forward" or "both"."""
    rows: dict[str, dict] = {name: {} for name in NAMES.value}
    workers = {}
    expected = graph_worker.reference(**size)
    with tempfile.TemporaryDirectory() as scratch:
        for name, row in rows.items():
            spec = VARIANTS[name] | {"backward": case == "both"} | size
            lacking = NEEDS.get(name, "")
            if lacking and not importlib.util.find_spec(lacking):
                row["error"] = f"not installed: {lacking}"
                continue
            kept = host.environment() if name in KEPT else {}
            worker = protocol.Worker("benchmarks.graph_worker", spec, kept)
            row |= worker.ask("start") | worker.ask("first", f"{scratch}/{name}.npz")
            if "error" in row:
                worker.close()
                continue
            workers[name] = worker
            with np.load(f"{scratch}/{name}.npz") as found:
                for key in found:
                    error = np.abs(found[key] - expected[key]).max()
                    row[f"{key}_error"] = float(error / np.abs(expected[key]).max())
    products = size["edges"] * (2 if case == "both" else 1)
    for name, times in protocol.take_turns(workers, repeats).items():
        workers[name].close()
        middle = statistics.median(times)
        rows[name] |= {"min_s": min(times), "median_s": middle}
        rows[name]["medges_per_s"] = products / middle / 1e6
    return rows


def ratios(cases: dict) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for case, rows in cases.items():
        own = rows.get("ours", {}).get("median_s")
        for name, row in rows.items():
            if own and "median_s" in row and name != "ours":
                found.setdefault(case, {})[name] = row["median_s"] / own
    return found


def sampler(nodes: int, edges: int, repeats: int) -> dict[str, dict]:
    """Times drawing BATCH neighbourhoods, with and without weights."""
    matrix, *_ = graph_worker.inputs(nodes, edges, 1)
    graph = graphs.Graph(
        matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data
    )
    rng = np.random.default_rng(1)
    rows = {}
    drawn = BATCH * (FANOUT[0] + FANOUT[0] * FANOUT[1])
    with ThreadPoolExecutor(protocol.cores()) as pool:
        for weighted in (False, True):
            began = time.perf_counter()
            tables = neighbours.prepare(graph, weighted)
            row = {"prepare_s": time.perf_counter() - began}
            for name, threads in (("one_thread", None), ("all_cores", pool)):
                times = []
                for step in range(20 * repeats):
                    node_b = rng.integers(nodes, size=BATCH)
                    began = time.perf_counter()
                    neighbours.sample(
                        *(tables, node_b, np.arange(BATCH), 0, step, FANOUT), threads
                    )
                    times.append(time.perf_counter() - began)
                row[f"{name}_medges_per_s"] = drawn / statistics.median(times) / 1e6
            rows["by_weight" if weighted else "uniform"] = row
    return rows


def show(report: dict) -> None:
    for case, rows in report["cases"].items():
        heads = ("M edges/s", "min s", "median s", "peak MB", "error", "ours is")
        print(f"\n{case:18}" + "".join(f"{head:>12}" for head in heads))
        for name, row in rows.items():
            if "error" in row:
                print(f"{name:18}  {row['error'][:90]}")
                continue
            ratio = report["ratios"].get(case, {}).get(name)
            error = max(v for k, v in row.items() if k.endswith("_error"))
            cells = [f"{row['medges_per_s']:.2f}"]
            cells += [f"{row[key]:.4f}" for key in ("min_s", "median_s")]
            cells += [f"{row['peak_bytes'] / 1e6:.0f}", f"{error:.0e}"]
            cells.append(f"{ratio:.2f}x" if ratio else "")
            print(f"{name:18}" + "".join(f"{cell:>12}" for cell in cells))
    for name, row in report["sampler"].items():
        print(
            f"\nsampler, {name}: {row['one_thread_medges_per_s']:.0f} M edges/s on one"
            f" thread, {row['all_cores_medges_per_s']:.0f} on all cores; tables made in"
            f" {row['prepare_s']:.1f} s"
        )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    report: dict = {"machine": protocol.machine(), "command": sys.argv}
    out = pathlib.Path(OUT.value)
    if TOPOLOGY.value:
        report |= graph_scale.compile_step(TOPOLOGY.value, EDGES.value or 10**9)
    elif SCALE.value:
        report |= graph_scale.nation(EDGES.value or 10**8)
    else:
        if not QUICK.value:
            try:
                protocol.check_idle(report["machine"]["load"], FORCE.value)
            except ValueError as error:
                sys.exit(f"error: {error}")
        size = {"nodes": 100_000, "edges": 2_000_000, "dim": 128}
        drawn, repeats = (1_000_000, 20_000_000), REPEATS.value
        if QUICK.value:
            size = {"nodes": 500, "edges": 4000, "dim": 16}
            drawn, repeats = (500, 4000), 2
        report |= {"size": size, "repeats": repeats, "quick": QUICK.value}
        report["cases"] = {c: measure(c, size, repeats) for c in ("forward", "both")}
        report["ratios"] = ratios(report["cases"])
        report["sampler"] = sampler(*drawn, repeats)
        show(report)
    protocol.write(out, report)
    print(f"\n{out}")


if __name__ == "__main__":
    app.run(main)
