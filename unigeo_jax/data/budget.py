# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How many records and images may be bad before a run stops.

A record that cannot be read and an image that is damaged are masked: reading is a
function of the file, so that it is the same ones on every run. Errors of the network
or of rights are OSErrors and, like a lack of memory, never masked.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from unigeo_jax.data import datasets
from unigeo_jax.types import Batch

LEAST_BAD = 10  # bad records that are always allowed


def within(batches: Iterator[Batch], read: Any, share: float) -> Iterator[Batch]:
    """Counts the places of which something had to be masked; turns `index` back.

    Args:
      batches: where something was masked, `index` is -1 - number.
      read: pipeline.ReadPlaces: has a length and names records.
      share: of the records, so many may be bad.

    Raises:
      TooManyBad: more than `share` of the records, and more than LEAST_BAD.
    """
    bad: set[int] = set()
    allowed = max(LEAST_BAD, int(share * len(read)))
    for batch in batches:
        index = batch["index"]
        if (index < 0).any():
            bad |= {-1 - int(i) for i in index[index < 0]}
            batch["index"] = np.where(index < 0, -1 - index, index)
        if len(bad) > allowed:
            named = "; ".join(read.where(number) for number in sorted(bad)[:4])
            raise datasets.TooManyBad(
                f"{len(bad)} of {len(read)} records cannot be read or hold damaged"
                f" images: {named}; allowed: {allowed} (config.data.max_bad={share})"
            )
        yield batch
