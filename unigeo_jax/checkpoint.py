# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Orbax, confined to this file: asynchronous saves, restore onto any device count.

A checkpoint is the whole TrainState. The data position needs no file: it is the step.
A save becomes visible by one rename, so a kill leaves the previous step intact. Before
that rename the files are read back and their CRC-32 written beside them: a guard
against damage, not against an author. What decides nothing is not summed: Orbax's two
markers `commit_success.txt`, and the times in its metadata, written after the sums.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import sys
import zlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from unigeo_jax import jsons, outside, seams

SUMS = "crc32.json"  # in the folder of a step's arrays: {file: [bytes, CRC-32]}
ITEM = "default"
METADATA = "_CHECKPOINT_METADATA"  # Orbax's, of a step: it names what wrote the item
SUMMED = "unigeo_jax.checkpoint._Summed"
UNSUMMED = ".StandardCheckpointHandler"  # Orbax's own, of versions without sums
PIECE = 2**20


def steps(folder: pathlib.Path) -> list[int]:
    """The complete steps in a folder, none if it is not there; opens no manager."""
    return ocp.utils.checkpoint_steps(folder)


def _sum(path: pathlib.Path) -> tuple[int, int]:
    found = size = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
            size += len(piece)
    return size, found


def _sums(folder: pathlib.Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Bytes and CRC-32 of files below `folder`, several at a time."""
    names = list(names)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return dict(
            zip(names, pool.map(lambda n: _sum(folder / n), names), strict=True)
        )


class _Summed(ocp.StandardCheckpointHandler):
    """Orbax's handler of a state, that sums the files before they become visible."""

    def finalize(self, directory: Any) -> None:
        seams.at("save.written")
        super().finalize(directory)
        seams.at("save.merged")
        folder = pathlib.Path(directory)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
        (folder / SUMS).write_text(json.dumps(_sums(folder, names)), encoding="utf-8")
        seams.at("save.summed")


def _stored() -> None:
    seams.at("save.stored")


def _writer(folder: pathlib.Path) -> str:
    """The class that wrote a step; raises ValueError where its metadata are damaged."""
    about = jsons.read(folder / METADATA)
    try:
        writer = about["item_handlers"][ITEM]
        # Orbax reads the metadata of every step when it opens a folder.
        times = [about[f"{when}_timestamp_nsecs"] for when in ("init", "commit")]
        fields = [about.get(key) or {} for key in ("metrics", "custom_metadata")]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not all(type(t) is int and 0 <= t < 2**62 for t in times):
        raise ValueError(f"times {str(times)[:80]}")
    if not all(isinstance(field, dict) for field in fields):
        raise ValueError("metrics or custom_metadata is no object")
    if writer != SUMMED and not str(writer).endswith(UNSUMMED):
        raise ValueError(f"written by {str(writer)[:80]!r}; allowed: {SUMMED}")
    return str(writer)


def _metadata_damage(folder: pathlib.Path) -> list[str]:
    try:
        _writer(folder)
    except (FileNotFoundError, ValueError) as error:
        return [f"{folder / METADATA}: {error}"]
    return []


def damage(folder: pathlib.Path) -> list[str]:
    """What is wrong with the files of one step, one line each; [] if nothing is.

    A step without sums is damaged, unless its metadata tells that a version without
    sums wrote it: it passes unchecked.
    """
    arrays = folder / ITEM
    path = arrays / SUMS
    if not arrays.is_dir():
        return [f"{arrays}: missing"]
    try:
        writer = _writer(folder)
    except (FileNotFoundError, ValueError) as error:
        return [f"{folder / METADATA}: {error}"]
    if not path.exists():
        return [f"{path}: missing"] if writer == SUMMED else []
    try:
        wanted = {
            str(name): (int(size), int(value))
            for name, (size, value) in jsons.read(path).items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        return [f"{path}: {error!r}"]
    if not wanted:
        return [f"{path}: names no file"]
    bad, there = [], []
    for name, (size, _) in wanted.items():
        file = arrays / name
        if not os.path.isfile(file):  # is_file() raises for a name that is too long
            bad.append(f"{file}: missing")
        elif file.stat().st_size != size:
            bad.append(f"{file}: {file.stat().st_size} bytes, {size} were written")
        else:
            there.append(name)
    for name, (_, value) in _sums(arrays, there).items():
        if value != wanted[name][1]:
            bad.append(f"{arrays / name}: its CRC-32 is not that of what was written")
    return bad


def newest_good(folder: pathlib.Path, fall_back: bool) -> tuple[int | None, list[str]]:
    """The newest step whose files are what was written, and what is wrong with others.

    Every process gets what process 0 finds. Nothing is changed: `set_aside` does.

    Raises:
      ValueError: the newest step is damaged and `fall_back` is False, or all are.
    """
    lines: list[str] = []
    good, refused = -1, ""
    if jax.process_index() == 0:
        good, lines, refused = _search(folder, fall_back)
    if jax.process_count() > 1:
        told = np.array([good, bool(refused)], np.int64)
        good, bad = (int(x) for x in multihost_utils.broadcast_one_to_all(told))
        refused = refused or ("process 0 says why" if bad else "")
    if refused:
        raise ValueError(f"checkpoints {folder}: {refused}")
    return (None if good < 0 else good), lines


def _search(folder: pathlib.Path, fall_back: bool) -> tuple[int, list[str], str]:
    there = sorted(steps(folder), reverse=True)
    lines: list[str] = []
    for step in there:
        bad = damage(folder / str(step))
        if not bad:
            return step, lines, ""
        lines += [f"step {step} is damaged: {line}" for line in bad]
        if not fall_back:
            advice = "allowed: config.checkpoint.fall_back=True: the newest whole step"
            return -1, lines, "; ".join([*lines, advice])
    return -1, lines, "; ".join([*lines, "no step is whole"]) if there else ""


def set_aside(folder: pathlib.Path, step: int) -> list[pathlib.Path]:
    """Moves the steps after `step`, and those before that Orbax could not open, to
    `<workdir>/damaged/`; they are never deleted.
    """
    moved = []
    if jax.process_index() == 0:
        for bad in steps(folder):
            if bad == step or (bad < step and not _metadata_damage(folder / str(bad))):
                continue
            number = 0
            while (to := folder.parent / "damaged" / f"{bad}.{number}").exists():
                number += 1
            to.parent.mkdir(exist_ok=True)
            (folder / str(bad)).rename(to)
            moved.append(to)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("damaged checkpoints")
    return moved


def newest_whole(folder: pathlib.Path, fall_back: bool) -> int | None:
    """As `newest_good`, for the run that owns `folder`: sets damaged steps aside.

    Says so on standard error, from process 0.
    """
    good, lines = newest_good(folder, fall_back)
    if good is not None:
        if jax.process_index() == 0:
            for early in (s for s in steps(folder) if s < good):
                bad = _metadata_damage(folder / str(early))
                lines += [f"step {early} is damaged: {line}" for line in bad]
        moved = set_aside(folder, good)  # on every process: it is a meeting point
        if moved:
            names = ", ".join(map(str, moved))
            lines.append(f"going on from step {good}; set aside: {names}")
    for line in lines:
        print(f"warning: {line}", file=sys.stderr, flush=True)
    return good


class Checkpoints:
    """The checkpoints of one workdir, named by step, for the run that writes them.

    What a killed save left is removed here: only the process that holds the workdir
    may open it.

    Args:
      folder: `<workdir>/checkpoints`, absolute or relative.
      keep: how many of the newest steps stay.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            create=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=_stored),
        )
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        summed = _Summed()
        handlers.add(ITEM, ocp.args.StandardSave, summed)
        handlers.add(ITEM, ocp.args.StandardRestore, summed)
        self._folder, self._saving, self._open = folder, 0, False
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, handler_registry=handlers
        )

    def latest(self) -> int | None:
        """Highest complete step, or None. Modification times are never looked at."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copies `state` to the host, then writes it in the background.

        Raises:
          OSError: this write, or the one before it, failed.
        """
        self.check()
        seams.at("save.begin")
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state))
        except Exception as error:
            raise self._failed(step, error) from error
        self._saving, self._open = step, True
        seams.at("save.copied")

    def check(self) -> None:
        """Raises OSError if a write in the background has failed; takes no time.

        Orbax's own `check_for_errors` misses what its last thread has taken over.
        """
        if self._open and not self._manager.is_saving_in_progress():
            self.wait()

    def _failed(self, step: int, error: Exception) -> OSError:
        free = shutil.disk_usage(self._folder).free
        return OSError(
            f"the checkpoint of step {step} in {self._folder} could not be written,"
            f" {free:,} bytes are free there: {error}; newest whole step:"
            f" {max((s for s in steps(self._folder) if s != step), default=None)}"
        )

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads one step into the shapes and shardings of `abstract`.

        Args:
          step: a step that `newest_good` named.
          abstract: pytree of jax.ShapeDtypeStruct with shardings; the number of
            devices may differ from the one that saved.

        Raises:
          ValueError: its metadata are damaged; a parameter holds NaN or Inf; names it.
        """
        with outside.refused(f"checkpoint {self._folder / str(step)}"):
            state = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        _refuse_not_finite(self._folder / str(step), state)
        return state

    def wait(self) -> None:
        """Joins the background write and raises its error, if any, as OSError."""
        self._open = False
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failed(self._saving, error) from error

    def close(self) -> None:
        """Joins the background write and gives everything back; raises its OSError."""
        try:
            self._manager.close()
        except Exception as error:
            raise self._failed(self._saving, error) from error


def restore_field(folder: pathlib.Path, step: int, abstract: Any, field: str) -> Any:
    """Reads one field of the state of a step into `abstract`, and nothing else.

    Opens no manager: a run that is saving in `folder` is not disturbed.

    Raises:
      ValueError: its metadata are damaged; a parameter holds NaN or Inf; names it.
    """
    wanted = {field: abstract}
    args = ocp.args.PyTreeRestore(
        wanted,
        restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
        partial_restore=True,
    )
    with (
        outside.refused(f"checkpoint {folder / str(step)}"),
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader,
    ):
        found = reader.restore((folder / str(step) / ITEM).absolute(), args=args)
        for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
            if isinstance(leaf, jax.ShapeDtypeStruct):  # Orbax says nothing
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise ValueError(f"holds no {name}")
    _refuse_not_finite(folder / str(step), found)
    return found[field]


def _refuse_not_finite(folder: pathlib.Path, state: Any) -> None:
    """Raises ValueError for a parameter that is not finite: no run could have gone on.

    What lies under `params` is looked at; moments of optimisers may hold anything. On
    the host: a program for it would take longer to compile than a restore takes.
    """
    leaves = {
        jax.tree_util.keystr(path): x
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if getattr(path[0], "name", getattr(path[0], "key", None)) == "params"
        and jnp.issubdtype(x.dtype, jnp.inexact)
    }
    good: Any = np.array([_finite(x) for x in leaves.values()], bool)
    if jax.process_count() > 1:  # each has seen its own part
        good = np.all(multihost_utils.process_allgather(good), axis=0)
    if bad := sorted(name for name, fine in zip(leaves, good, strict=True) if not fine):
        raise ValueError(
            f"checkpoint {folder}: {', '.join(bad[:4])}, {len(bad)} of {len(good)}:"
            " NaN or Inf; allowed: finite parameters"
        )


def _finite(x: jax.Array) -> bool:
    """Whether this process's part is finite; of copies, one process sees one."""
    parts = (part for part in x.addressable_shards if part.replica_id == 0)
    return all(np.isfinite(np.asarray(part.data)).all() for part in parts)


def abstract_like(state: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs of `state` that carry `shardings`."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        state,
        shardings,
    )
