# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run went, over all its restarts: `<workdir>/goodput.jsonl`.

A line is written with every line of metrics: `attempt` (0, 1, ... restarts), `from`
(the step this attempt began at), `step`, `at` (Unix time), and since the attempt began
seconds of `start` (until the first step has run: compilation), `data` (waiting for a
batch), `save`, `eval`, and `train`, all the rest. What ran after the checkpoint that
the next attempt began at was wasted; time between attempts is `down`.
"""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax

FILE = "goodput.jsonl"
KINDS = ("train", "data", "save", "eval", "start")
_LOADED = time.monotonic()  # the process began at most some imports earlier


class Clock:
    """Adds up the seconds of this attempt; process 0 writes them.

    Args:
      folder: the workdir.
      start: the step that this attempt begins at.
    """

    def __init__(self, folder: pathlib.Path, start: int) -> None:
        self._path, self._from = folder / FILE, start
        self._before = read(folder)
        self._attempt = max((x["attempt"] for x in self._before), default=-1) + 1
        first = self._attempt == 0 or not _Process.used
        self._began = _LOADED if first else time.monotonic()
        _Process.used = True
        self._seconds: dict[str, float] = dict.fromkeys(KINDS, 0.0)

    def add(self, kind: str, seconds: float) -> None:
        self._seconds[kind] += seconds

    @contextlib.contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Counts what runs inside as `kind`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(kind, time.monotonic() - began)

    def started(self) -> None:
        """Says that the first step has run."""
        self._seconds["start"] = time.monotonic() - self._began
        self._seconds |= dict.fromkeys(("data", "save", "eval"), 0.0)

    def mark(self, step: int) -> dict[str, float]:
        """Writes a line; returns the goodput of the whole run so far, 0 to 1."""
        seconds = self._seconds
        known = sum(v for kind, v in seconds.items() if kind != "train")
        seconds["train"] = max(time.monotonic() - self._began - known, 0.0)
        line = {"attempt": self._attempt, "from": self._from, "step": step}
        line |= {"at": round(time.time(), 3)}
        line |= {kind: round(seconds[kind], 4) for kind in KINDS}
        if jax.process_index() == 0:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        own = [x for x in self._before if x["attempt"] != self._attempt]
        self._before = [*own, line]
        return {"goodput": summary(self._before)["goodput"]}


class _Process:
    """Whether a clock of this process has counted its start-up."""

    used = False


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a workdir; one that a kill has cut is left out."""
    path = folder / FILE
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
            lines.append(
                {k: int(line[k]) for k in ("attempt", "from", "step")}
                | {k: float(line[k]) for k in ("at", *KINDS)}
            )
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def summary(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by kind over all attempts, `down`, `wasted`, `total`, and `goodput`.

    goodput: share of the total in which steps ran that are part of the result.
    """
    attempts: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        attempts.setdefault(line["attempt"], []).append(line)
    out = dict.fromkeys((*KINDS, "down", "wasted"), 0.0)
    before: list[dict[str, Any]] = []
    for _, own in sorted(attempts.items()):
        last = own[-1]
        for kind in KINDS:
            out[kind] += last[kind]
        if before:
            began = last["at"] - sum(last[kind] for kind in KINDS)
            out["down"] += max(began - before[-1]["at"], 0.0)
            kept = [line["train"] for line in before if line["step"] <= last["from"]]
            out["wasted"] += before[-1]["train"] - max(kept, default=0.0)
        before = own
    total = sum(out[kind] for kind in KINDS) + out["down"]
    useful = out["train"] - out["wasted"]
    return out | {"total": total, "goodput": useful / total if total else 0.0}


def describe(folder: pathlib.Path) -> str:
    """The summary of a workdir in one line."""
    lines = read(folder)
    found = summary(lines)
    parts = [
        f"{name} {found[key]:.0f} s"
        for key, name in (
            ("train", "training"),
            ("data", "waiting for data"),
            ("save", "saving"),
            ("eval", "evaluation"),
            ("start", "starting"),
            ("down", "between attempts"),
            ("wasted", "wasted by faults"),
        )
    ]
    attempts = len({line["attempt"] for line in lines})
    return (
        f"goodput {found['goodput']:.1%} of {found['total']:.0f} s in"
        f" {attempts} attempt{'s' if attempts != 1 else ''}: {', '.join(parts)}"
    )
