# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Feeds damaged files to every parser of files from outside; none may do but refuse.

python benchmarks/fuzz.py [--inputs=1000000] [--seed=0] [--out=FILE] [--only NAME ...]

Each input is a whole file of the right kind, mutated: bytes flipped, cut, repeated or
replaced; numbers replaced by extreme ones; members of a zip mutated and zipped again
with a right checksum; values of JSON and columns of Parquet replaced by others. A
parser may return, or raise the errors of its docstring. Another exception, more than
--seconds or a MemoryError, raised anywhere and even if caught, with --memory at hand,
is reported and its input kept under --keep. Each parser has a process of its own, which
writes its input to a shared page first: a crash (or a hang in native code, which is
killed) costs that input alone, is told with it, and the next process goes on behind it.
Input N of a parser depends on --seed and N alone. Writes JSON.
"""

import argparse
import collections
import concurrent.futures
import importlib
import json
import logging
import mmap
import os
import pathlib
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import protocol
from benchmarks.fuzz_changes import Target, mutate_bytes

SECONDS, MEMORY_MB = 5, 1024
START_S = 600  # until the first input: code loads, whole files are made
CRASHES = 10  # of a parser, after which the rest of its inputs is left
# One arena and one pool, so that address space tells what is held.
ALONE = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
ALONE |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}


class TooLong(BaseException):
    """A parser took longer than a second is worth."""


class Page:
    """The input at work and the counts so far, in a file that outlives a crash."""

    HEAD, MOST = struct.Struct("<QQQQ"), 2**22

    def __init__(self, path: pathlib.Path) -> None:
        with path.open("a+b") as file:
            file.truncate(self.HEAD.size + self.MOST)
            self._map = mmap.mmap(file.fileno(), 0)

    def put(self, begun: int, accepted: int, refused: int, data: bytes) -> None:
        """begun: the number of the input and 1, so that 0 is none yet."""
        data = data[: self.MOST]
        self._map[self.HEAD.size : self.HEAD.size + len(data)] = data
        self.HEAD.pack_into(self._map, 0, begun, accepted, refused, len(data))

    def get(self) -> tuple[int, int, int, bytes]:
        begun, accepted, refused, size = self.HEAD.unpack_from(self._map)
        return begun, accepted, refused, self._map[self.HEAD.size :][:size]


def bound(megabytes: int) -> None:
    """Memory that a parser may take beyond what is there now."""
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = size * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
    resource.setrlimit(
        resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1])
    )


def timed() -> None:
    """Makes the alarm an exception."""

    def late(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, late)


def run(target: Target, data: bytes, seconds: float) -> tuple[str, str]:
    """What became of an input, and what was wrong: the error, "" if nothing was."""
    short: list[str] = []

    def watch(frame: Any, event: str, argument: Any) -> Any:
        """Sees what is raised in any function, whoever catches it."""
        frame.f_trace_lines = False
        if event == "exception" and issubclass(argument[0], MemoryError):
            code = frame.f_code
            short.append(f"MemoryError in {code.co_filename}:{frame.f_lineno}")
        return watch

    before = sys.gettrace()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    sys.settrace(watch)
    try:
        target.parse(data)
        outcome, wrong = "accepted", ""
    except target.allowed:
        outcome, wrong = "refused", ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what Rust raises in a panic is no Exception
        name = type(error).__name__
        outcome, wrong = f"bad: {name}", f"{name}: {error}"[:500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(before)
    return ("bad: MemoryError", short[0]) if short else (outcome, wrong)


def fuzz(
    target: Target,
    numbers: Iterable[int],
    seed: str,
    seconds: float = SECONDS,
    page: Page | None = None,
    tell: Callable[[int, str, bytes], None] | None = None,
) -> tuple[collections.Counter[str], list[str]]:
    """Outcomes by name, and what must not be. `tell` takes it at once, with its bytes.

    page: holds each input before it is parsed, and what was counted until then.
    """
    outcomes: collections.Counter[str] = collections.Counter()
    bad: list[str] = []
    change = target.mutate or mutate_bytes
    timed()
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        data = change(draw.choice(target.seeds), draw)
        if page:
            page.put(number + 1, outcomes["accepted"], outcomes["refused"], data)
        outcome, wrong = run(target, data, seconds)
        outcomes[outcome] += 1
        if wrong and outcomes[outcome] <= 3:
            bad.append(f"input {number}: {wrong}; it begins with {data[:200].hex()}")
            if tell:
                tell(number, wrong, data)
    if page:
        page.put(2**62, outcomes["accepted"], outcomes["refused"], b"")
    return outcomes, bad


def child(options: argparse.Namespace) -> None:
    """Fuzzes one parser from input --first on; what is wrong goes to bad.jsonl."""
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    folder = pathlib.Path(options.scratch)
    files = pathlib.Path(tempfile.mkdtemp(dir=folder))
    target = importlib.import_module(options.targets).make(options.child, files)
    for seed in target.seeds:  # so that code loads and tables fill before the bound
        run(target, seed, 600)

    def tell(number: int, wrong: str, data: bytes) -> None:
        kept = keep(options, options.child, number, data)
        with (folder / "bad.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"error": wrong, "input": kept}) + "\n")

    bound(options.memory)
    numbers = range(options.first, options.inputs)
    seed = f"{options.seed} {options.child}"
    page = Page(folder / "page")
    fuzz(target, numbers, seed, options.seconds, page, tell)


def keep(options: argparse.Namespace, name: str, number: int, data: bytes) -> str:
    """Writes an input that must not be lost; its path."""
    options.keep.mkdir(parents=True, exist_ok=True)
    path = options.keep / f"{name.replace(' ', '_')}-{options.seed}-{number}"
    path.write_bytes(data)
    return str(path)


def ended(command: list[str], page: Page, seconds: float, log: Any) -> str:
    """Runs a child; how it ended early, "" for at its end."""
    ran = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | ALONE)
    before, late, began = page.get()[0], False, time.monotonic()
    while True:
        try:
            code = ran.wait(4 * seconds)
            break
        except subprocess.TimeoutExpired:
            now = page.get()[0]
            slow = time.monotonic() - began > START_S
            if now == before and (now or slow):  # the alarm did not reach Python
                late = True
                ran.kill()
            before = now
    if late:
        return f"hang: killed after {4 * seconds} s"
    return f"crash: the process ended with {code}" if code else ""


def one(name: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fuzzes a parser in processes of its own: one, and one more for each crash."""
    began = time.monotonic()
    outcomes: collections.Counter[str] = collections.Counter()
    bad: list[dict[str, str]] = []
    first = 0
    with tempfile.TemporaryDirectory(dir=protocol.memory_disk()) as folder:
        here = pathlib.Path(folder)
        command = [sys.executable, __file__, f"--child={name}", f"--scratch={folder}"]
        command += [f"--{key}={getattr(options, key)}" for key in PASSED]
        while first < count and outcomes["bad: crash"] < CRASHES:
            page, log = Page(here / "page"), here / "log"
            page.put(0, 0, 0, b"")
            with log.open("wb") as file:
                flags = [f"--first={first}", f"--inputs={count}"]
                why = ended([*command, *flags], page, options.seconds, file)
            begun, accepted, refused, data = page.get()
            outcomes.update(accepted=accepted, refused=refused)
            if not why:
                break
            text = log.read_text("utf-8", "replace")[-2000:]
            if not begun:
                raise RuntimeError(f"{name}: did not start ({why}):\n{text}")
            outcomes["bad: crash"] += 1
            kept = keep(options, name, begun - 1, data)
            bad.append({"error": f"{why}: {text}", "input": kept})
            first = begun
        told = here / "bad.jsonl"
        lines = told.read_text("utf-8").splitlines() if told.exists() else []
    bad += map(json.loads, lines)
    seconds = time.monotonic() - began
    return {
        "inputs": count if not why else first,
        "outcomes": dict(outcomes),
        "rate": count / seconds,
        "seconds": seconds,
        "bad": bad,
    }


PASSED = ("seed", "seconds", "memory", "keep", "targets")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help="MB")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=pathlib.Path, default="runs/fuzz.json")
    parser.add_argument("--keep", type=pathlib.Path, default="runs/fuzz")
    parser.add_argument(
        "--targets", default="benchmarks.fuzz_targets", help="a module of targets"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.inputs = 20_000
    return options


def main() -> None:
    options = parse_options()
    if options.child:
        return child(options)
    module = importlib.import_module(options.targets)
    shares = {name: share for name, (share, _) in module.TARGETS.items()}
    if unknown := {*options.only} - {*shares}:
        sys.exit(f"--only={sorted(unknown)}: expected of {sorted(shares)}")
    names = options.only or [*shares]
    counts = [round(shares[name] * options.inputs) for name in names]
    rows = {}
    print(
        f"{'parser':16}{'inputs':>10}{'accepted':>10}{'refused':>10}{'bad':>6}   per s"
    )
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        found = pool.map(lambda n, c: one(n, c, options), names, counts)
        for name, row in zip(names, found, strict=True):
            rows[name] = row
            print(
                f"{name:16}{row['inputs']:10,}{row['outcomes'].get('accepted', 0):10,}"
                f"{row['outcomes'].get('refused', 0):10,}{len(row['bad']):6}"
                f"  {row['rate']:,.0f}",
                flush=True,
            )
            for bad in row["bad"]:
                print(f"  {bad['input']}: {bad['error']}")
    print(f"{sum(row['inputs'] for row in rows.values()):,} inputs")
    protocol.write(options.out, {"rows": rows, "machine": protocol.machine()})
    sys.exit(1 if any(row["bad"] for row in rows.values()) else 0)


if __name__ == "__main__":
    main()
