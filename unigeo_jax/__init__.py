# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One embedding space for places on Earth; importing this costs nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unigeo_jax.infer import Model

__version__ = "0.1.0"


def load(path: Any) -> "Model":
    """Open an exported model: a folder, or a name such as "earth"; see infer.load."""
    from unigeo_jax import infer

    return infer.load(path)
