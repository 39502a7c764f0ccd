# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Contrastive objectives: pure functions on unit embeddings, one weight matrix each."""
