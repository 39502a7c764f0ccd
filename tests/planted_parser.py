# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers with faults: an error behind a word that no blind change hits, and others."""

import os
import pathlib
import signal
import time

from benchmarks.fuzz_changes import Target


def parse(data: bytes) -> int:
    if data[:4] != b"GRID":
        raise ValueError("not a grid")
    return [0, 0][data[4]]


def deadly(data: bytes) -> bool:
    return data[0] < 6


def crash(data: bytes) -> None:
    if deadly(data):
        os.abort()


def hang(data: bytes) -> None:
    if deadly(data):  # as in native code, which looks at no signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(1000)


def make(name: str, folder: pathlib.Path) -> Target:
    if name == "planted":
        return Target([bytes(8)], parse)
    return Target([b"x"], TARGETS[name][1], mutate=lambda _, draw: draw.randbytes(8))


TARGETS = {"planted": (0.5, parse), "crash": (1.0, crash), "hang": (1.0, hang)}
