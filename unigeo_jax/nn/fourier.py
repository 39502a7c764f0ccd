# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale random Fourier features of a coordinate and the encoder above them.

UniGeoCLIP (arXiv 2604.11668), scaled lat-lon encoder. All maths on coordinates is
elementwise, in float32 at least: a matmul on an accelerator may round its inputs to
bfloat16 or TF32, which moves a place by kilometres.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

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
    theta = jnp.arcsin(math.sqrt(3.0) / 2.0 * jnp.sin(lat))
    t2 = theta * theta
    t6 = t2 * t2 * t2
    slope = 9.0 * A4 * t6 * t2 + 7.0 * A3 * t6 + 3.0 * A2 * t2 + A1
    x = 2.0 * math.sqrt(3.0) / 3.0 * lon * jnp.cos(theta) / slope
    y = theta * (A4 * t6 * t2 + A3 * t6 + A2 * t2 + A1)
    return jnp.stack([x * SCALE, y * SCALE], axis=-1)


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
    points_bi: jax.Array, frequencies_kfi: jax.Array, fast: bool = False
) -> jax.Array:
    """Return [cos 2 pi v B_k^T, sin 2 pi v B_k^T] as (b, k, 2f), cosines first.

    Phases reach 1e5 rad; they are summed elementwise and reduced modulo 1 before the
    multiplication by 2 pi, which halves the float32 error at sigma 4096. `fast` takes
    `sine_of_turns`.
    """
    b, k, f = points_bi.shape[0], *frequencies_kfi.shape[:2]
    turns_bkf = jnp.zeros((b, k, f), points_bi.dtype)
    for i in range(points_bi.shape[1]):
        v = jnp.broadcast_to(points_bi[:, i][:, None, None], (b, k, f))
        turns_bkf += v * jnp.broadcast_to(frequencies_kfi[None, :, :, i], (b, k, f))
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
        points = unit_sphere(latlon_b2) if sphere else project_equal_earth(latlon_b2)
        sigma_k = jnp.asarray(self.sigmas, jnp.float32) * (SCALE if sphere else 1.0)

        def draw(key, shape):
            sigma = jnp.broadcast_to(sigma_k[:, None, None], shape)
            return sigma * jax.random.normal(key, shape, jnp.float32)

        shape = (len(self.sigmas), self.frequencies, points.shape[-1])
        frequencies_kfi = jax.lax.stop_gradient(self.param("frequencies", draw, shape))
        return fourier_tokens(points, frequencies_kfi.astype(points.dtype), self.fast)


class LatLonEncoder(nn.Module):
    """Encode (b, 2) lat, lon in degrees as (b, 2 * frequencies), un-normalised.

    UniGeoCLIP's scaled lat-lon encoder: one fixed token a scale, learned registers
    in front, `depth` pre-norm blocks (exact GELU, LayerNorm eps 1e-5, no final norm,
    no scale or position embedding), mean over the tokens that are not registers.
    Depth 0 is the plain mean of the fixed tokens and has no trainable parameter.
    `pool="concat"` lets `head` read every scale by weights of its own.
    `sigmas=[16] * 5` is the single-scale ablation: frequencies of equal sigmas are
    drawn independently, so the number of tokens and frequencies stays the same.

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
    dim: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
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
            x_bkw = x_bkw[:, self.registers :]
        x_bw = x_bkw.reshape(b, -1) if self.pool == "concat" else x_bkw.mean(axis=1)
        if self.dim is not None and self.dim != x_bw.shape[1]:
            x_bw = layers.Dense(self.dim, self.dtype, name="head")(x_bw)
        return x_bw
