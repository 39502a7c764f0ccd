# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times the exact search of evals.geolocation beside faiss's Flat index.

python benchmarks/search.py [--quick] [--out=runs/benchmarks/search.json]

Top 10 of 200,000 x 768 for 1,000 queries, inner product, in turns; adding the gallery
to faiss's index is not timed. Writes {"machine", "command", "ours_s", "faiss_s",
"ratio", "same"}: medians, faiss's time over ours, the share of equal answers.
"""

import importlib
import pathlib
import statistics
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from benchmarks import protocol
from unigeo_jax.evals import geolocation

QUICK = flags.DEFINE_bool("quick", False, "Small: to see that it runs.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns.", 1)
OUT = flags.DEFINE_string("out", "runs/benchmarks/search.json", "Where it goes.")


def main(argv: list[str]) -> None:
    del argv
    faiss: Any = importlib.import_module("faiss")  # of the extra `bench`
    gallery, width, queries = (5000, 32, 50) if QUICK.value else (200_000, 768, 1000)
    rng = np.random.default_rng(0)
    gallery_gd = rng.normal(size=(gallery, width)).astype(np.float32)
    gallery_gd /= np.linalg.norm(gallery_gd, axis=1, keepdims=True)
    query_bd = rng.normal(size=(queries, width)).astype(np.float32)
    index = faiss.IndexFlatIP(width)
    index.add(gallery_gd)
    times: dict[str, list[float]] = {"ours": [], "faiss": []}
    found = {}
    for turn in range(REPEATS.value + 1):
        for name in times:
            time.sleep(protocol.PAUSE_S)
            began = time.perf_counter()
            if name == "ours":
                found[name] = geolocation.top_k(query_bd, gallery_gd, 10)[1]
            else:
                found[name] = index.search(query_bd, 10)[1]  # pyright: ignore
            if turn:
                times[name].append(time.perf_counter() - began)
    ours, other = (statistics.median(times[name]) for name in ("ours", "faiss"))
    result = {
        "machine": protocol.machine(),
        "command": " ".join(sys.argv),
        "ours_s": ours,
        "faiss_s": other,
        "ratio": other / ours,
        "same": float(np.mean(found["ours"] == found["faiss"])),
    }
    print(
        f"ours {ours:.3f} s, faiss {other:.3f} s: {other / ours:.2f} times;"
        f" {result['same']:.2%} of the answers equal"
    )
    protocol.write(pathlib.Path(OUT.value), result)


if __name__ == "__main__":
    app.run(main)
