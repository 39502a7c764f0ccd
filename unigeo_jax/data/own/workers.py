# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the shards of a job, here or in worker processes; what is there is kept.

A job is a folder with `job.json` and what its maker reads. The maker is a module with
a class `Maker`: `Maker(folder)`; `fields`, those of `shards`; `chunks(shard)` yields
columns of the records from shard.start to shard.stop; `notes()` returns what was
noticed since the last call, plain data. Beside each shard lies `<shard>.json` with
its bytes and these notes; it is written last and says that the shard is whole.

A worker is a fresh interpreter that is told shard after shard on its standard input:
a build neither imports the caller's script again nor forks its threads. It asks for the
next shard when it has written one, and says so when that has reached the disk; no
more than one waits for that.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unigeo_jax.data.datasets import chunks
from unigeo_jax.data.own import shards

NOTES = ".notes.json"
NEXT = "next"
Notes = dict[str, Any]


def read_notes(folder: pathlib.Path, shard: shards.Shard) -> Notes | None:
    """Bytes and notes of a whole shard, None if it is still to be made."""
    try:
        notes = json.loads((folder / f"{shard.file}{NOTES}").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return notes if (folder / shard.file).is_file() else None


def make(
    maker: Any, folder: pathlib.Path, shard: shards.Shard
) -> tuple[Notes, Callable[[], None]]:
    """Make one shard; its notes, and a function that ends it and writes them."""
    size, end = shards.write(folder / shard.file, maker.fields, maker.chunks(shard))
    notes = {"bytes": size, "notes": maker.notes()}

    def finish() -> None:
        end()
        shards.write_json(folder / f"{shard.file}{NOTES}", notes)

    return notes, finish


def run(
    module: str,
    folder: pathlib.Path,
    planned: Sequence[shards.Shard],
    workers: int,
    done: Callable[[shards.Shard, Notes], None] = lambda shard, notes: None,
    ready: Sequence[subprocess.Popen] = (),
) -> list[Notes]:
    """Make all shards of a job and return their notes in order.

    Args:
      module: dotted path of the module with the Maker.
      folder: of the job; shards land there too.
      workers: processes; 0 makes them here.
      done: called for every whole shard, also for those that were there; what it
        raises ends the build.
      ready: a `crew` that was started before; else one is, of `workers`.

    Raises:
      RuntimeError: a worker ended before its work was done.
    """
    found = {shard.file: read_notes(folder, shard) for shard in planned}
    for shard in planned:
        notes = found[shard.file]
        if notes is not None:
            done(shard, notes)
    todo = [shard for shard in planned if found[shard.file] is None]
    if todo and not workers:
        maker = importlib.import_module(module).Maker(folder)
        for shard in todo:
            notes, finish = make(maker, folder, shard)
            finish()
            found[shard.file] = notes
            done(shard, notes)
    elif todo:
        with crew(module, 0 if ready else min(workers, len(todo))) as started:
            _share(folder, todo, ready or started, found, done)
    return [notes for notes in found.values() if notes is not None]


@contextlib.contextmanager
def crew(module: str, count: int) -> Iterator[list[subprocess.Popen]]:
    """Processes that import `module` while what they will make is being planned."""
    command = f"from {__name__} import serve; serve({module!r})"
    running = [chunks.interpreter(command, text=True) for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    pipe.close()


def run_beam(
    module: str, folder: pathlib.Path, planned: Sequence[shards.Shard], runner: str
) -> None:
    """Make the shards that are missing under Apache Beam: same files, same bytes.

    runner: name of a Beam runner, then its options, as on a command line. Its workers
    need this package, and the folder by the same path.

    Raises:
      ValueError: Beam is not installed.
    """
    try:
        beam: Any = importlib.import_module("apache_beam")
        options: Any = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError as error:
        raise ValueError(
            "--runner needs Apache Beam: pip install apache-beam"
        ) from error
    todo = [dataclasses.asdict(s) for s in planned if read_notes(folder, s) is None]
    name, *given = runner.split()
    asked = options.PipelineOptions([f"--runner={name}", *given])
    if not todo:
        return
    with beam.Pipeline(options=asked) as pipeline:
        planned_shards = pipeline | beam.Create(todo) | beam.Reshuffle()
        _ = planned_shards | beam.Map(_make_here, module, str(folder))


@functools.lru_cache(maxsize=2)
def _maker(module: str, folder: str) -> Any:
    return importlib.import_module(module).Maker(pathlib.Path(folder))


def _make_here(shard: dict[str, Any], module: str, folder: str) -> None:
    """What a process of Beam does with a shard."""
    _written(shard, module, folder)()


def _written(shard: dict[str, Any], module: str, folder: str) -> Callable[[], None]:
    """Writes a shard; what is left to do for it."""
    with _ONE:
        maker = _maker(module, folder)
        return make(maker, pathlib.Path(folder), shards.Shard(**shard))[1]


_ONE = threading.Lock()  # a maker notes what it saw: one shard at a time


def _share(folder, todo, running, found, done) -> None:
    """Hand shards to workers as they ask for them, until none is left or one fails."""
    queue, lock = list(reversed(todo)), threading.Lock()
    failures: list[BaseException] = []

    def drive(number: int, worker: subprocess.Popen) -> None:
        assert worker.stdin and worker.stdout
        said, idle = NEXT, False
        given: list[shards.Shard] = []  # those that are not whole yet
        while True:
            try:
                if said == NEXT:
                    with lock:
                        idle = not queue or bool(failures)
                        given += [] if idle else [queue.pop()]
                    if not idle:
                        job = dataclasses.asdict(given[-1]), str(folder)
                        worker.stdin.write(json.dumps(job) + "\n")
                        worker.stdin.flush()
                if idle and not given:
                    return
                said = worker.stdout.readline().strip()
            except OSError:
                said = ""
            if said == NEXT:
                continue
            with lock:
                try:
                    whole = given and said == given[0].file
                    notes = read_notes(folder, given[0]) if whole else None
                    if notes is None:
                        file = given[0].file if given else "all"
                        raise RuntimeError(
                            f"worker {number} of {len(running)} ended before {file}"
                            " was whole; its message is above"
                        )
                    found[given[0].file] = notes
                    done(given.pop(0), notes)
                except BaseException as error:
                    failures.append(error)
                    return

    threads = [
        threading.Thread(target=drive, args=pair, daemon=True)
        for pair in enumerate(running)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def serve(module: str) -> None:
    """Be a worker: a line in is a shard and its folder, out NEXT, and a whole file."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not disturb the answers
    importlib.import_module(module)

    def say(what: str) -> None:
        out.write(what + "\n")
        out.flush()

    def end(finish: Callable[[], None], file: str) -> None:
        try:
            finish()
            say(file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    last = None
    with concurrent.futures.ThreadPoolExecutor(1) as disk:
        for line in sys.stdin:
            shard, folder = json.loads(line)
            finish = _written(shard, module, folder)
            if last is not None:
                last.result()
            last = disk.submit(end, finish, shard["file"])
            say(NEXT)
