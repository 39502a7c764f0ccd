# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reads batches in a worker that is killed, or stopped, on the way: for test_data.py.

python -m tests.faults.loader DATA_DIR SIGNAL
"""

import multiprocessing
import os
import pathlib
import signal
import sys

from absl import flags
from ml_collections import ConfigDict

from unigeo_jax import watchdog
from unigeo_jax.data import datasets, order, pipeline
from unigeo_jax.modalities import aerial


def main(data_dir: str, sign: str) -> None:
    flags.FLAGS.mark_as_parsed()  # Grain reads some
    source, index = datasets.load("mine", "train", pathlib.Path(data_dir))
    read = pipeline.ReadPlaces(
        source, index["cell"], [("aerial", aerial, {"size": 16})]
    )
    places = order.BatchOrder(
        *(index["lat"], index["lon"]), batch=8, steps=10**6, seed=0, fraction=0, size=1
    )
    data = ConfigDict({"threads": 1, "prefetch": 1, "workers": 1, "skip": ()})
    batches = pipeline.train_batches(read, places, data=data, start=0, process=(0, 1))
    with watchdog.Watchdog(2.0, "the reader") as watch:
        for number, _ in enumerate(batches, 1):
            watch.beat(number)
            if number == 5:
                (worker,) = multiprocessing.active_children()
                os.kill(worker.pid or 0, signal.Signals[sign])
                print(f"{sign} {worker.pid}", flush=True)
    print("an end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
