# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a place of the *synthetic* planet shows: eight modalities of one hidden field.

The field h(x) has six numbers a place, smooth over the sphere. Every modality is a
noisy, lossy view of some of them, with nuisances (phase, noise, what is missing) of
its own. Every value is a pure function of (seed, number of the place, field), so a
record is computed when it is read and none is stored.
"""

import functools
from typing import Any

import numpy as np

from unigeo_jax.data import splits

HIDDEN, WAVES = 6, 8
# Radians over a unit of the sphere: the shortest wave is 5,700 km long.
SLOWEST, FASTEST = 2.0, 7.0
MISSING = 0.05  # of every modality but coordinates
DEMOGRAPHICS = 8
SCALE = ("lowest", "low", "middle", "high", "highest")
WORDS = ("warmth", "rain", "green", "detail", "grain", "relief")
KINDS = ("farm", "harbour", "forest", "market", "mine", "lodge")
FIELDS = (
    *("place", "lat", "lon", "cell", "node", "year", "month", "hidden"),
    *("aerial", "street", "dsm", "text", "poi", "demographics"),
)


def positions(seed: int, number_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude of places, uniform on the sphere: float64 (n,), degrees.

    Source: SplitMix64 (Steele, Lea and Flood 2014) of seed and number.
    """
    u, v = (_uniform(seed, number_n, salt) for salt in (1, 2))
    return np.rad2deg(np.arcsin(2 * u - 1)), 360 * v - 180


def _uniform(seed: int, number_n: np.ndarray, salt: int) -> np.ndarray:
    """Uniform [0, 1) a number."""
    x = np.asarray(number_n, np.uint64) * np.uint64(4) + np.uint64(salt)
    x ^= np.uint64(seed) << np.uint64(40)
    with np.errstate(over="ignore"):
        x += np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53


@functools.cache
def _waves(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors (6, 8, 3) and phases (6, 8) of the hidden field."""
    rng = np.random.default_rng((seed, 0x9A4E7))
    way = rng.normal(size=(HIDDEN, WAVES, 3))
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    speed = rng.uniform(SLOWEST, FASTEST, (HIDDEN, WAVES, 1))
    return way * speed, rng.uniform(0, 2 * np.pi, (HIDDEN, WAVES))


def hidden(seed: int, lat_n: np.ndarray, lon_n: np.ndarray) -> np.ndarray:
    """The hidden field at places: float64 (n, 6), about of variance 1."""
    waves, phases = _waves(seed)
    at = splits.unit_vectors(lat_n, lon_n)
    turn = np.tensordot(at, waves, (-1, -1)) + phases
    return np.sin(turn).sum(-1) * (2 / WAVES) ** 0.5


@functools.cache
def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns from -0.5 to 0.5: float32 (height, 1) and (1, width)."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    return y, np.linspace(-0.5, 0.5, width, dtype=np.float32)[None]


class Place:
    """One place, whose fields are computed as they are asked for.

    Args:
      seed: of the planet.
      number: of the place, from 0.
      side: pixels of the aerial picture and of the heights.
    """

    def __init__(self, seed: int, number: int, side: int) -> None:
        self._seed, self.number, self._side = seed, number, side

    def field(self, name: str) -> Any:
        """The value of one of FIELDS; b"" or None where the place lacks it."""
        if name in ("place", "cell", "node"):
            return np.int64(self.number)
        if name in ("lat", "lon"):
            return np.float64(self._at[name == "lon"])
        if name in ("year", "month"):
            return np.float32(self._time[name == "month"])
        rng = np.random.Generator(
            np.random.SFC64((self._seed, self.number, FIELDS.index(name)))
        )
        if name != "hidden" and rng.random() < MISSING:
            blank = np.full((DEMOGRAPHICS,), np.nan, np.float32)
            return {"text": "", "poi": "", "demographics": blank}.get(name)
        return getattr(self, f"_{name}")(rng)

    @functools.cached_property
    def _at(self) -> tuple[float, float]:
        lat, lon = positions(self._seed, np.array([self.number]))
        return float(lat[0]), float(lon[0])

    @functools.cached_property
    def _time(self) -> tuple[float, float]:
        u = float(_uniform(self._seed, np.array([self.number]), 3)[0])
        return 2015.0 + 10.0 * u, float(int(120.0 * u) % 12 + 1)

    @functools.cached_property
    def h(self) -> np.ndarray:
        """The hidden field here, float64 (6,)."""
        lat, lon = self._at
        return hidden(self._seed, np.array([lat]), np.array([lon]))[0]

    @property
    def summer(self) -> float:
        """1 in midsummer, -1 in midwinter, less so towards the equator."""
        share = np.cos(2 * np.pi * (self._time[1] - 7) / 12)
        return float(share * np.sin(np.deg2rad(self._at[0])))

    def _hidden(self, rng: np.random.Generator) -> np.ndarray:
        return self.h.astype(np.float32)

    def _colour(self) -> np.ndarray:
        """Mean colour of the ground: float32 (3,), greener in summer."""
        colour = 128 + 50 * np.tanh(0.7 * self.h[:3])
        colour[1] += 30 * self.summer
        return colour.astype(np.float32)

    def _aerial(self, rng: np.random.Generator) -> np.ndarray:
        """Colour by h0 to h2 and the season; stripes by h3 (how fine) and h4 (way)."""
        side = self._side
        y, x = _grid(side, side)
        turn, way = 12 + 4 * self.h[3], 0.8 * self.h[4]
        phase = float(rng.uniform(0, 2 * np.pi))
        stripe = np.sin(turn * (np.cos(way) * y + np.sin(way) * x) + phase)
        noise = rng.integers(0, 25, (side, side, 3), np.uint8)
        out = self._colour() + 25 * stripe[..., None].astype(np.float32) + noise
        return np.clip(out - 12, 0, 255).astype(np.uint8)

    def _dsm(self, rng: np.random.Generator) -> np.ndarray:
        """Metres: height by h1, relief by h5, its grain by h3."""
        y, x = _grid(self._side, self._side)
        phase = rng.uniform(0, 2 * np.pi, 3)
        turn = 14 + 3 * self.h[3]
        waves = np.sin(turn * y + phase[0]) * np.cos(turn * x + phase[1])
        waves = waves + 0.3 * np.sin(3 * turn * (x + y) + phase[2])
        relief = 150 * np.exp(0.7 * self.h[5])
        return (800 + 300 * self.h[1] + relief * waves).astype(np.float32)

    def _street(self, rng: np.random.Generator) -> np.ndarray:
        """Two views, one below the other: sky by h1, skyline by h5, ground as above."""
        height, width = view_shape(self._side)
        y, x = _grid(height, width)
        sky = 150 + 60 * np.tanh(self.h[1]) * np.array([-0.5, 0.2, 1.0])
        views = []
        for phase in rng.uniform(0, 2 * np.pi, 2):
            rise = 0.12 * np.exp(0.5 * self.h[5])
            line = -rise * np.sin((15 + 5 * self.h[3]) * x + phase)
            view = np.where((y > line)[..., None], self._colour(), sky)
            views.append(view + rng.integers(-10, 11, view.shape, np.int8))
        return np.clip(np.concatenate(views), 0, 255).astype(np.uint8)

    def _text(self, rng: np.random.Generator) -> str:
        """A line for each of four of the six numbers, in words of five steps."""
        seen = self.h + rng.normal(0, 0.2, HIDDEN)
        step = np.clip(np.round(seen + 2), 0, 4).astype(int)
        chosen = rng.permutation(HIDDEN)[:4]
        return "\n".join(f"{WORDS[k]} {SCALE[step[k]]}" for k in chosen)

    def _poi(self, rng: np.random.Generator) -> str:
        """Points of six kinds, each the more frequent the greater its number."""
        count = np.minimum(rng.poisson(1.5 * np.exp(0.8 * self.h)), 6)
        kinds = np.repeat(np.arange(HIDDEN), count)
        km = np.sort(rng.exponential(2.0, len(kinds)))
        rng.shuffle(kinds)
        return "\n".join(
            f"{KINDS[k]}\tthe {KINDS[k]}\t{far:.2f}"
            for k, far in zip(kinds, km, strict=True)
        )

    def _demographics(self, rng: np.random.Generator) -> np.ndarray:
        """Eight heavy-tailed mixtures of the six numbers, a tenth of them missing."""
        mix = np.random.default_rng((self._seed, 8)).normal(size=(DEMOGRAPHICS, HIDDEN))
        value = np.exp(4 + mix @ self.h / HIDDEN**0.5 + rng.normal(0, 0.2, len(mix)))
        value[rng.random(len(mix)) < 0.1] = np.nan
        return value.astype(np.float32)


def view_shape(side: int) -> tuple[int, int]:
    """Height and width of a street view beside an aerial picture of `side` pixels."""
    height = 16 * max(1, side // 32)
    return height, 6 * height
