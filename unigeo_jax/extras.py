# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Packages that only some commands need, imported where they are used."""

import importlib
from typing import Any


def need(package: str, what: str, *parts: str, extra: str = "geo") -> Any:
    """Imports a package, and parts of it, that setup.py lists under `extra`.

    Raises:
      ValueError: it is not installed: `what` needs it, and how to get it.
    """
    try:
        for part in parts:
            importlib.import_module(f"{package}.{part}")
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f'{what}: needs {package}: pip install "unigeo-jax[{extra}]"'
        ) from error
