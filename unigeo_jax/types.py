# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Glossary of the shape letters that end names, and the types shared by all parts.

A name such as `z_mbd` carries one letter an axis, in axis order:

b batch here · g gathered batch · m modality · d embedding · w tower width · p patches
l text tokens · v views · k coordinate scales · f frequencies · i set items · c channels
h heads · n nodes · e edges · s data shards · y targets · t tile rows

Scalars carry no suffix; host and device versions of one thing share a name.
"""

from typing import Any, TypedDict

import jax

Array = jax.Array
PyTree = Any
Leaf = Any  # numpy on the host, jax.Array on the device


class Batch(TypedDict):
    """A batch of places, as host or device arrays with one leading axis `b`.

    `index` int32 (b,) is the record number of the place in its split, -1 for a row that
    only fills a batch up. `cell` int32 (b, 2) is the 64-bit cell id as (high, low)
    words; equal rows are the same cell. `here` holds one bool (b,) a modality, False
    where the place lacks it, and `x` what that modality's `read` returned, zeros where
    it is lacking.
    """

    index: Leaf
    cell: Leaf
    here: dict[str, Leaf]
    x: dict[str, PyTree]
