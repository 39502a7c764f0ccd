# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Ahead of time: compiles a training step for TPUs that are not there and reads it."""
