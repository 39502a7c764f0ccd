# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Orbax, confined to this file: asynchronous saves, restore onto any device count.

A checkpoint is the whole TrainState. The data position needs no file: it is the step.
A save becomes visible by one rename, so a kill leaves the previous step intact.
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp


def steps(folder: pathlib.Path) -> list[int]:
    """The complete steps in a folder, none if it is not there; opens no manager."""
    return ocp.utils.checkpoint_steps(folder)


class Checkpoints:
    """The checkpoints of one workdir, named by step.

    Args:
      folder: `<workdir>/checkpoints`, absolute or relative.
      keep: how many of the newest steps stay.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, create=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def latest(self) -> int | None:
        """Highest complete step, or None. Modification times are never looked at."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copies `state` to the host, then writes it in the background.

        Raises:
          Exception: whatever the previous background write failed with.
        """
        self._manager.check_for_errors()
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads one step into the shapes and shardings of `abstract`.

        Args:
          step: a step that `latest` named.
          abstract: pytree of jax.ShapeDtypeStruct with shardings; the number of
            devices may differ from the one that saved.
        """
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def restore_only(self, step: int, abstract: Any, field: str) -> Any:
        """Reads one field of the state into `abstract`; the others are not read."""
        wanted = {field: abstract}
        args = ocp.args.PyTreeRestore(
            wanted,
            restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            partial_restore=True,
        )
        return self._manager.restore(step, args=args)[field]

    def wait(self) -> None:
        """Joins the background write and raises its error, if any."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    def close(self) -> None:
        self._manager.close()


def abstract_like(state: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs of `state` that carry `shardings`."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        state,
        shardings,
    )
