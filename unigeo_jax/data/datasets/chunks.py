# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes records chunk by chunk, here or in worker processes.

What makes them is a module of this folder with a class `Maker`: `Maker(number_i)`
is told every place to come, `make(number_i)` returns the columns of a chunk of them.

A worker is a fresh interpreter that runs this file's `main`, reads what to do from
its standard input and streams chunks to its standard output. So a build started from
any script or notebook neither imports that script again nor forks a process that
holds threads.
"""

import importlib
import io
import itertools
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray | list[bytes]]


def _maker(module: str, number_i: np.ndarray) -> Any:
    return importlib.import_module(f"{__package__}.{module}").Maker(number_i)


def pack(columns: Columns) -> bytes:
    """Turn columns into bytes; lists of bytes become one array and its lengths."""
    arrays = {}
    for name, column in columns.items():
        if isinstance(column, list):
            arrays[name] = np.frombuffer(b"".join(column), np.uint8)
            column, name = (
                np.array([len(part) for part in column], np.int64),
                name + "/lengths",
            )
        arrays[name] = column
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def unpack(data: bytes) -> Columns:
    """Undo `pack`."""
    columns: Columns = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in arrays.files:
            if name.endswith("/lengths"):
                continue
            if name + "/lengths" not in arrays.files:
                columns[name] = arrays[name]
                continue
            ends = np.cumsum(arrays[name + "/lengths"]).tolist()
            joined = arrays[name].tobytes()
            columns[name] = [
                joined[a:b] for a, b in zip([0, *ends], ends, strict=False)
            ]
    return columns


def main(module: str) -> None:
    """Be a worker: npz with `number` and `bounds` in, length-prefixed chunks out."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the stream
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as job:
        number_i, bounds = job["number"], job["bounds"]
    maker = _maker(module, number_i)
    for start, stop in itertools.pairwise(bounds):
        data = pack(maker.make(number_i[start:stop]))
        out.write(len(data).to_bytes(8, "big"))
        out.write(data)
        out.flush()


def interpreter(command: str, text: bool = False) -> subprocess.Popen[Any]:
    """Start a fresh interpreter of one thread that finds this package."""
    root = str(pathlib.Path(__file__).parents[3])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "GDAL_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=text,
    )


def _start_worker(module: str, chunks: Sequence[np.ndarray]) -> subprocess.Popen[bytes]:
    worker = interpreter(f"from {__name__} import main; main({module!r})")
    job = io.BytesIO()
    bounds = np.cumsum([0, *map(len, chunks)])
    np.savez(job, number=np.concatenate(chunks), bounds=bounds)
    assert worker.stdin
    worker.stdin.write(job.getvalue())
    worker.stdin.close()
    return worker


def stream(
    module: str, chunks: Sequence[np.ndarray], workers: int
) -> Iterator[Columns]:
    """Yield the columns of each chunk of places, in order.

    Args:
      module: name of the module of this folder whose `Maker` makes them.
      chunks: numbers of the places of each chunk.
      workers: processes that make them; 0 makes them here.

    Raises:
      RuntimeError: a worker ended before its work was done.
    """
    if not workers:
        yield from map(_maker(module, np.concatenate(chunks)).make, chunks)
        return
    running = [
        _start_worker(module, chunks[w::workers])
        for w in range(min(workers, len(chunks)))
    ]
    try:
        for number in range(len(chunks)):
            pipe = running[number % len(running)].stdout
            assert pipe
            length = int.from_bytes(pipe.read(8), "big")
            data = pipe.read(length)
            if not length or len(data) != length:
                raise RuntimeError(
                    f"{module}: worker {number % len(running)} of {len(running)} ended"
                    f" before chunk {number} of {len(chunks)} was made;"
                    " its message is above"
                )
            yield unpack(data)
    finally:
        for worker in running:
            worker.kill()
            worker.wait()
            if worker.stdout:
                worker.stdout.close()
