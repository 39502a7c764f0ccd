# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Models that come with the package: a folder each, as `launch/export.py` writes."""
