# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How every benchmark measures: one process a variant, one of them at work at a time.

- Variants take turns (A/B/C, A/B/C, ...) in one run, so that whatever else the machine
  does meets all of them; each keeps its own process and threads, idle out of its turn.
- Nothing is timed on a machine whose load average is over MAX_LOAD.
- Peak memory is that of the second run in a fresh process, over what was held before;
  the first one also loads code and starts threads. Linux only: it comes from /proc.
"""

import ctypes
import gc
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAX_LOAD = 0.5  # of the last minute, at the start
PAUSE_S = 0.3  # between turns: threads that spin after their work fall asleep
PACKAGES = (
    *("jax", "jaxlib", "libtpu", "numpy", "torch", "open_clip_torch"),
    *("transformers", "scikit-learn", "faiss-cpu"),
)
CPU_FLAGS = r"\b(avx2|avx512f|avx512_bf16|avx512_fp16|amx_tile|amx_bf16|amx_int8)\b"


UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SIZE = r"([\d.]+)([KMGT]?)"
# Both ways in which the TPU compiler says so.
ASKED = (
    re.compile(rf"\({SIZE}\) exceeds available HBM \({SIZE}\)"),
    re.compile(rf"Used {SIZE} of {SIZE} hbm"),
)


class Work(NamedTuple):
    """What a worker process runs; `start` of `serve` makes one.

    run: one whole repeat, done when it returns; keeps no reference to what it returns.
    arrays: what `run` returned, as numpy arrays by name.
    growth: calls its argument; returns the peak bytes added, and what it returned.
    about: figures known before the first run.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], dict[str, np.ndarray]]
    growth: Callable[[Callable[[], Any]], tuple[int, Any]]
    about: dict[str, Any]


class Worker:
    """A subprocess `python -m MODULE SPEC` that works only while it is asked to."""

    def __init__(self, module: str, spec: dict, environment: dict | None = None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(spec)],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, *words: str) -> dict:
        """Returns the worker's answer, {"error": text} where it failed or died."""
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps([do, *words]), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        return {"error": f"the process ended with code {self.process.wait()}"}

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def serve(start: Callable[[], Work]) -> None:
    """Answers a Worker's questions, one JSON line each, until its input ends."""
    # Libraries may print: only answers go to the real standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = failed = None
    for line in sys.stdin:
        do, *words = json.loads(line)
        try:
            if do == "start":
                work = start()
                answer = work.about
            elif work is None:
                answer = failed or {"error": "not started"}
            else:
                answer = _answer(work, do, *words)
        except Exception as error:  # a failure is a figure too
            answer = {"error": f"{type(error).__name__}: {error}"}
            failed = failed or answer
        print(json.dumps(answer), file=answers, flush=True)


def _answer(work: Work, do: str, *words: str) -> dict:
    """Does "time", or "first FILE.npz": two runs, memory, the arrays into that file."""
    began = time.perf_counter()
    if do not in ("time", "first"):
        raise ValueError(f"worker: got {do!r}, allowed: start, first, time")
    work.run()
    seconds = time.perf_counter() - began
    if do == "time":
        return {"seconds": seconds}
    growth, out = work.growth(work.run)
    named: dict[str, Any] = work.arrays(out)
    np.savez(words[0], **named)
    return {"peak_bytes": growth, "first_s": seconds}


def take_turns(workers: dict[str, Worker], repeats: int) -> dict[str, list[float]]:
    """Returns seconds by variant: all once, then all again; failed ones drop out."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            time.sleep(PAUSE_S)
            answer = worker.ask("time")
            if "seconds" in answer:
                times[name].append(answer["seconds"])
    return times


def host_growth(run: Callable[[], Any]) -> tuple[int, Any]:
    """Runs once and returns the peak resident bytes over those held before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would be used first
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status_bytes("VmRSS")
    out = run()
    return _status_bytes("VmHWM") - before, out


def _status_bytes(name: str) -> int:
    text = pathlib.Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"/proc/self/status has no {name}"
    return 1024 * int(found[1])


def cores() -> int:
    """The cores this process may use, which is how many threads each side gets."""
    return len(os.sched_getaffinity(0))


def memory_disk() -> str | None:
    """A folder in memory, where this system has one."""
    return "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None


def check_idle(load: float, force: bool) -> None:
    """Raises ValueError if the machine is too busy for times to mean anything."""
    if load > MAX_LOAD and not force:
        raise ValueError(
            f"load average of the last minute: got {load:.2f}, allowed: at most"
            f" {MAX_LOAD}; wait until the machine is idle, or --force (is recorded)"
        )


def machine() -> dict[str, Any]:
    """Versions, processor, threads, flags, commit and load, to stand beside figures."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.+)", cpu)
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": _git("status", "--porcelain").splitlines(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "cpu": model[1] if model else platform.machine(),
        "cpu_flags": sorted(set(re.findall(CPU_FLAGS, cpu))),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "load": os.getloadavg()[0],
    }


def why(text: str) -> dict:
    """The last line that names an error, and the memory it speaks of."""
    lines = [line for line in text.splitlines() if "Error" in line or "error" in line]
    row: dict = {"error": (lines or text.splitlines() or ["no message"])[-1][:400]}
    for found in filter(None, (pattern.search(text) for pattern in ASKED)):
        asked, asked_unit, there, unit = found.groups()
        row["asked_bytes"] = round(float(asked) * UNITS[asked_unit])
        row["available_bytes"] = round(float(there) * UNITS[unit])
    return row


def _git(*words: str) -> str:
    command = ["git", "-C", str(ROOT), *words]
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return ran.stdout.strip("\n") if ran.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write(path: pathlib.Path, report: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
