# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The run's folder and its surroundings: config.json, signals, progress, profiler."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from unigeo_jax import jsons

# What a resumed run may change: nothing here alters parameters or the order of places.
FREE_KEYS = (
    *("checkpoint", "eval", "log_every", "max_skips", "mesh", "name", "profile"),
    "watchdog_s",
)
FREE_DATA_KEYS = ("cache_mb", "max_bad", "prefetch", "threads", "workers")
# Keys that older workdirs lack, with the values that mean what was done then.
LATER_KEYS = {"data.skip": [], "spike.window": 0, "spike.factor": 6.0}
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
)


def compilation_cache(folder: pathlib.Path) -> None:
    """Keeps compiled programs between runs, unless JAX was told where to already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))


class Preempted(Exception):
    """The run was asked to stop and has saved its state."""


def say(text: str) -> None:
    """Prints to standard output, from process 0 only."""
    if jax.process_index() == 0:
        print(text, flush=True)


def warn(text: str) -> None:
    """Prints to standard error, from process 0 only."""
    if jax.process_index() == 0:
        print(f"warning: {text}", file=sys.stderr, flush=True)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes whole or not at all; process 0 only."""
    if jax.process_index() != 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def check(folder: pathlib.Path, config: Any) -> None:
    """Refuses a folder that cannot be the workdir of `config`; writes nothing.

    Raises:
      ValueError: the folder belongs to another config (all differing keys are named),
        its config.json cannot be read, or it is no writable folder.
    """
    path = folder / "config.json"
    try:
        found = jsons.read(path)["config"] if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--workdir {folder}: config.json: {error!r}") from error
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--workdir {folder}: {there} is not a writable folder")
    differing = (
        [] if found is None else _differences(found, json.loads(config.to_json()))
    )
    if differing:
        lines = [
            f"  {key}: the workdir has {old}, this command asks for {new}"
            for key, old, new in differing
        ]
        raise ValueError(
            f"--workdir {folder} belongs to another config:\n"
            + "\n".join(lines)
            + "\nchoose another --workdir, or the values it has"
        )


def read_about(folder: pathlib.Path) -> dict[str, Any]:
    """What config.json of the run in `folder` holds, `config` as a ConfigDict.

    Raises:
      ValueError: there is none, or it cannot be read.
    """
    try:
        about = jsons.read(folder / "config.json")
        return about | {"config": tuples(ConfigDict(about["config"]))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--workdir {folder}: config.json: {error!r}") from error


def tuples(config: ConfigDict) -> ConfigDict:
    """Turns the lists that JSON made of tuples back: Linen wants hashable fields."""
    for key, value in config.items():
        if isinstance(value, list):
            with config.ignore_type():
                config[key] = tuple(value)
        elif isinstance(value, ConfigDict):
            tuples(value)
    return config


def claim(folder: pathlib.Path, config: Any, constants: Any = None) -> None:
    """Makes `folder` the workdir of `config` by writing its config.json.

    Raises:
      ValueError: the run in `folder` was trained with other `constants` (a graph,
        statistics of the inputs) than these, by their hash.
    """
    hold(folder)
    hashes = {name: digest(arrays) for name, arrays in (constants or {}).items()}
    path = folder / "config.json"
    old = read_about(folder).get("constants", {}) if path.exists() else {}
    for name in sorted({*old} & {*hashes}):
        if old[name] != hashes[name]:
            raise ValueError(
                f"--workdir {folder}: what tower {name} takes from the dataset has"
                f" changed: sha256 {hashes[name]}, the workdir has {old[name]};"
                " allowed: the same dataset, or another workdir"
            )
    about = {
        "config": json.loads(config.to_json()),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "commit": commit(),
        "constants": hashes,
    }
    write_json(folder / "config.json", about)


_held: dict[pathlib.Path, Any] = {}


def hold(folder: pathlib.Path) -> None:
    """Locks `folder` for this process until it ends; process 0 only.

    The system frees the lock of a process that dies, so none is ever stale. Where the
    file system has no locks there is a warning; where its server keeps the lock of a
    dead machine, removing the file `lock` frees it.

    Raises:
      ValueError: another process holds the folder; says which, and since when.
    """
    import fcntl

    path = (folder / "lock").absolute()
    if jax.process_index() != 0 or path in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise ValueError(
            f"--workdir {folder}: in use by {holder}; allowed: one job a workdir; if"
            f" that machine is gone, remove {path}"
        ) from error
    except OSError as error:
        warn(f"--workdir {folder}: no locks here ({error}); start one job only")
    _held[path] = file
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    print(
        f"host {socket.gethostname()}, process {os.getpid()}, since {since}",
        file=file,
        flush=True,
    )


def fingerprint(params: Any) -> str:
    """First 16 digits of the digest of device arrays; of this process's part if split.

    The same for every layout of the devices of one process.
    """
    leaves = jax.tree.leaves(params)
    if all(x.is_fully_addressable or x.is_fully_replicated for x in leaves):
        return digest(jax.device_get(params))[:16]
    own = [[np.asarray(part.data) for part in x.addressable_shards] for x in leaves]
    return digest(own)[:16] + " (part of process 0)"


def digest(arrays: Any) -> str:
    """SHA-256 over names, types, shapes and bytes of a pytree of host arrays.

    But for what lies under `rows`: its layout is that of the devices.
    """
    found = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(arrays):
        if getattr(path[0], "key", None) == "rows":
            continue
        x = np.ascontiguousarray(x)
        found.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode())
        found.update(x.data)
    return found.hexdigest()


def _differences(old: dict, new: dict) -> list[tuple[str, Any, Any]]:
    free = {*FREE_KEYS, *(f"data.{key}" for key in FREE_DATA_KEYS)}
    a, b = LATER_KEYS | _flat(old), LATER_KEYS | _flat(new)
    return [
        (key, a.get(key, "nothing"), b.get(key, "nothing"))
        for key in sorted({*a, *b})
        if a.get(key) != b.get(key)
        and (key in a or b[key])  # an option that is new and off
        and key not in free
        and key.split(".")[0] not in free
    ]


def _flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in tree.items():
        nested = isinstance(value, dict) and value
        out |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return out


def commit() -> str:
    """Commit of the source tree the package runs from, '+' if it has local changes."""
    here = pathlib.Path(__file__).parent
    try:
        run = [
            "git",
            "-C",
            str(here),
            "describe",
            "--always",
            "--dirty=+",
            "--abbrev=40",
        ]
        return subprocess.run(
            run, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Signals:
    """Turns a first SIGTERM into a stop that all processes agree on; a second kills."""

    def __init__(self) -> None:
        self._asked = False
        # The distributed runtime listens for SIGTERM itself and makes all hosts agree.
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: Any) -> None:
        self._asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def close(self) -> None:
        """Gives SIGTERM its usual meaning back."""
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def agreed(self, step: int) -> bool:
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked


class Profile:
    """Writes a profiler trace of `steps` steps from step `start`; start 0 is off."""

    def __init__(self, folder: pathlib.Path, start: int, steps: int) -> None:
        self._folder, self._start, self._end = folder / "profile", start, start + steps
        self._on = False

    def at(self, step: int) -> None:
        if self._start and step == self._start:
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        elif step == self._end:
            self.close()

    def close(self) -> None:
        if self._on:
            jax.profiler.stop_trace()
            self._on = False


class Progress:
    """The progress bar and the rates that go into the metrics."""

    def __init__(self, start: int, steps: int, batch: int) -> None:
        self._batch, self._last, self._wait = batch, start, 0.0
        self._began = time.monotonic()
        self._bar = tqdm.tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
            disable=jax.process_index() != 0,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    def waited(self, seconds: float) -> float:
        """Counts time in which the loop stood still for lack of a batch; returns it."""
        self._wait += seconds
        return seconds

    def report(self, step: int, loss: float) -> dict[str, float]:
        """Advances the bar to `step`; returns rates since the last report."""
        now = time.monotonic()
        steps, seconds = step - self._last, max(now - self._began, 1e-9)
        values = {
            "examples_per_s": steps * self._batch / seconds,
            "step_s": seconds / steps,
            "data_wait_s": self._wait / steps,
        }
        self._bar.set_postfix_str(
            f"loss {loss:.3f}, {values['examples_per_s']:.0f} examples/s,"
            f" data wait {values['data_wait_s'] / values['step_s']:.1%}",
            refresh=False,
        )
        self._bar.update(steps)
        self._last, self._began, self._wait = step, now, 0.0
        return values

    def note(self, text: str) -> None:
        """Prints above the bar."""
        self._bar.clear()
        say(text)
