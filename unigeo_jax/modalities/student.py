# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinates for a distilled student: fixed features of the place, then an MLP.

Features are real spherical harmonics (MobCLIP, arXiv 2506.01297), Fourier features of
several scales of the point on the unit sphere, hash grids, or several of these; all are
continuous at +-180 degrees and at the poles.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unigeo_jax.modalities import coords
from unigeo_jax.modalities.coords import read, spec
from unigeo_jax.nn import fourier, harmonics, hash_grid, layers

__all__ = ["Encoder", "check", "read", "spec"]

OUTPUTS = ("raw", "unit", "unit+norm")


def check(data: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """Refuse a student without features, or of an output that is not known."""
    coords.check(data, net)
    fourier_there = net.get("sigmas") and net.get("frequencies")
    if not net.get("levels") and not fourier_there and not net.get("grids"):
        raise ValueError(
            f"student: got levels={net.get('levels')}, sigmas={net.get('sigmas')},"
            f" frequencies={net.get('frequencies')}, no grids; allowed: levels of"
            " harmonics, frequencies at some sigmas, grids, or several of these"
        )
    hash_grid.check(net.get("grids", ()))
    if net.get("output", "raw") not in OUTPUTS:
        raise ValueError(
            f"student: got output={net['output']!r}; allowed: {', '.join(OUTPUTS)}"
        )


class Encoder(nn.Module):
    """Encode [lat, lon], float32 (b, 2) in degrees, as (b, dim), ready for use.

    levels: degrees 0 to levels - 1 of harmonics, 0 for none; `m0_pi` multiplies those
      of order 0 by pi, as MobCLIP's released weights want them.
    sigmas, frequencies: so many random frequencies a scale, as in nn/fourier.py. A
      scale's features are multiplied by sigma^-fade: what is fine is then learned
      late, and bends the map little where there is nothing to learn from.
    projection: "sphere", or "equal_earth", which is cut at the date line.
    grids: of nn/hash_grid.py: of each, degrees a pixel, entries, channels.
    widths: of the hidden layers, ReLU after each.
    output: "raw" vectors; "unit" ones; "unit+norm": a unit vector and the logarithm of
      its norm behind it. In training they come as the last layer gives them.
    target_mean, target_scale: (dim,) of the targets; the last layer works in units of
      these. They are parameters that no step changes.
    """

    dim: int
    dtype: Any = jnp.float32
    levels: int = 0
    m0_pi: bool = False
    sigmas: tuple[float, ...] = ()
    frequencies: int = 0
    fade: float = 0.0
    projection: fourier.Projection = "sphere"
    grids: tuple[hash_grid.Grid, ...] = ()
    widths: tuple[int, ...] = (256, 256, 256)
    output: str = "raw"

    @nn.compact
    def __call__(self, latlon_b2: jax.Array, train: bool = False) -> jax.Array:
        x_bw = self.features(latlon_b2).astype(self.dtype)
        he = nn.initializers.he_normal()
        for number, width in enumerate(self.widths):
            name = f"hidden_{number}"
            x_bw = nn.Dense(width, dtype=self.dtype, kernel_init=he, name=name)(x_bw)
            x_bw = nn.relu(x_bw)
        z_bd = nn.Dense(self.dim, dtype=self.dtype, name="head")(x_bw)
        shape = (self.dim,)
        mean_d = self.param("target_mean", nn.initializers.zeros, shape, jnp.float32)
        scale_d = self.param("target_scale", nn.initializers.ones, shape, jnp.float32)
        z_bd = z_bd.astype(jnp.float32) * scale_d[None] + mean_d[None]
        if train or self.output == "raw":
            return z_bd
        if self.output == "unit":
            return layers.l2_normalise(z_bd)
        unit_bd = layers.l2_normalise(z_bd[:, :-1])
        return jnp.concatenate([unit_bd, z_bd[:, -1:]], axis=-1)

    def features(self, latlon_b2: jax.Array) -> jax.Array:
        """Return (b, w): harmonics, cosines and sines scale by scale, then grids."""
        found = []
        if self.levels:
            found.append(harmonics.real_harmonics(latlon_b2, self.levels, self.m0_pi))
        if self.sigmas:
            tokens = fourier.FourierTokens(
                tuple(self.sigmas), self.frequencies, self.projection, fast=True
            )
            nn.share_scope(self, tokens)
            x_bkw = tokens(latlon_b2)
            height = [math.sqrt(2) * sigma**-self.fade for sigma in self.sigmas]
            x_bkw *= jnp.asarray(height, x_bkw.dtype)[None, :, None]
            found.append(x_bkw.reshape(x_bkw.shape[0], -1))
        if self.grids:
            grids = hash_grid.HashGrids(tuple(self.grids))
            nn.share_scope(self, grids)
            found.append(grids(latlon_b2))
        return jnp.concatenate(found, axis=-1)
