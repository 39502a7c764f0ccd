# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A modality with constants: a frozen table that all places share, a row each."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

ROWS, WIDTH = 64, 8


def spec(**_) -> dict[str, np.ndarray]:
    return {"row": np.zeros((), np.int32), "drawn": np.zeros((), np.int32)}


def read(record: dict[str, Any], rng: np.random.Generator | None, **_) -> dict:
    return {"row": np.int32(record["place"] % ROWS), "drawn": np.int32(0)}


def gather(x: dict, seeds: np.ndarray | None, folder, **_) -> dict:
    """Completes a batch: one number a row by its seed, 0 in evaluation."""
    drawn = np.zeros(len(x["row"])) if seeds is None else seeds % np.uint64(97)
    return x | {"drawn": drawn.astype(np.int32)}


def constants(data, net, folder, records, shards) -> dict[str, Any]:
    table = np.random.default_rng(len(records(("place",), 9))).normal(
        size=(ROWS, WIDTH)
    )
    return {
        "table": table.astype(np.float32),
        "rows": {"number": np.arange(ROWS, dtype=np.int32)},
    }


class Encoder(nn.Module):
    dim: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: dict, train: bool = False) -> jax.Array:
        table_nd = self.get_variable("constants", "table")
        number_n = self.get_variable("constants", "rows")["number"]
        row_bd = table_nd[x["row"]] + number_n[x["row"]][:, None].astype(jnp.float32)
        return nn.Dense(self.dim, dtype=self.dtype)(row_bd)
