# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of a user's table that are not as they should be: found, counted, budgeted.

Policy: a row without a position that can be used is dropped; anything else that
cannot be used is masked, and the rest of its row is kept; what can be repaired
without a guess (a rotation that EXIF asks for, CMYK, Latin-1) is repaired. All of it
is reported with the row. Rows dropped or masked count against the budget; repaired
ones do not, nor those where a raster holds no data (absent).
"""

import collections
import math
from collections.abc import Iterable
from typing import Any

DROPPED, MASKED, REPAIRED, ABSENT = "dropped", "masked", "repaired", "absent"
BAD = (DROPPED, MASKED)
EXAMPLES = 100  # rows named for each kind of problem
LEAST = 10  # bad rows that are always allowed


class OverBudget(ValueError):
    """More bad rows than allowed."""


class Problems:
    """What was found: counts by kind, examples by row, and which rows are bad."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self.examples: list[dict[str, Any]] = []
        self.bad_rows: set[int] = set()

    def add(
        self, row: int, field: str, kind: str, done: str, what: str = "", count: int = 1
    ) -> None:
        """One finding. kind: few words, the same for alike findings; what: details."""
        key = (field, kind, done)
        if self.counts[key] < EXAMPLES:
            found = {"row": row, "field": field, "kind": kind, "done": done}
            self.examples.append(found | ({"what": what[:300]} if what else {}))
        self.counts[key] += count
        if done in BAD:
            self.bad_rows.add(row)

    def plain(self) -> dict[str, Any]:
        """As plain data, which `join` takes."""
        return {
            "counts": [[*key, n] for key, n in sorted(self.counts.items())],
            "examples": self.examples,
            "bad_rows": sorted(self.bad_rows),
        }

    def join(self, others: Iterable[dict[str, Any]]) -> None:
        """Take over what `plain` gave elsewhere."""
        for other in others:
            here: collections.Counter[tuple[str, str, str]] = collections.Counter()
            for found in other["examples"]:
                key = (found["field"], found["kind"], found["done"])
                if self.counts[key] + here[key] < EXAMPLES:
                    self.examples.append(found)
                here[key] += 1
            for field, kind, done, n in other["counts"]:
                self.counts[(field, kind, done)] += n
            self.bad_rows.update(other["bad_rows"])

    def check(self, rows: int, budget: float) -> None:
        """Raise OverBudget if more rows are bad than `budget`, a share of `rows`."""
        allowed = max(LEAST, math.floor(budget * rows))
        if len(self.bad_rows) > allowed:
            most = ", ".join(
                f"{n} x {field}: {kind}"
                for (field, kind, done), n in self.counts.most_common(4)
                if done in BAD
            )
            first = next(e for e in self.examples if e["done"] in BAD)
            raise OverBudget(
                f"{len(self.bad_rows)} of {rows} rows cannot be used as they are"
                f" ({most}); first: row {first['row']}, {first['field']}:"
                f" {first['kind']} {first.get('what', '')}; allowed: {allowed}"
                " (--max_bad)"
            )
