# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which place stands where in which batch: a pure function of (seed, position).

Position `p` of the run is slot `p % batch` of step `p // batch`. The first slots of a
batch hold whole spatial neighbourhoods (hard negatives), the others are drawn
uniformly, each place once per epoch. No state: a run can start at any step, on any
number of processes.
"""

from typing import SupportsIndex

import numpy as np
from grain.experimental import index_shuffle

SMALL = 1024  # numbers


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
      region: integers (n,), None = none: what is drawn uniformly then comes from
        every region as often as from any other, however few places it has.

    Raises:
      ValueError: no records, or a fraction or size out of range.
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
        region: np.ndarray | None = None,
    ) -> None:
        n = len(lat)
        if n == 0:
            raise ValueError("data: the training split holds no record")
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(
                f"config.data.neighbourhood.fraction: got {fraction}; allowed: 0 to 1"
            )
        if size < 1:
            raise ValueError(
                f"config.data.neighbourhood.size: got {size}; allowed: 1 or more"
            )
        self._n, self.batch, self.steps, self.seed = n, batch, steps, seed
        self._size = min(size, n)
        self._groups = int(batch * fraction) // self._size
        self._near = self._groups * self._size
        self._curve = morton_order(lat, lon)
        self._uniform = Shuffled(n, seed) if region is None else Balanced(region, seed)
        self._chunks = max(n // self._size, 1)
        self._chunk_order = Shuffled(self._chunks, seed + 1)

    def __len__(self) -> int:
        return self.batch * self.steps

    def __getitem__(self, position: SupportsIndex) -> int:
        step, slot = divmod(int(position), self.batch)
        if slot >= self._near:
            return self._uniform[step * (self.batch - self._near) + slot - self._near]
        group, member = divmod(slot, self._size)
        draw = step * self._groups + group
        # Each epoch cuts the curve at another offset, so neighbourhoods change.
        epoch = draw // self._chunks
        offset = int(np.random.default_rng((self.seed, epoch)).integers(self._n))
        start = self._chunk_order[draw] * self._size + offset
        return int(self._curve[(start + member) % self._n])


class Shuffled:
    """0 to `size` - 1 in a random order, then in others: each once an epoch.

    Above SMALL what `grain.MapDataset.range(size).seed(seed).shuffle().repeat()` gives,
    without its cost for one number at a time. Below, where Grain's shuffle takes up to
    9 ms a number, a permutation an epoch.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = int(np.random.SeedSequence((seed, 1)).generate_state(1)[0])
        self._last: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, position: int) -> int:
        epoch, at = divmod(position, self._size)
        if self._size <= SMALL:
            return self._order(epoch)[at]
        seed = (self._seed + epoch) % 2**32
        return index_shuffle(at, max_index=self._size - 1, seed=seed, rounds=4)

    def _order(self, epoch: int) -> list[int]:
        kept, order = self._last
        if kept != epoch:
            rng = np.random.default_rng((self._seed, epoch))
            order = rng.permutation(self._size).tolist()
            self._last = epoch, order  # at once, for threads
        return order


class Balanced:
    """Record numbers in rounds: each region once a round, in a random order.

    Within a region each place comes once before any comes twice.
    """

    def __init__(self, region: np.ndarray, seed: int) -> None:
        rows = np.argsort(region, kind="stable")
        _, first = np.unique(region[rows], return_index=True)
        self._rows = np.split(rows, first[1:])
        sizes = [len(rows) for rows in self._rows]
        self._turns, *self._orders = (
            Shuffled(size, seed + 2 + number)
            for number, size in enumerate([len(sizes), *sizes])
        )

    def __getitem__(self, position: int) -> int:
        turn = self._turns[position]
        place = self._orders[turn][position // len(self._rows)]
        return int(self._rows[turn][place])
