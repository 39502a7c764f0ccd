# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which place is for training and which for testing, and what leaks between them.

A rule names the group of each place (itself, its block, its region, its time); whole
groups go to a split, in the order of a stable hash (of time: in its order, the latest
to test), until each has its share of the places.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import h3
import numpy as np
import scipy.spatial

from unigeo_jax.data import splits

SPLITS = ("train", "val", "test")
RULES = "random, blocked:<degrees>, s2:<level>, h3:<resolution>, region, time, column"
SALT = "own-1"


class Leak(ValueError):
    """Training shows what is held out."""


def groups(rule: str, places: Sequence[dict[str, Any]]) -> list[str]:
    """Name of the group of each place under a rule of RULES but column.

    Raises:
      ValueError: unknown rule, or a place lacks what it needs.
    """
    kind, _, value = rule.partition(":")
    if kind == "random":
        return [p["id"] for p in places]
    if kind == "blocked" and _number(value) > 0:
        deg = float(value)
        # One block holds both sides of the antimeridian only where 360 / deg is whole.
        return [
            f"{int((p['lat'] + 90) // deg)}/{int((p['lon'] + 180) // deg)}"
            for p in places
        ]
    if kind == "h3" and 0 <= _number(value) <= 15:
        level = int(value)
        return [h3.latlng_to_cell(p["lat"], p["lon"], level) for p in places]
    if kind == "s2" and value.isdigit() and int(value) <= 30:
        lat_i, lon_i = ([p[k] for p in places] for k in ("lat", "lon"))
        cells_i3 = splits.s2_cells(lat_i, lon_i, int(value)).tolist()
        return ["/".join(map(str, cell)) for cell in cells_i3]
    if kind in ("region", "time") and not value:
        missing = [p["row"] for p in places if not p.get(kind)]
        if missing:
            raise ValueError(
                f"--split={rule}: {len(missing)} places have no {kind}, first row"
                f" {missing[0]}; allowed: a value in every row of column {kind}"
            )
        return [p[kind] for p in places]
    raise ValueError(f"--split: got {rule!r}; allowed: {RULES}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def assign(
    rule: str, places: Sequence[dict[str, Any]], shares: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Split name and number of the group of each place.

    shares: of val and of test; both get whole groups until they have at least that.

    Raises:
      ValueError: a split would be empty.
    """
    if rule == "column":
        split_n = np.array([p.get("split", "") for p in places])
        unknown = sorted(set(split_n.tolist()) - set(SPLITS))
        if unknown:
            raise ValueError(
                f"column split: got {', '.join(map(repr, unknown[:5]))}; allowed:"
                f" {', '.join(SPLITS)} in every row"
            )
        block_n = splits.block_ids(
            [p["lat"] for p in places], [p["lon"] for p in places]
        )
        _, group_n = np.unique(block_n, return_inverse=True)
    else:
        name_n = np.array(groups(rule, places))
        names, group_n, count = np.unique(
            name_n, return_inverse=True, return_counts=True
        )
        hashed = splits.hash64(f"{SALT}:{name}" for name in names)
        order = np.arange(len(names))[::-1] if rule == "time" else np.argsort(hashed)
        of_group = np.full(len(names), "train", "<U5")
        at = iter(order)
        for split, share in (("test", shares[1]), ("val", shares[0])):
            held = 0
            while share > 0 and held < share * len(places):
                group = next(at, None)
                if group is None:
                    break
                of_group[group], held = split, held + count[group]
        split_n = of_group[group_n]
    wanted = [s for s, share in zip(SPLITS, (1, *shares), strict=True) if share > 0]
    if empty := sorted(set(wanted) - set(split_n.tolist())):
        raise ValueError(
            f"--split={rule}: no place for {', '.join(empty)}; allowed: at least"
            " three groups of places (smaller blocks, or --split=random)"
        )
    return split_n, np.asarray(group_n, np.int32)


def near_pairs(lat_n, lon_n, a: np.ndarray, b: np.ndarray, metres: float) -> np.ndarray:
    """Which places of rows `a` have one of rows `b` within a square of `metres`.

    Chips of `metres` a side overlap where centres are nearer than that, north-south
    and east-west. Returns bool (len(a),).
    """
    found = np.zeros(len(a), bool)
    if not len(a) or not len(b) or metres <= 0:
        return found
    tree = scipy.spatial.KDTree(splits.unit_vectors(lat_n[b], lon_n[b]))
    at = splits.unit_vectors(lat_n[a], lon_n[a])
    reach = float(splits.chord(metres / 1000 * 2**0.5))
    for start in range(0, len(a), 1024):
        near = tree.query_ball_point(at[start : start + 1024], reach)
        number = np.repeat(np.arange(start, start + len(near)), [*map(len, near)])
        one = a[number]
        other = b[np.fromiter(itertools.chain(*near), np.int64, len(number))]
        north = np.abs(lat_n[other] - lat_n[one]) * 111_195.0
        turn = np.abs((lon_n[other] - lon_n[one] + 180) % 360 - 180)
        east = turn * 111_195.0 * np.cos(np.deg2rad(lat_n[one]))
        found[number[(north < metres) & (east < metres)]] = True
    return found


def leaks(
    lat_n: np.ndarray,
    lon_n: np.ndarray,
    split_n: np.ndarray,
    metres: float,
    files: Sequence[Sequence[str]] | None = None,
) -> dict[str, int]:
    """Count held-out places that training shows: by overlapping chips, by a file.

    {"<split>": places of that split}, keys `<split>-overlap` and `<split>-file`.
    """
    train = np.flatnonzero(split_n == "train")
    named = list(files or [()] * len(split_n))
    known = {file for n in train.tolist() for file in named[n]}
    found = {}
    for split in ("val", "test"):
        held = np.flatnonzero(split_n == split)
        overlap = near_pairs(lat_n, lon_n, held, train, metres)
        found[f"{split}-overlap"] = int(overlap.sum())
        shared = [any(f in known for f in named[n]) for n in held.tolist()]
        found[f"{split}-file"] = sum(shared)
    return found


def check_buffer(
    split_n: np.ndarray, dropped_n: np.ndarray, chips: dict[str, float]
) -> None:
    """Raise ValueError where the reach of chips leaves under a quarter for training.

    chips: their metres a side by name.
    """
    train = int(np.sum(split_n == "train"))
    left = train - int(dropped_n.sum())
    if left * 4 >= train:
        return
    name = max(chips, key=lambda n: chips[n])
    raise ValueError(
        f"--split: chips of {name} have {chips[name]:.0f} m a side, so that {left} of"
        f" {train} training places do not overlap a held-out one; allowed: smaller"
        f" chips (--metres {name}=METRES), larger blocks (--split=blocked:DEGREES), or"
        " --buffer_m or --allow_overlap, which say that this is as wanted"
    )


def buffer(lat_n, lon_n, split_n: np.ndarray, metres: float) -> np.ndarray:
    """Training places within a square of `metres` of a held-out one: bool (n,)."""
    dropped = np.zeros(len(split_n), bool)
    train = np.flatnonzero(split_n == "train")
    held = np.flatnonzero(split_n != "train")
    dropped[train] = near_pairs(lat_n, lon_n, train, held, metres)
    return dropped
