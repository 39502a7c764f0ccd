# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors in a file for search, and whose they are, which stands behind the numbers.

One .npy file, so that a kill at any point leaves the old one or the new one, whole;
numpy reads it as any other, and ignores what stands behind. Letters: `n` rows, `d`.
"""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from unigeo_jax import jsons


def write(
    path: pathlib.Path, z_nd: np.ndarray, about: Mapping[str, str]
) -> pathlib.Path:
    """Write float32 (n, d) and `about`, model_id and sha256, to PATH, .npy."""
    path = path.with_suffix(".npy")
    part = path.with_suffix(".part.npy")
    with open(part, "wb") as file:
        np.save(file, np.asarray(z_nd, np.float32, "C"), allow_pickle=False)
        file.write(json.dumps(dict(about)).encode())
    part.replace(path)
    return path


def read(path: str | pathlib.Path, sha256: str) -> np.ndarray:
    """float32 (n, d), memory-mapped; raises ValueError for another model's, or none."""
    path = pathlib.Path(path).with_suffix(".npy")
    try:
        z_nd = np.load(path, mmap_mode="r", allow_pickle=False)
        with open(path, "rb") as file:
            file.seek(z_nd.offset + z_nd.nbytes)
            about = jsons.parse(file.read(1 << 16))
        whose = about["model_id"], about["sha256"]
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        raise ValueError(
            f"search: {path}: {error!r}; allowed: a file that save_index wrote"
        ) from error
    if whose[1] != sha256:
        raise ValueError(
            f"search: {path} is of model {whose[0]}, SHA-256 {whose[1]}; allowed:"
            f" {sha256}"
        )
    return z_nd
