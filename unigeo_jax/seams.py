# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Named points at which tests and benchmarks/faults.py make a process fail for real.

The environment variable UNIGEO_FAULT holds `kind@point[:count][+seconds]`, several with
commas: at the `count`th passage (default 1) of `point`, or so many seconds after it,

  kill    the process gets SIGKILL,
  stop    SIGSTOP,
  sleep   the thread sleeps for `seconds`, by default an hour,
  error   OSError "no space left on device" is raised,
  flag    `at` returns True: the caller does the damage, e.g. poisons a batch.

Without the variable `at` is one comparison.
"""

import collections
import errno
import os
import signal
import threading
import time
from typing import NamedTuple

VARIABLE = "UNIGEO_FAULT"
KINDS = ("kill", "stop", "sleep", "error", "flag")


class Fault(NamedTuple):
    kind: str
    point: str
    count: int
    seconds: float


_passed: collections.Counter[str] = collections.Counter()


def parse(text: str) -> list[Fault]:
    """Reads the variable; raises ValueError for what is no fault."""
    found = []
    for part in filter(None, text.split(",")):
        kind, _, rest = part.partition("@")
        rest, _, seconds = rest.partition("+")
        point, _, count = rest.partition(":")
        try:
            fault = Fault(kind, point, int(count or 1), float(seconds or 0))
        except ValueError:
            fault = None
        if fault is None or kind not in KINDS or not point:
            raise ValueError(
                f"{VARIABLE}: got {part!r}; allowed: kind@point[:count][+seconds] with"
                f" a kind of {', '.join(KINDS)}"
            )
        found.append(fault)
    return found


def at(point: str) -> bool:
    """Passes `point`: does what UNIGEO_FAULT says of it; True for `flag`."""
    text = os.environ.get(VARIABLE)
    if not text:
        return False
    _passed[point] += 1
    flagged = False
    for fault in parse(text):
        if (fault.point, fault.count) == (point, _passed[point]):
            flagged |= _happen(fault)
    return flagged


def _happen(fault: Fault) -> bool:
    if fault.kind in ("kill", "stop"):
        sign = signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP
        if fault.seconds:
            later = threading.Timer(fault.seconds, os.kill, [os.getpid(), sign])
            later.daemon = True
            later.start()
        else:
            os.kill(os.getpid(), sign)
    elif fault.kind == "sleep":
        time.sleep(fault.seconds or 3600)
    elif fault.kind == "error":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), fault.point)
    return fault.kind == "flag"
