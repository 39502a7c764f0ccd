# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Demographics: scalars and histograms of the people of a place, with gaps.

`record["demographics"]` is float32 (k,), NaN where a figure is missing.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FIELD = "demographics"
SAMPLE = 4096  # training places from which mean and spread are taken
Bins = tuple[tuple[int, int], ...]


def spec(width: int, histograms: Bins = (), **_) -> dict[str, np.ndarray]:
    """Return one place of which nothing is known: {"value", "known"}, (k + bins,)."""
    k = width + len(histograms)
    return {"value": np.zeros((k,), np.float32), "known": np.zeros((k,), bool)}


def read(
    record: dict[str, Any],
    rng: np.random.Generator | None,
    width: int,
    histograms: Bins = (),
    drop: float = 0.0,
) -> dict[str, np.ndarray] | None:
    """Return {"value": float32, "known": bool}: scalars, shares, and totals at the end.

    `histograms` names (start, stop) of bins that hold counts: they become shares of
    their sum, which is appended; a missing bin makes its whole histogram missing.
    Scalars and sums go through arcsinh, linear below 1 and a logarithm above: heavy
    tails. Training hides each known figure with probability `drop` (never all). Absent
    where nothing is known. Raises ValueError for another width, or a negative count.
    """
    field = record.get(FIELD)
    if field is None:
        return None
    raw = np.asarray(field, np.float32)
    if raw.shape != (width,):
        raise ValueError(
            f"demographics: place {record.get('place', '?')} has shape {raw.shape},"
            f" allowed: width={width}"
        )
    values, totals = np.arcsinh(raw), []
    for start, stop in histograms:
        counts = raw[start:stop]
        if (counts < 0).any():
            raise ValueError(
                f"demographics: place {record.get('place', '?')} has a negative count"
                f" in columns {start} to {stop}; allowed: 0 or more, or NaN"
            )
        total = counts.sum()
        # Nobody counted: no shares, but the total of 0 is known.
        values[start:stop] = counts / total if total > 0 else np.nan
        totals.append(np.arcsinh(total))
    values = np.concatenate([values, np.array(totals, np.float32)])
    known = np.isfinite(values)
    if not known.any():
        return None
    if rng is not None and drop:
        rng.random(96)  # past the draws of the pictures
        kept = known & (rng.random(len(known)) >= drop)
        known = kept if kept.any() else known
    return {"value": np.where(known, values, 0).astype(np.float32), "known": known}


def constants(
    data: Mapping[str, Any],
    net: Mapping[str, Any],
    folder: pathlib.Path,
    records: Callable[[tuple[str, ...], int | None], list[dict[str, Any]]],
    shards: int = 1,
) -> dict[str, np.ndarray]:
    """Return {"mean", "spread"}, float32 (k + bins,), of some training places.

    The standard deviation, 1 where a figure never varies or is never known.
    """
    options = {key: value for key, value in data.items() if key != "drop"}
    sample = records((FIELD,), SAMPLE)
    read_all = (read(record, None, **options) for record in sample)
    found = [x for x in read_all if x is not None]
    if not found:
        size = spec(**options)["value"].shape
        return {"mean": np.zeros(size, np.float32), "spread": np.ones(size, np.float32)}
    value = np.stack([x["value"] for x in found]).astype(np.float64)
    known = np.stack([x["known"] for x in found])
    count = np.maximum(known.sum(0), 1)
    mean = value.sum(0) / count
    spread = np.sqrt((((value - mean) * known) ** 2).sum(0) / count)
    spread[spread < 1e-6] = 1.0
    return {"mean": mean.astype(np.float32), "spread": spread.astype(np.float32)}


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse histograms that overlap or lie beyond the columns."""
    last = 0
    for start, stop in sorted(data.get("histograms", ())):
        if not last <= start < stop <= data["width"]:
            raise ValueError(
                f"demographics: histogram ({start}, {stop}), allowed: (start, stop)"
                f" within {data['width']} columns, without overlap"
            )
        last = stop


class Encoder(nn.Module):
    """Encode figures, {"value", "known"} (b, k), by an MLP: (b, dim).

    Figures are standardised by the dataset's mean and spread and cut at 6; a missing
    one is 0 and has a learned vector of its own: the MLP also sees what is known.
    """

    dim: int
    dtype: Any = jnp.float32
    hidden: int = 128

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        mean_bk, spread_bk = (
            jnp.broadcast_to(self.get_variable("constants", name), x["value"].shape)
            for name in ("mean", "spread")
        )
        value_bk = jnp.clip((x["value"] - mean_bk) / spread_bk, -6.0, 6.0)
        value_bk = jnp.where(x["known"], value_bk, 0.0)
        known_bk = x["known"].astype(value_bk.dtype)
        y = jnp.concatenate([value_bk, known_bk], axis=1).astype(self.dtype)
        y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(y))
        return nn.Dense(self.dim, dtype=self.dtype, name="head")(y)
