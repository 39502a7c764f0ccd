# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Steps that were not finite and changed nothing: of which places; an end to them.

Which steps those are is known on all processes alike (train.make_step); each names the
places of its own rows. A batch is a function of its step, so nothing is kept for that:
it is read once more.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from unigeo_jax.types import Batch

NAMED = 16  # places a message names
RUNNING = 2  # steps that may not be over yet when the next one is added


class Skips:
    """Watches the counters of skipped steps.

    A step is looked at as soon as two later ones have begun: nothing waits for it, and
    the run ends at most two steps after the one too many.

    Args:
      feed: (start=step) -> host batches from that step on.
      most: so many in a row are allowed, less one.
    """

    def __init__(self, feed: Callable[..., Iterator[Batch]], most: int) -> None:
        self._feed, self._most = feed, most
        self._new: list[tuple[int, jax.Array]] = []

    def add(
        self, step: int, skipped: jax.Array, saved: Callable[[], int | None]
    ) -> None:
        """Remembers a step; `skipped`: how many in a row were skipped up to it.

        Raises:
          FloatingPointError: as `report`, of the steps before the last two.
        """
        self._new.append((step, skipped))
        over, self._new = self._new[:-RUNNING], self._new[-RUNNING:]
        self._judge(over, saved)

    def report(self, saved: Callable[[], int | None]) -> None:
        """Names the places of what was skipped and was not named yet.

        Raises:
          FloatingPointError: `most` steps in a row were; names the range of steps, and
            the step that is `saved`.
        """
        over, self._new = self._new, []
        self._judge(over, saved)

    def _judge(
        self, over: list[tuple[int, jax.Array]], saved: Callable[[], int | None]
    ) -> None:
        rows = jax.device_get([skipped for _, skipped in over])
        for (step, _), count in zip(over, rows, strict=True):
            if count:
                print(self._places(step), file=sys.stderr, flush=True)
            if count >= self._most:
                raise FloatingPointError(
                    f"loss or gradient not finite in steps {step - int(count) + 1} to"
                    f" {step}; last good checkpoint: step {saved()}"
                )

    def _places(self, step: int) -> str:
        batch = next(self._feed(start=step - 1))
        bad = not_finite(batch)
        index = np.asarray(batch["index"])
        what = "inputs not finite of places" if bad.any() else "all inputs finite;"
        named = index[bad] if bad.any() else index
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        who = f"process {jax.process_index()} of {jax.process_count()}"
        return (
            f"step {step} was not finite and is skipped; {who}: {what}"
            f" {'' if bad.any() else 'places '}{named[:NAMED].tolist()}{more}"
        )


def not_finite(batch: Any) -> np.ndarray:
    """Bool (b,): rows with an input that is not finite."""
    bad = np.zeros(len(batch["index"]), bool)
    for x in jax.tree.leaves(batch["x"]):
        x = np.asarray(x)
        if np.issubdtype(x.dtype, np.floating) and len(x) == len(bad):
            bad |= ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    return bad
