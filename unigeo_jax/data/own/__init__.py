# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of `data/places.py`: tables, rasters, photos, splits, shards, reports."""
