# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which place stands where in which batch: a pure function of (seed, position).

Position `p` of the run is slot `p % batch` of step `p // batch`. The first slots of a
batch hold whole spatial neighbourhoods (hard negatives), the others are drawn
uniformly, each place once per epoch. No state: a run can start at any step, on any
number of processes.
"""

import functools
from typing import Any, SupportsIndex

import grain
import numpy as np


def morton_order(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Record numbers sorted along a Z-curve over (lat, lon): neighbours stay close.

    Args:
      lat, lon: float (n,), degrees; longitude is wrapped to [-180, 180).
    """
    wrapped = (np.asarray(lon, np.float64) + 180.0) % 360.0
    col = np.minimum(wrapped / 360.0 * 65536, 65535).astype(np.uint64)
    row = np.clip((np.asarray(lat, np.float64) + 90.0) / 180.0 * 65536, 0, 65535)
    return np.argsort(_spread(row.astype(np.uint64)) * 2 + _spread(col), kind="stable")


def _spread(x: np.ndarray) -> np.ndarray:
    """Puts a zero between the 16 low bits."""
    for shift, mask in (
        (8, 0x00FF00FF),
        (4, 0x0F0F0F0F),
        (2, 0x33333333),
        (1, 0x55555555),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


class BatchOrder:
    """Random-access sequence of record numbers for `steps` batches.

    Args:
      lat, lon: float (n,), degrees, of the records in order.
      batch: places in a global batch.
      steps: length of the run in batches.
      seed: the run's seed.
      fraction: share of each batch drawn as neighbourhoods, 0 to 1.
      size: places in one neighbourhood.
      spread: a neighbourhood is a random part of `size * spread` consecutive places of
        the curve: 1 draws nearest neighbours, more a wider region.

    Raises:
      ValueError: no records, or a fraction, size or spread out of range.
    """

    def __init__(
        self,
        lat: np.ndarray,
        lon: np.ndarray,
        *,
        batch: int,
        steps: int,
        seed: int,
        fraction: float,
        size: int,
        spread: int = 1,
    ) -> None:
        n = len(lat)
        what = "config.data.neighbourhood"
        if n == 0:
            raise ValueError("data: the training split holds no record")
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"{what}.fraction: got {fraction}; allowed: 0 to 1")
        if size < 1 or spread < 1:
            raise ValueError(f"{what}: got {size=}, {spread=}; allowed: 1 or more")
        self._n, self.batch, self.steps, self.seed = n, batch, steps, seed
        self._size = min(size, n)
        self._spread = min(spread, n // self._size)
        self._groups = int(batch * fraction) // self._size
        self._near = self._groups * self._size
        self._curve = morton_order(lat, lon)
        self._uniform: Any = grain.MapDataset.range(n).seed(seed).shuffle().repeat()
        window = self._size * self._spread
        self._chunks = n // window * self._spread  # groups in an epoch
        chunks = grain.MapDataset.range(self._chunks)
        self._chunk_order: Any = chunks.seed(seed + 1).shuffle().repeat()
        self._window = functools.lru_cache(256)(self._draw_window)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_window": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._window = functools.lru_cache(256)(self._draw_window)

    def __len__(self) -> int:
        return self.batch * self.steps

    def __getitem__(self, position: SupportsIndex) -> int:
        step, slot = divmod(int(position), self.batch)
        if slot >= self._near:
            draw = step * (self.batch - self._near) + slot - self._near
            return int(self._uniform[draw])
        group, member = divmod(slot, self._size)
        draw = step * self._groups + group
        window, part = divmod(int(self._chunk_order[draw]), self._spread)
        places = self._window(draw // self._chunks, window)
        return int(places[part * self._size + member])

    def _draw_window(self, epoch: int, window: int) -> np.ndarray:
        """Record numbers of one stretch of the curve, in random order.

        Each epoch cuts the curve at another offset, so neighbourhoods change.
        """
        size = self._size * self._spread
        offset = np.random.default_rng((self.seed, epoch)).integers(self._n)
        rng = np.random.default_rng((self.seed, epoch, window))
        places = (window * size + offset + rng.permutation(size)) % self._n
        return self._curve[places]
