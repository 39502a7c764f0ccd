# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoModel: one tower a modality, unit embeddings, one temperature a pair."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unigeo_jax import modalities
from unigeo_jax.nn import layers

Tower = tuple[str, str, Mapping[str, Any]]


class GeoModel(nn.Module):
    """Encode every modality of a place as a unit vector of `dim` numbers.

    `towers` is a sequence of (name, module, net options), in the order of the axis m
    of `z_mbd`; the same module may serve two names. Parameters: one subtree a name,
    and `log_tau`, float32, one value an unordered pair of modalities (m = n
    included) in the order of `pairs`; with `init_bias` also `logit_bias`, alike.
    `fixed_tau_mm`, symmetric, holds temperatures that are not learned, 0 elsewhere.
    `mesh` is for towers that split what they share over devices.
    """

    towers: Sequence[Tower]
    dim: int
    dtype: Any = jnp.float32
    init_tau: float = 0.07
    init_bias: float | None = None
    fixed_tau_mm: tuple[tuple[float, ...], ...] = ()
    mesh: Mesh | None = None

    def setup(self):
        names = self.names
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"towers: names must be different, got {list(names)}")
        for name, module, net in self.towers:
            if not name.isidentifier() or hasattr(type(self), name) or name in _FIELDS:
                raise ValueError(f"towers: {name!r} cannot be the name of a tower")
            encoder = modalities.get(module).Encoder
            options = {"dim": self.dim, "dtype": self.dtype, **net}
            if "mesh" in encoder.__dataclass_fields__:
                options["mesh"] = self.mesh
            setattr(self, name, encoder(**options))
        init = nn.initializers.constant(math.log(self.init_tau))
        size = len(names) * (len(names) + 1) // 2
        self.log_tau = self.param("log_tau", init, (size,), jnp.float32)
        if self.init_bias is not None:
            init = nn.initializers.constant(self.init_bias)
            self.logit_bias = self.param("logit_bias", init, (size,), jnp.float32)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.towers)

    def __call__(self, x: Mapping[str, Any], train: bool = False) -> jax.Array:
        """Return `z_mbd`, float32 unit vectors, of a batch that has every modality."""
        return jnp.stack([self.embed(name, x[name], train) for name in self.names])

    def embed(self, name: str, x: Any, train: bool = False) -> jax.Array:
        """Return (b, d) float32 unit vectors of one modality.

        Raises ValueError for a name without a tower.
        """
        return layers.l2_normalise(self.raw(name, x, train))

    def raw(self, name: str, x: Any, train: bool = False) -> jax.Array:
        """Return a tower's vectors (b, d) before normalisation: their norm may tell.

        Raises ValueError for a name without a tower.
        """
        if name not in self.names:
            raise ValueError(f"embed: no tower {name!r}, allowed: {list(self.names)}")
        return getattr(self, name)(x, train)

    def tau_mm(self) -> jax.Array:
        """Return the symmetric (m, m) matrix of temperatures, fixed ones included."""
        tau_mm = tau_matrix(self.log_tau)
        if self.fixed_tau_mm:
            fixed_mm = jnp.asarray(self.fixed_tau_mm, tau_mm.dtype)
            tau_mm = jnp.where(fixed_mm > 0, fixed_mm, tau_mm)
        return tau_mm

    def bias_mm(self) -> jax.Array | None:
        """Return the symmetric (m, m) matrix of logit biases, None without them."""
        if self.init_bias is None:
            return None
        return self.logit_bias[_pair_matrix(len(self.names))]


_FIELDS = (
    *("towers", "dim", "dtype", "init_tau", "log_tau", "init_bias", "logit_bias"),
    *("parent", "name", "scope", "mesh", "fixed_tau_mm"),
)


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """List the unordered pairs of modalities, m = n included, as in `log_tau`."""
    rows, columns = np.triu_indices(len(names))
    return [(names[int(r)], names[int(c)]) for r, c in zip(rows, columns, strict=True)]


def pair_index(names: Sequence[str], a: str, b: str) -> int:
    """Return the position in `log_tau` of the unordered pair of `a` and `b`."""
    for name in (a, b):
        if name not in names:
            raise ValueError(f"pair: no tower {name!r}, allowed: {list(names)}")
    first, second = sorted((names.index(a), names.index(b)))
    return int(_pair_matrix(len(names))[first, second])


def tau_matrix(log_tau: jax.Array) -> jax.Array:
    """Spread one log-temperature a pair over the symmetric (m, m) matrix of tau."""
    m = math.isqrt(2 * log_tau.shape[0])
    return jnp.exp(log_tau[_pair_matrix(m)])


def _pair_matrix(m: int) -> np.ndarray:
    """Return the symmetric (m, m) matrix of positions in `log_tau`."""
    position_mm = np.zeros((m, m), np.int32)
    rows, columns = np.triu_indices(m)
    position_mm[rows, columns] = position_mm[columns, rows] = np.arange(len(rows))
    return position_mm
