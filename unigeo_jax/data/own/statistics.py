# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Counts, means and spreads of every field, added up shard by shard in order."""

from typing import Any

import numpy as np

MANY = 100_000  # values that are added up together


class Tally:
    """Adds up what records hold: plain data in, plain data out.

    Sums are float64 and are joined in the order of shards: the same whoever made them.
    Values wait until there are many: a place's alone cost more in calls than in sums.
    """

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self.sums: dict[str, dict[str, Any]] = {}
        self._waiting: dict[str, list[np.ndarray]] = {}

    def seen(self, name: str, number: int = 1) -> None:
        self.count[name] = self.count.get(name, 0) + number

    def add(self, name: str, values_nk: np.ndarray) -> None:
        """Values (n, k) of k channels, NaN where unknown; they are kept for a while."""
        waiting = self._waiting.setdefault(name, [])
        waiting.append(values_nk)
        if sum(values.size for values in waiting) >= MANY:
            self._flush(name)

    def _flush(self, name: str) -> None:
        values_nk = np.concatenate(self._waiting.pop(name))
        of = _of_bytes if values_nk.dtype == np.uint8 and len(values_nk) else _of_floats
        self._join(name, of(values_nk))

    def _join(self, name: str, part: dict[str, Any]) -> None:
        old = self.sums.get(name)
        if old is None:
            self.sums[name] = part
            return
        for key, join in (("low", min), ("high", max)):
            old[key] = [join(a, b) for a, b in zip(old[key], part[key], strict=True)]
        for key in ("n", "sum", "squares"):
            old[key] = [a + b for a, b in zip(old[key], part[key], strict=True)]

    def _settle(self) -> None:
        for name in list(self._waiting):
            self._flush(name)

    def plain(self) -> dict[str, Any]:
        self._settle()
        return {"count": self.count, "sums": self.sums}

    def join(self, plain: dict[str, Any]) -> None:
        for name, number in plain["count"].items():
            self.seen(name, number)
        for name, part in plain["sums"].items():
            self._join(name, {key: list(values) for key, values in part.items()})

    def summary(self, name: str) -> dict[str, list[float | None]]:
        """{"mean", "std", "min", "max", "known"} a channel; None: never known."""
        self._settle()
        part = self.sums.get(name)
        if part is None:
            return {}
        n = np.maximum(np.array(part["n"], np.float64), 1)
        mean = np.array(part["sum"]) / n
        spread = np.sqrt(np.maximum(np.array(part["squares"]) / n - mean**2, 0))
        out = {"mean": mean, "std": spread, "min": part["low"], "max": part["high"]}

        def plain(values: Any) -> list[float | None]:
            return [
                round(float(v), 6) if k else None
                for v, k in zip(values, part["n"], strict=True)
            ]

        return {k: plain(v) for k, v in out.items()} | {"known": part["n"]}


def _of_floats(values_nk: np.ndarray) -> dict[str, Any]:
    # A row a channel: numpy adds along the last axis several times as fast.
    value_kn = np.ascontiguousarray(values_nk.T, np.float64)
    known_kn = np.isfinite(value_kn)
    low_kn = high_kn = value_kn
    if not known_kn.all():
        low_kn = np.where(known_kn, value_kn, np.inf)
        high_kn = np.where(known_kn, value_kn, -np.inf)
        value_kn = np.where(known_kn, value_kn, 0.0)
    return {
        "n": known_kn.sum(1).tolist(),
        "sum": value_kn.sum(1).tolist(),
        "squares": (value_kn**2).sum(1).tolist(),
        "low": low_kn.min(1, initial=np.inf).tolist(),
        "high": high_kn.max(1, initial=-np.inf).tolist(),
    }


def _of_bytes(values_nk: np.ndarray) -> dict[str, Any]:
    """What `_of_floats` finds in pixels, the same: sums of whole numbers are exact."""
    value_kn = np.ascontiguousarray(values_nk.T)
    exact_kn = value_kn.astype(np.float64)
    return {
        "n": [len(values_nk)] * len(value_kn),
        "sum": exact_kn.sum(1).tolist(),
        "squares": np.einsum("kn,kn->k", exact_kn, exact_kn).tolist(),
        "low": value_kn.min(1).astype(np.float64).tolist(),
        "high": value_kn.max(1).astype(np.float64).tolist(),
    }
