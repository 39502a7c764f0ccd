# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A file's arrays for towers of ours: every key accounted for, then read one by one."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unigeo_jax.siglip import files, layout, positions

Shape = tuple[int, ...]
Grid = positions.Grid


class Tower(NamedTuple):
    """What a tower needs of a file.

    name: as in `config.towers`, for messages.
    side: "img" or "txt".
    shapes: path of each parameter in the tower ("Transformer/...") -> shape, with
      one subtree a layer or one stacked `encoderblock`.
    grid: rows and columns of patches; None for texts, and for NaFlex.
    """

    name: str
    side: str
    shapes: dict[str, Shape]
    grid: Grid | None = None


class Plan(NamedTuple):
    """What to read: `read[tower name, path]()` gives a float32 array of the tower.

    kept: paths of the tower that start from scratch because `dim` is not the file's.
    scalar: "t" (log of SigLIP's factor on the cosine) and "b" (its bias), if there.
    """

    read: dict[tuple[str, str], Callable[[], np.ndarray]]
    kept: list[str]
    scalar: dict[str, Callable[[], float]]
    layout: layout.Layout

    def order(self, shapes: Mapping[tuple[str, str], Shape]) -> list[tuple[str, str]]:
        """The largest first, so that no copy of it stands beside all the rest; the
        layers of one array together."""

        def rank(name: tuple[str, str]) -> tuple:
            family = re.sub(r"encoderblock_\d+", "", name[1])
            family = re.sub(r"(MAPHead_0.*)/(query|key|value)/", r"\1//", family)
            return -math.prod(shapes[name]), name[0], family

        return sorted(self.read, key=rank)


def plan(weights: files.Weights, towers: Iterable[Tower]) -> Plan:
    """Match every key of the file with the parameters of `towers`; reads no values.

    Positions of another length or grid are resized (positions.py). A `head` to another
    embedding width than the file's stays as it is. Otherwise names and shapes must be
    the same; arrays of a tower that nobody asked for are left alone.

    Raises:
      ValueError: the file does not fit. One message, with the missing keys, those
        that no tower has, and the shapes that differ.
    """
    kind, towers = layout.detect(weights), list(towers)
    trouble: list[str] = []
    read, kept = {}, []
    for tower in towers:
        match = _Match(weights, kind, tower)
        for path, shape in tower.shapes.items():
            array = match.array(path, shape)
            if array is None:
                kept.append(f"{tower.name}/{path}")
            else:
                read[tower.name, path] = array
        trouble += match.trouble(tower.name)
    strange = [k for k in weights.shapes if kind.side(k) is None and _counts(kind, k)]
    strange = [k for k in strange if k not in _scalar_keys(kind).values()]
    if strange:
        trouble += ["  in the file, of no tower (+):", *_listed(strange)]
    about = _heads_differ(weights, towers)
    if trouble or about:
        names = ", ".join(f"{t.name} ({t.side})" for t in towers)
        raise ValueError(
            f"weights {weights.path} ({kind.name}) do not fit the towers {names}:\n"
            + "\n".join([*about, *trouble])
        )
    scalar = {
        name: lambda key=key: float(weights.read(key).reshape(-1)[0])
        for name, key in _scalar_keys(kind).items()
        if key in weights.shapes
    }
    return Plan(read, kept, scalar, kind)


def _counts(kind: layout.Layout, key: str) -> bool:
    """Whether a key is about parameters: big_vision also saves optimiser states."""
    return kind.name == "huggingface" or key.startswith(kind.prefix)


def _scalar_keys(kind: layout.Layout) -> dict[str, str]:
    if kind.name == "huggingface":
        return layout.SCALARS
    return {name: kind.prefix + name for name in layout.SCALARS}


class _Match:
    """One tower against the file; remembers what did not fit."""

    def __init__(
        self, weights: files.Weights, kind: layout.Layout, tower: Tower
    ) -> None:
        self._weights, self._kind, self._tower = weights, kind, tower
        self._missing: list[str] = []
        self._shapes: list[str] = []
        self.wanted: set[str] = set()
        # Several of our arrays may stand in one of the file's, which is read once:
        # `Plan.order` puts them one after the other.
        self._last: tuple[str, np.ndarray] | None = None
        # A head of ours alone, or of another width than the file's, is a new one.
        self._new_head = self._head_is_new()

    def _head_is_new(self) -> bool:
        shape = self._tower.shapes.get("head/kernel")
        if shape is None:
            return False
        name = f"{self._tower.side}/head/kernel"
        there = self._weights.shapes.get(self._kind.place(name).key)
        if there is None:
            return self._tower.side == "img"  # SigLIP's image towers have none
        width = there[0] if self._kind.name == "huggingface" else there[-1]
        return width != shape[-1]

    def array(self, path: str, shape: Shape) -> Callable[[], np.ndarray] | None:
        """How to read one parameter; None if it stays as it is, or does not fit."""
        if "encoderblock" in path.split("/"):
            return self._layers(path, shape)
        place = self._kind.place(f"{self._tower.side}/{path}")
        self.wanted.add(place.key)
        if path.startswith("head/") and self._new_head:
            return None
        found = self._shape_of(place)
        if found is None:
            self._missing.append(place.key)
        elif path == "pos_embedding":
            return self._positions(place, found, shape)
        elif not self._same(path, place, found, shape):
            return None
        return lambda: self._read(path, place, shape)

    def _layers(self, path: str, shape: Shape) -> Callable[[], np.ndarray] | None:
        """A parameter of ours that holds all layers."""
        names = [
            re.sub(r"encoderblock(?=/)", f"encoderblock_{i}", path, count=1)
            for i in range(shape[0])
        ]
        parts = [self.array(name, shape[1:]) for name in names]

        def read() -> np.ndarray:
            place = self._kind.place(f"{self._tower.side}/{names[0]}")
            if place.part == "layer":  # both hold all layers: one array as it stands
                self._last = None
                return self._weights.read(place.key).reshape(shape)
            out = np.empty(shape, np.float32)
            for number, part in enumerate(parts):
                assert part is not None
                out[number] = part()
            return out

        return read

    def _shape_of(self, place: layout.Place) -> Shape | None:
        found = self._weights.shapes.get(place.key)
        if found is None or place.part == "all":
            return found
        if place.part == "third":
            return (found[0] // 3, *found[1:]) if found and not found[0] % 3 else found
        return found[1:]

    def _same(self, path: str, place: layout.Place, found: Shape, shape: Shape) -> bool:
        name = f"{self._tower.side}/{path}"
        depth = self._depth()
        there = self._weights.shapes[place.key]
        if place.part == "layer" and there[0] != depth:
            return self._differ(place.key, there, (depth, *shape))
        if found != layout.shape_in(self._kind, name, shape, found):
            return self._differ(place.key, found, shape)
        return True

    def _depth(self) -> int:
        layers = set()
        for path, shape in self._tower.shapes.items():
            block = re.search(r"encoderblock(?:_(\d+))?/", path)
            if block:
                new = [int(block[1])] if block[1] else range(shape[0])
                layers |= {*new}
        return len(layers)

    def _differ(self, key: str, found: Shape, shape: Shape) -> bool:
        line = f"{key}: file {found}, tower {shape}"
        if "token_embedding" in key or "Embed_0" in key:
            line += " (vocabulary: net.vocab_size of the tower, or the wrong file)"
        if line not in self._shapes:
            self._shapes.append(line)
        return False

    def _positions(
        self, place: layout.Place, found: Shape, shape: Shape
    ) -> Callable[[], np.ndarray] | None:
        w, side, kind = shape[-1], self._tower.side, self._kind
        if found[-1] != w or len(found) < 2:
            self._differ(place.key, found, shape)
            return None
        if side == "txt":
            return lambda: positions.resize_text(
                self._weights.read(place.key).reshape(-1, w), shape[1]
            ).reshape(shape)
        old, new = (
            positions.source_grid(found),
            self._tower.grid or (shape[0], shape[1]),
        )
        if old is None:
            self._differ(place.key, found, shape)
            return None
        method = "corners" if kind.name == "big_vision" else "cubic"
        if self._is_naflex():
            method = "antialiased"
        return lambda: positions.resize_image(
            self._weights.read(place.key).reshape(-1, w), old, new, method
        ).reshape(shape)

    def _is_naflex(self) -> bool:
        key = self._kind.place("img/embedding/kernel").key
        return len(self._weights.shapes.get(key, ())) == 2

    def _read(self, path: str, place: layout.Place, shape: Shape) -> np.ndarray:
        if self._last is not None and self._last[0] == place.key:
            values = self._last[1]
        else:
            self._last = None  # before the next is read
            values = self._weights.read(place.key)
        if place.part != "all":
            self._last = place.key, values
        if place.part == "layer":
            values = values[place.number]
        elif place.part == "third":
            third = values.shape[0] // 3
            values = values[place.number * third : (place.number + 1) * third]
        name = f"{self._tower.side}/{path}"
        return np.ascontiguousarray(layout.to_ours(self._kind, name, values, shape))

    def trouble(self, name: str) -> list[str]:
        kind, side, out = self._kind, self._tower.side, []
        own = [key for key in self._weights.shapes if kind.side(key) == side]
        surplus = [key for key in own if key not in self.wanted]
        if surplus:
            out += [f"  in the file, {name} does not have it (+):", *_listed(surplus)]
        if self._missing:
            out += [f"  missing in the file, {name} has it (-):"]
            out += _listed(self._missing)
        if self._shapes:
            out += [f"  of another shape than in {name} (!):"]
            out += [f"    {line}" for line in _fold(self._shapes)]
        return out


def _heads_differ(weights: files.Weights, towers: list[Tower]) -> list[str]:
    """Hugging Face weights do not show the number of heads; its config.json does."""
    out = []
    for tower in towers:
        theirs = layout.SIDES[tower.side].replace("_model", "_config")
        part = weights.about.get(theirs)
        if not isinstance(part, Mapping):
            continue
        heads = part.get("num_attention_heads", 12)  # transformers' default
        for path, shape in tower.shapes.items():
            if path.endswith("query/kernel") and shape[-2] != heads:
                out.append(
                    f"  {tower.name}: {shape[-2]} heads, config.json has {heads}"
                )
                break
    return out


def _listed(keys: list[str]) -> list[str]:
    return [f"    {line}" for line in _fold(keys)]


def _fold(lines: list[str], limit: int = 60) -> list[str]:
    """One line for what is the same in several layers; at most `limit` lines."""
    layers: dict[tuple[str, ...], list[int]] = {}
    for line in lines:
        found = re.search(r"(?<=encoderblock_)\d+|(?<=layers\.)\d+", line)
        parts = (line,) if not found else (line[: found.start()], line[found.end() :])
        layers.setdefault(parts, []).append(int(found[0]) if found else 0)
    out = []
    for parts, numbers in layers.items():
        some = ",".join(map(str, sorted(set(numbers))))
        if len(numbers) > 2 and max(numbers) - min(numbers) + 1 == len(numbers):
            some = f"{min(numbers)}..{max(numbers)}"
        out.append(parts[0] if len(parts) == 1 else f"{parts[0]}{{{some}}}{parts[1]}")
    more = len(out) - limit
    return [*out[:limit], f"... and {more} more"] if more > 0 else out


def flat_shapes(tree: Mapping[str, Any]) -> dict[str, Shape]:
    """Path -> shape of a tree of parameters."""
    out = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            below = flat_shapes(value)
            out |= {f"{name}/{path}": shape for path, shape in below.items()}
        else:
            out[name] = tuple(value.shape)
    return out
