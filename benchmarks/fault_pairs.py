# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes of one job, of which one is killed, stopped or slow: for faults.py.

The other one ends within the stated time, with its message: the watchdog's own limit,
or that of heartbeats, which are JAX's. Run again, both end as if nothing had been.
"""

import pathlib
import re
import signal
import time

from benchmarks import fault_server
from benchmarks.fault_ground import (
    HEARTBEAT_S,
    STEPS,
    Ground,
    Trial,
    start_pair,
    state_digest,
)

PAIRS = ("peer killed", "peer stopped", "peer slow")
SLACK_S = 15.0  # the watchdog's ten for its stacks, and a machine that has other work
SAID = r"watchdog: process \d of 2|another process died|another task died|leader"


def lost_at(child: fault_server.Child, within_s: float = 150.0) -> float:
    """When a process died or was stopped, by the monotonic clock."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not child.alive():
            return time.monotonic()
        try:
            stat = pathlib.Path(f"/proc/{child.pid}/stat").read_text()
        except OSError:
            continue
        if stat.rsplit(")", 1)[1].split()[0] == "T":
            return time.monotonic()
        time.sleep(0.02)
    raise TimeoutError(f"process {child.pid} is neither dead nor stopped")


def disturb_peer(ground: Ground, kind: str, run: pathlib.Path, number: int) -> Trial:
    """One of two processes, in turns, is disturbed at a random step."""
    victim, step = number % 2, ground.draw.randint(2, STEPS - 1)
    how = {"peer killed": "kill", "peer stopped": "stop", "peer slow": "sleep"}[kind]
    fault = {"UNIGEO_FAULT": f"{how}@step:{step}" + ("+2" if how == "sleep" else "")}
    pair = start_pair(ground, run, ({}, fault) if victim else (fault, {}))
    what = f"process {victim}, step {step}"
    began = time.monotonic()
    try:
        if kind == "peer slow":
            return ending(ground, pair, run, what, began)
        seconds, wrong = alone(pair, victim)
    finally:
        for child in pair:
            child.kill()
    if wrong:
        return Trial(False, False, 1, f"{what}: {wrong}", seconds)
    again = start_pair(ground, run)
    try:
        return ending(ground, again, run, what, began)._replace(seconds=seconds)
    finally:
        for child in again:
            child.kill()


def alone(pair: list[fault_server.Child], victim: int) -> tuple[float, str]:
    """Seconds that the other process lived on, and what was wrong with its end."""
    hit, other = lost_at(pair[victim]), pair[1 - victim]
    try:
        code = other.wait(150)
    except TimeoutError as error:
        return time.monotonic() - hit, f"{error}: {other.err()[-2000:]}"
    seconds, err = time.monotonic() - hit, other.err()
    allowed = re.search(r"allowed: (\d+) s", err)
    stated = float(allowed[1]) if allowed else HEARTBEAT_S
    if code not in (5, -signal.SIGABRT) or not re.search(SAID, err):
        return seconds, f"code {code}, {err[-2000:]}"
    late = seconds > stated + SLACK_S
    return seconds, f"{seconds:.0f} s, stated {stated:.0f} s" if late else ""


def ending(
    ground: Ground,
    pair: list[fault_server.Child],
    run: pathlib.Path,
    what: str,
    began: float,
) -> Trial:
    """Both end by themselves with the bits of the pair that nobody disturbed."""
    try:
        survived = [child.wait(150) for child in pair] == [0, 0]
    except TimeoutError:
        survived = False
    equal = survived and state_digest(run) == ground.straight["pair"]
    what += "" if survived else f": {pair[0].err()[-2000:]} {pair[1].err()[-2000:]}"
    return Trial(survived, equal, 1, what, time.monotonic() - began)
