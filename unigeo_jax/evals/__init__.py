# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations: handed embeddings, they never import the model or the trainer."""
