# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""XLA's options in tests: most of their time is compilation, and this halves it.

Programs compiled so run slower and round a little differently; whatever is compared
with each other must be compiled alike.
"""

QUICK = "--xla_backend_optimization_level=0"


def flags(devices: int = 1) -> str:
    """The value of XLA_FLAGS for a process with so many fake CPU devices."""
    return f"--xla_force_host_platform_device_count={devices} {QUICK}"
