# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A parser with a fault behind a word that no blind change hits."""

from benchmarks.fuzz_targets import Target


def parse(data: bytes) -> int:
    if data[:4] != b"GRID":
        raise ValueError("not a grid")
    return [0, 0][data[4]]


def targets(_) -> dict[str, Target]:
    return {"planted": Target([b"\0" * 8], parse, 1.0)}
