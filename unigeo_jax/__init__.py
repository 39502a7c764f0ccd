# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One embedding space for places on Earth; importing this costs nothing."""

__version__ = "0.1.0"
