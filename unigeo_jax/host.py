# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How a CPU run uses its host: memory kept between steps, vectors of full width."""

import os
import platform
import sys

# XLA takes a step's memory anew each time. glibc hands large blocks back to the system
# at once, and getting them again, page by page, cost a training step of ViT-B/16 at
# batch 8 a quarter to two fifths of its time (measured). With these a block stays where
# it was: pages of 2 MB, no mmap a block, nothing given back, one arena.
TUNABLES = ":".join(
    (
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.mmap_max=0",
        f"glibc.malloc.trim_threshold={2**46}",
        "glibc.malloc.arena_max=1",
    )
)

# LLVM holds x86 vectors to 256 bits even where there are 512: 3 % of a forward pass of
# a ViT-B/16 or of its text tower (measured); no other effect.
WIDE = "--xla_cpu_prefer_vector_width=512"


def environment() -> dict[str, str]:
    """What a process must find in its environment, as far as it is not set there."""
    found = {}
    if sys.platform == "linux":
        found["GLIBC_TUNABLES"] = os.environ.get("GLIBC_TUNABLES", TUNABLES)
    given = os.environ.get("XLA_FLAGS", "")
    if platform.machine() == "x86_64" and WIDE.partition("=")[0] not in given:
        found["XLA_FLAGS"] = f"{given} {WIDE}".strip()
    return found


def settle() -> None:
    """Sets `environment`; starts this process again if glibc has tunables to read.

    It reads them before Python runs, hence the new start, which keeps the process id,
    the arguments and the streams. Call it before JAX is used. A process holds what it
    held at its peak: set GLIBC_TUNABLES yourself (to "" too) to have it back.
    """
    again = sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ
    os.environ.update(environment())
    if again:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
