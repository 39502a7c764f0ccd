# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale random Fourier features of a coordinate and the encoder above them.

UniGeoCLIP (arXiv 2604.11668), scaled lat-lon encoder. All maths on coordinates is
elementwise, in float32 at least: a matmul on an accelerator may round its inputs to
bfloat16 or TF32, which moves a place by kilometres.
"""

import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from unigeo_jax.nn import layers, pointwise

# Equal Earth (Savric, Patterson and Jenny 2018), then scaled so that x spans [-1, 1].
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796
SCALE = 66.50336 / 180.0

Projection = Literal["equal_earth", "sphere"]


def project_equal_earth(latlon: jax.Array) -> jax.Array:
    """Project (..., 2) lat, lon in degrees to (..., 2) scaled Equal Earth x, y.

    x in [-1, 1], y in [-0.486717, 0.486717]; one unit is 17,244 km in the equal-area
    mean. Longitudes 180 and -180 give opposite x and a pole is a segment: use
    `unit_sphere` for a projection without these cuts.

    Differs from UniGeoCLIP: sqrt(3) has the full precision of the input's dtype; the
    release rounds it to float32 (at most 0.31 m).
    """
    lat, lon = _radians(latlon)
    x_of_lon, y = _equal_earth(lat, jnp)
    return jnp.stack([x_of_lon * lon, y], axis=-1)


def _equal_earth(lat: Any, xp: Any) -> tuple[Any, Any]:
    """x over the longitude, and y, of a latitude in radians; xp: jax.numpy or numpy."""
    theta = xp.arcsin(math.sqrt(3.0) / 2.0 * xp.sin(lat))
    t2 = theta * theta
    t6 = t2 * t2 * t2
    slope = 9.0 * A4 * t6 * t2 + 7.0 * A3 * t6 + 3.0 * A2 * t2 + A1
    x_of_lon = 2.0 * math.sqrt(3.0) / 3.0 * xp.cos(theta) / slope
    y = theta * (A4 * t6 * t2 + A3 * t6 + A2 * t2 + A1)
    return x_of_lon * SCALE, y * SCALE


def unit_sphere(latlon: jax.Array) -> jax.Array:
    """Map (..., 2) lat, lon in degrees to (..., 3) points on the unit sphere.

    Continuous at longitude +-180 and at the poles.
    """
    lat, lon = _radians(latlon)
    flat = jnp.cos(lat)
    return jnp.stack([flat * jnp.cos(lon), flat * jnp.sin(lon), jnp.sin(lat)], axis=-1)


def _radians(latlon: jax.Array) -> tuple[jax.Array, jax.Array]:
    latlon = latlon.astype(jnp.promote_types(latlon.dtype, jnp.float32))
    angle = latlon * (math.pi / 180.0)
    return angle[..., 0], angle[..., 1]


def split_points(
    latlon_b2: jax.Array, projection: Projection
) -> tuple[jax.Array, jax.Array]:
    """Return the projected place as a sum (b, i), (b, i): 12 bits and what is left.

    In float32 the sum is right to 1e-9, a fortieth of one float32's error, so that
    features of a thousand turns are the same on every backend. Of each function of an
    angle 12 bits and a cubic are known around every whole degree.
    """
    latlon_b2 = latlon_b2.astype(jnp.promote_types(latlon_b2.dtype, jnp.float32))
    lat_b, lon_b = latlon_b2[:, 0], latlon_b2[:, 1]
    if projection == "sphere":
        sine_b, cosine_b = _near("sin", lat_b), _near("cos", lat_b)
        x_b = _product(cosine_b, _near("cos", lon_b))
        parts = (x_b, _product(cosine_b, _near("sin", lon_b)), sine_b)
    else:
        upper_b = _twelve_bits(lon_b / 180.0)
        lon_parts = upper_b, (lon_b - upper_b * 180.0) / 180.0
        parts = (_product(lon_parts, _near("earth_x", lat_b)), _near("earth_y", lat_b))
    upper_bi, lower_bi = (jnp.stack(side, axis=-1) for side in zip(*parts, strict=True))
    return upper_bi, lower_bi


def _twelve_bits(x: jax.Array) -> jax.Array:
    """The nearest multiple of 2^-11: with |x| of at most 1, twelve bits."""
    return jnp.round(x * 2.0**11) * 2.0**-11


def _product(
    a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    exact = a[0] * b[0]
    upper = _twelve_bits(exact)
    return upper, (exact - upper) + (a[0] * b[1] + a[1] * (b[0] + b[1]))


def _near(name: str, degrees_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A function of an angle in degrees as 12 bits and the rest."""
    whole_b = jnp.round(degrees_b)
    off_b = degrees_b - whole_b
    row_b = (whole_b - 360.0 * jnp.round(whole_b / 360.0)).astype(jnp.int32) + 180
    known_b5 = jnp.take(
        jnp.asarray(_table(name), degrees_b.dtype), row_b, axis=0, mode="clip"
    )
    rest_b = known_b5[:, 4]
    for power in (3, 2, 1):
        rest_b = rest_b * off_b + known_b5[:, power]
    return known_b5[:, 0], rest_b


@functools.cache
def _table(name: str) -> np.ndarray:
    """Float64 (361, 5) for degrees -180 to 180: 12 bits, then a cubic of the rest."""
    functions = {"sin": np.sin, "cos": np.cos} | {
        "earth_x": lambda lat: _equal_earth(lat, np)[0] * math.pi,
        "earth_y": lambda lat: _equal_earth(lat, np)[1],
    }
    nodes_n = 0.5 * np.cos(np.pi * (np.arange(4) + 0.5) / 4)  # Chebyshev's
    degrees_n = np.arange(-180.0, 181.0)[:, None] + nodes_n
    if name.startswith("earth"):
        degrees_n = degrees_n.clip(-91.0, 91.0)
    values_n4 = functions[name](np.deg2rad(degrees_n))
    cubic_4n = np.linalg.solve(np.vander(nodes_n, increasing=True), values_n4.T)
    upper_n = np.round(cubic_4n[0] * 2.0**11) / 2.0**11
    return np.stack([upper_n, cubic_4n[0] - upper_n, *cubic_4n[1:]], axis=1)


def sine_of_turns(turns: jax.Array) -> jax.Array:
    """Return sin(2 pi turns), to 2e-7 in float32.

    Folded to a quarter of a turn, then the series to the 11th power: additions and
    products only, which a CPU does on whole vectors where it calls a library for each
    sine (measured: ten times faster).
    """
    turns -= jnp.round(turns)
    turns = jnp.where(jnp.abs(turns) > 0.25, jnp.sign(turns) * 0.5 - turns, turns)
    angle = 2.0 * math.pi * turns
    square, series = angle * angle, jnp.zeros_like(angle)
    for power in (11, 9, 7, 5, 3, 1):
        sign = -1.0 if power % 4 == 3 else 1.0
        series = series * square + sign / math.factorial(power)
    return angle * series


def fourier_tokens(
    points_bi: jax.Array,
    frequencies_kfi: jax.Array,
    fast: bool = False,
    rest_bi: jax.Array | None = None,
) -> jax.Array:
    """Return [cos 2 pi v B_k^T, sin 2 pi v B_k^T] as (b, k, 2f), cosines first.

    v is points + rest: `split_points` gives more bits of a place than a float32 holds.
    Phases reach 1e5 rad. The first 12 bits of both factors have an exact product, whose
    whole turns go at once; all that is rounded is below a turn or so. `fast` takes
    `sine_of_turns`.
    """
    b, k, f = points_bi.shape[0], *frequencies_kfi.shape[:2]
    upper_bi = _twelve_bits(points_bi)
    lower_bi = points_bi - upper_bi
    if rest_bi is not None:
        lower_bi += rest_bi
    coarse_kfi = jax.lax.reduce_precision(frequencies_kfi, 8, 11)
    turns_bkf = jnp.zeros((b, k, f), points_bi.dtype)
    for i in range(points_bi.shape[1]):
        upper, lower = (
            jnp.broadcast_to(x[:, i][:, None, None], (b, k, f))
            for x in (upper_bi, lower_bi)
        )
        whole, coarse = (
            jnp.broadcast_to(x[None, :, :, i], (b, k, f))
            for x in (frequencies_kfi, coarse_kfi)
        )
        exact = upper * coarse
        turns_bkf += exact - jnp.round(exact)
        turns_bkf += lower * whole + upper * (whole - coarse)
    if fast:
        turns_bkg = jnp.concatenate([turns_bkf + 0.25, turns_bkf], axis=-1)
        return sine_of_turns(turns_bkg)
    phase_bkf = 2.0 * math.pi * (turns_bkf - jnp.round(turns_bkf))
    return jnp.concatenate([jnp.cos(phase_bkf), jnp.sin(phase_bkf)], axis=-1)


class FourierTokens(nn.Module):
    """Turn (b, 2) lat, lon in degrees into (b, k, 2 * frequencies) fixed tokens.

    Owns one parameter leaf, `frequencies`: (k, f, 2), or (k, f, 3) for "sphere",
    drawn from N(0, sigma_k^2). It is frozen by two means: no gradient flows into it,
    and the optimiser leaves every leaf of that name untouched (so weight decay does
    not shrink it). It stays in the parameters because a checkpoint is worthless with
    other draws.

    Differs from UniGeoCLIP: projection="sphere" takes the features of the 3-D unit
    vector with sigma' = 0.369463 sigma, the same distances in km at half value, and
    so is continuous at +-180 degrees and at the poles.
    """

    sigmas: tuple[float, ...]
    frequencies: int
    projection: Projection = "equal_earth"
    fast: bool = False

    @nn.compact
    def __call__(self, latlon_b2: jax.Array) -> jax.Array:
        if self.projection not in ("equal_earth", "sphere"):
            raise ValueError(
                f"projection: got {self.projection!r}, allowed: equal_earth, sphere"
            )
        sphere = self.projection == "sphere"
        points, rest = split_points(latlon_b2, self.projection)
        sigma_k = jnp.asarray(self.sigmas, jnp.float32) * (SCALE if sphere else 1.0)

        def draw(key, shape):
            sigma = jnp.broadcast_to(sigma_k[:, None, None], shape)
            return sigma * jax.random.normal(key, shape, jnp.float32)

        shape = (len(self.sigmas), self.frequencies, points.shape[-1])
        frequencies_kfi = jax.lax.stop_gradient(self.param("frequencies", draw, shape))
        frequencies_kfi = frequencies_kfi.astype(points.dtype)
        return fourier_tokens(points, frequencies_kfi, self.fast, rest)


def time_features(time_b2: jax.Array, mean: float, deviation: float) -> jax.Array:
    """Turn (b, 2) year, with its fraction, and month 1 to 12 into (b, 5).

    Whether the month is known, its sine and cosine on the circle of the year; whether
    the year is known, and the year less `mean`, in units of `deviation`, at most 3
    either way. 0 is unknown.
    """
    year_b, month_b = time_b2[:, 0], time_b2[:, 1]
    angle_b = (2.0 * math.pi / 12.0) * (month_b - 1.0)
    month_known_b = (month_b >= 1.0).astype(time_b2.dtype)
    year_known_b = (year_b >= 1.0).astype(time_b2.dtype)
    season = [month_known_b * wave(angle_b) for wave in (jnp.sin, jnp.cos)]
    years_b = year_known_b * jnp.clip((year_b - mean) / deviation, -3.0, 3.0)
    return jnp.stack([month_known_b, *season, year_known_b, years_b], axis=1)


class LatLonEncoder(nn.Module):
    """Encode (b, 2) lat, lon in degrees as (b, 2 * frequencies), un-normalised.

    UniGeoCLIP's scaled lat-lon encoder: one fixed token a scale, learned registers
    in front, `depth` pre-norm blocks (exact GELU, LayerNorm eps 1e-5, no final norm,
    no scale or position embedding), mean over the tokens that are not registers.
    Depth 0 is the plain mean of the fixed tokens and has no trainable parameter.
    `pool="concat"` lets `head` read every scale by weights of its own.
    `sigmas=[16] * 5` is the single-scale ablation: frequencies of equal sigmas are
    drawn independently, so the number of tokens and frequencies stays the same.
    `time`, mean and deviation of the years of the training places, lets year and month
    follow lat and lon, (b, 4): their `time_features` make one more token, which the
    scales attend to. Without them, (b, 2), the time is unknown.

    Differs from UniGeoCLIP: blocks are drawn independently (the release copies one),
    attention runs over scales (its commit 00bad68 attends over the batch), and a
    linear `head` is added where `dim` differs from the width 2 * frequencies. With
    "concat" scales are not averaged: a mean adds the raw features of scales too fine
    to generalise to those that do, where one linear map cannot part them.
    """

    sigmas: tuple[float, ...] = (1.0, 16.0, 256.0, 4096.0)
    frequencies: int = 384
    registers: int = 4
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    projection: Projection = "equal_earth"
    pool: Literal["mean", "concat"] = "mean"
    dropout: float = 0.0
    scan: bool = False
    remat: layers.Remat = "none"
    time: tuple[float, ...] = ()
    dim: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        if self.time:
            latlon_b2, time_b2 = latlon_b2[:, :2], latlon_b2[:, 2:]
        if self.pool not in ("mean", "concat"):
            raise ValueError(f"pool: got {self.pool!r}, allowed: mean, concat")
        features = FourierTokens(tuple(self.sigmas), self.frequencies, self.projection)
        nn.share_scope(self, features)
        x_bkw = features(latlon_b2)
        b, _, w = x_bkw.shape
        if self.depth:
            x_bkw = x_bkw.astype(self.dtype)
            if self.registers:
                init = nn.initializers.normal(0.02)
                shape = (1, self.registers, w)
                registers = self.param("registers", init, shape, jnp.float32)
                registers = registers.astype(self.dtype)
                front = jnp.broadcast_to(registers, (b, *shape[1:]))
                x_bkw = jnp.concatenate([front, x_bkw], axis=1)
            if self.time:
                token_bw = self._time_token(time_b2, b, w)
                x_bkw = jnp.concatenate([token_bw[:, None], x_bkw], axis=1)
            x_bkw = layers.Transformer(
                self.depth,
                self.heads,
                self.mlp_ratio,
                activation=pointwise.gelu_erf,
                epsilon=1e-5,
                dropout=self.dropout,
                final_norm=False,
                scan=self.scan,
                remat=self.remat,
                dtype=self.dtype,
                name="Transformer",
            )(x_bkw, train=train)
            x_bkw = x_bkw[:, self.registers + bool(self.time) :]
        x_bw = x_bkw.reshape(b, -1) if self.pool == "concat" else x_bkw.mean(axis=1)
        if self.dim is not None and self.dim != x_bw.shape[1]:
            x_bw = layers.Dense(self.dim, self.dtype, name="head")(x_bw)
        return x_bw

    def _time_token(self, time_b2: jax.Array, b: int, w: int) -> jax.Array:
        if not time_b2.shape[1]:
            time_b2 = jnp.zeros((b, 2), time_b2.dtype)
        features_b5 = time_features(time_b2, *self.time).astype(self.dtype)
        return layers.Dense(w, self.dtype, name="time")(features_b5)
