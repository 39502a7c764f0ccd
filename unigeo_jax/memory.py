# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How the host's memory is held between the steps of a CPU run."""

import os
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


def keep() -> None:
    """Starts this process again so that glibc keeps memory; not if tunables are set.

    glibc reads them before Python runs, hence the new start; it keeps the process id,
    the arguments and the streams. Anything but Linux stays as it is. A process holds
    what it held at its peak: set GLIBC_TUNABLES yourself (to "" too) to have it back.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
