# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Ends a process whose training stands still, with the stacks of all its threads.

Why: a peer that is alive but stuck answers heartbeats, and the others would wait for
it in a collective for ever. What the clock needs is a thread; it is told `beat` once a
step. Time in which this process itself was stopped does not count.
"""

import collections
import contextlib
import faulthandler
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

HANG = 5  # exit code: this process or a peer is stuck or dead; run again
FACTOR = 10  # a step may take this many times the median step
LONG = 12  # compilation, a save, an evaluation: this many times the minimum
KNOWN_STEPS = 3  # from here on there is a median; until then compilation's allowance
GRACE_S = 10.0  # for writing the stacks, which a full pipe could block

ADVICE = """\
What to look for below, in the thread that stands in train.py `loop`:
  block_until_ready, device_get, agreed: it waits for the devices or for a peer. Look
    at the other processes: one whose log ended earlier, whose stack is elsewhere, or
    whose machine does not answer is the cause.
  next(batches): its own data do not come (a file system or a worker that hangs).
The same command in the same workdir goes on from the newest checkpoint."""


def describe(minimum_s: float) -> str:
    """What the watchdog will do, in one line."""
    if not minimum_s:
        return "watchdog: off"
    return (
        f"watchdog: exit {HANG} if a step takes longer than {FACTOR} x the median step"
        f" (at least {minimum_s:g} s), or a compilation, save or evaluation longer"
        f" than {LONG * minimum_s:g} s"
    )


def end(code: int) -> None:
    """Leaves at once, without the interpreter's way out, which waits for all peers."""
    threading.Timer(GRACE_S, os._exit, [code]).start()
    for child in multiprocessing.active_children():
        child.kill()  # readers of data; nobody else would end them
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Watchdog:
    """A thread that ends the process with code HANG if `beat` does not come in time.

    Args:
      minimum_s: seconds that every step may take, however fast the median; 0 is off.
      who: how messages name this process.

    Raises:
      ValueError: minimum_s is negative.
    """

    def __init__(self, minimum_s: float, who: str = "this process") -> None:
        if not 0 <= minimum_s < float("inf"):
            raise ValueError(
                f"config.watchdog_s: got {minimum_s}; allowed: 0 (off) or seconds"
            )
        self._minimum, self._who = minimum_s, who
        self._times: collections.deque[float] = collections.deque(maxlen=101)
        self._lock = threading.Lock()
        self._doing, self._limit, self._waited = "the start", LONG * minimum_s, 0.0
        self._began: float | None = None  # None: what runs now is no plain step
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        if minimum_s:
            self._thread.start()

    def __enter__(self) -> "Watchdog":
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()

    def beat(self, step: int) -> None:
        """Says that `step` begins, which ends the one before."""
        now = time.monotonic()
        if self._began is not None:
            self._times.append(now - self._began)
        self._began = now
        if len(self._times) < KNOWN_STEPS:
            limit = LONG * self._minimum
        else:
            limit = max(self._minimum, FACTOR * statistics.median(self._times))
        self._watch(f"step {step}", limit)

    @contextlib.contextmanager
    def allow(self, what: str) -> Iterator[None]:
        """What runs inside is no step: it has LONG times the minimum of its own."""
        before = self._doing, self._limit
        self._watch(what, LONG * self._minimum)
        yield
        self._began = None
        self._watch(*before)

    def _watch(self, doing: str, limit: float) -> None:
        with self._lock:
            self._doing, self._limit, self._waited = doing, limit, 0.0

    def _run(self) -> None:
        tick = min(1.0, self._minimum / 20)
        then = time.monotonic()
        while not self._over.wait(tick):
            now = time.monotonic()
            with self._lock:
                # A gap is time in which this thread did not run either: Ctrl-Z, or a
                # machine put to sleep. It tells nothing about the training.
                self._waited += min(now - then, 2 * tick)
                late = self._waited > self._limit
                doing, limit, waited = self._doing, self._limit, self._waited
            then = now
            if late:
                threading.Timer(GRACE_S, os._exit, [HANG]).start()
                print(
                    f"\nerror: watchdog: {self._who} has stood in {doing} for"
                    f" {waited:.0f} s; allowed: {limit:.0f} s (config.watchdog_s ="
                    f" {self._minimum:g}). It ends with exit code {HANG}.\n{ADVICE}",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                end(HANG)
