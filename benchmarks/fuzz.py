# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Feeds damaged files to every parser of files from outside; none may do but refuse.

python benchmarks/fuzz.py [--inputs=1000000] [--seed=0] [--out=FILE] [--only NAME ...]

Each input is a whole file of the right kind, mutated: bytes flipped, cut, repeated or
replaced; numbers replaced by extreme ones; members of a zip mutated and zipped again
with a right checksum; values of JSON replaced by others. A parser may return, or raise
the errors of its docstring. A crash ends this process; more than --seconds, more memory
than --memory, or another exception is reported with the bytes. Writes JSON.
"""

import argparse
import collections
import logging
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import protocol
from benchmarks.fuzz_mutations import mutate_bytes
from benchmarks.fuzz_targets import Target, targets

SECONDS, MEMORY_MB = 5, 1024


class TooLong(BaseException):
    """A parser took longer than a second is worth."""


def bound(megabytes: int) -> None:
    """Memory that a parser may take beyond what is there now."""

    def late(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = size * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
    resource.setrlimit(
        resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1])
    )


def fuzz(
    target: Target, count: int, draw: random.Random, seconds: int = SECONDS
) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    """Outcomes by name, and what must not be: with the bytes, in hexadecimal."""
    outcomes: collections.Counter[str] = collections.Counter()
    bad: list[dict[str, Any]] = []
    change = target.mutate or mutate_bytes
    for _ in range(count):
        data = change(draw.choice(target.seeds), draw)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            target.parse(data)
            outcomes["accepted"] += 1
        except target.allowed:
            outcomes["refused"] += 1
        except (Exception, TooLong) as error:
            name = type(error).__name__
            outcomes[f"bad: {name}"] += 1
            if outcomes[f"bad: {name}"] <= 3:
                bad.append(
                    {"error": f"{name}: {error}"[:500], "bytes": data[:4000].hex()}
                )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return outcomes, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help="MB")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=pathlib.Path, default="runs/fuzz.json")
    options = parser.parse_args()
    inputs = 20_000 if options.quick else options.inputs
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    rows = {}
    print(
        f"{'parser':16}{'inputs':>10}{'accepted':>10}{'refused':>10}{'bad':>6}   per s"
    )
    with tempfile.TemporaryDirectory(dir=protocol.memory_disk()) as name:
        found = targets(pathlib.Path(name))
        bound(options.memory)
        for kind, target in found.items():
            if options.only and kind not in options.only:
                continue
            count, began = round(target.share * inputs), time.monotonic()
            draw = random.Random(f"{options.seed} {kind}")
            outcomes, bad = fuzz(target, count, draw, options.seconds)
            rate = count / (time.monotonic() - began)
            rows[kind] = {"outcomes": dict(outcomes), "rate": rate, "bad": bad}
            wrong = sum(n for word, n in outcomes.items() if word.startswith("bad"))
            print(
                f"{kind:16}{count:10,}{outcomes['accepted']:10,}"
                f"{outcomes['refused']:10,}{wrong:6}  {rate:,.0f}",
                flush=True,
            )
            for one in bad:
                print(f"  {one['error']}")
    total = sum(sum(row["outcomes"].values()) for row in rows.values())
    print(f"{total:,} inputs")
    report = {"rows": rows, "machine": protocol.machine()}
    protocol.write(options.out, report)
    sys.exit(1 if any(row["bad"] for row in rows.values()) else 0)


if __name__ == "__main__":
    main()
