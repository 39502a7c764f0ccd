# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What `data/places.py` is made of: tables, rasters, photos, splits, shards, reports."""
