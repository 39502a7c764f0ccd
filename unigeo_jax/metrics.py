# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes metrics.jsonl (one object a line) and TensorBoard events, on process 0."""

import json
import math
import os
import pathlib

import jax
import jax.numpy as jnp

from unigeo_jax.types import Batch


class Writer:
    """Appends scalars by step; a resumed run first drops the steps to be redone.

    Args:
      folder: the workdir.
      resume_step: steps after this one will be written again.

    Raises:
      OSError: the folder cannot be written.
    """

    def __init__(self, folder: pathlib.Path, resume_step: int) -> None:
        self._file = None
        self._events = None
        if jax.process_index() != 0:
            return
        path = folder / "metrics.jsonl"
        _truncate_after(path, resume_step)
        self._file = path.open("a", encoding="utf-8")
        import tensorboardX

        self._events = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=resume_step + 1, write_to_disk=True
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one line; a value that is not finite becomes null."""
        if self._file is None or self._events is None:
            return
        clean = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()
        for name, value in clean.items():
            if value is not None:
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        if self._file is not None and self._events is not None:
            self._file.close()
            self._events.close()


def repeats(batch: Batch) -> dict[str, float]:
    """How many places of a global batch lie in a cell that another had before them.

    They are no negatives of each other (losses). On all processes at once.
    """
    return {"same_cell": float(_repeats(batch["cell"]))}


@jax.jit
def _repeats(cell_b2: jax.Array) -> jax.Array:
    cell_b2 = cell_b2[jnp.lexsort(cell_b2.T)]
    return jnp.sum((cell_b2[1:] == cell_b2[:-1]).all(axis=1))


def _truncate_after(path: pathlib.Path, step: int) -> None:
    """Keeps the lines up to `step`; a line cut by a kill is dropped as well."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    os.replace(part, path)
