# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a dataset to its folder: ArrayRecord by TFDS, indexes and the mobility graph.

All of it is written to a folder beside and renamed when complete; a lock keeps a
second process waiting. TensorFlow is never imported.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from unigeo_jax.data import bundled, datasets
from unigeo_jax.data.datasets.chunks import Columns

INDEX = ("lat", "lon", "cell", "block")


@dataclasses.dataclass(frozen=True)
class Content:
    """What a dataset holds.

    index: for every split the arrays INDEX, in the order of its records.
    features: TFDS feature of every field.
    chunks: makes the columns of the records, split after split, in order; no chunk
      crosses from one split to the next.
    graph: writes a graph folder of `data.graph` of the nodes that the records name;
      None = no graph.
    """

    index: Mapping[str, Mapping[str, np.ndarray]]
    features: Mapping[str, Any]
    chunks: Callable[[], Iterator[Columns]]
    description: str
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    graph: Callable[[pathlib.Path], Any] | None = None


def bundle_version(builder: str) -> str:
    """`builder` and, as last number, a hash of the bundle's manifest."""
    path = bundled.BUNDLE / "manifest.json"
    data = path.read_bytes() if path.exists() else b""
    return f"{builder}.{int(hashlib.sha256(data).hexdigest()[:7], 16)}"


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of a dataset that is known only at run time; see `_builder`."""

    def __init__(self, content: Content, **options: Any) -> None:
        self._content = content
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._content.description,
            features=tfds.features.FeaturesDict(dict(self._content.features)),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(self._content.metadata),
        )

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        del dl_manager
        counts = {s: len(index["lat"]) for s, index in self._content.index.items()}
        progress = Progress(self.name, sum(counts.values()))
        chunks = self._content.chunks()
        return {
            split: self._generate_examples(count, chunks, progress)
            for split, count in counts.items()
        }

    def _generate_examples(
        self, count: int, chunks: Iterator[Columns], progress: "Progress"
    ) -> Iterator[tuple[int, dict]]:
        number = 0  # the key: TFDS sorts by it, so records keep this order
        while number < count:
            columns = next(chunks)
            before = number
            for values in zip(*columns.values(), strict=True):
                yield number, dict(zip(columns, values, strict=True))
                number += 1
            progress.add(number - before)


def _builder(
    name: str, config: str, version: str, content: Content, data_dir: pathlib.Path
) -> _Builder:
    """TFDS asks a class, not an object, for name, configs and version."""

    class Named(_Builder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)]  # noqa: RUF012

    Named.name = name
    return Named(content, config=config, data_dir=data_dir)


class Progress:
    """One line on standard error that says how far the build is."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done, self._start = 0, time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        seconds = time.monotonic() - self._start
        left = seconds / self._done * (self._total - self._done)
        end = "\n" if self._done == self._total else ""
        line = f"{self._name}: {self._done:,} of {self._total:,} places,"
        line += f" {seconds:.0f} s, {left:.0f} s left"
        if sys.stderr.isatty() or end:
            print(f"\r{line} ", end=end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: pathlib.Path, name: str) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it if this process dies."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(
                f"{name}: waiting for the build of {file.read().strip()}",
                file=sys.stderr,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        print(
            f"host {socket.gethostname()}, process {os.getpid()}", file=file, flush=True
        )
        yield


def _is_complete(folder: pathlib.Path) -> bool:
    try:
        info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
        return all((folder / _index_file(s["name"])).is_file() for s in info["splits"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _index_file(split: str) -> str:
    return f"index-{split}.npz"


def make_once(
    name: str,
    config: str,
    version: str,
    make: Callable[[], Content],
    data_dir: Any = None,
) -> pathlib.Path:
    """Build a dataset unless it is there, and return its folder.

    Two processes that start at once both end with the finished dataset: the second
    waits. What an interrupted build left behind is removed.

    Args:
      name, config, version: of the dataset; its folder is
        `<data_dir>/<name>/<config>/<version>`.
      make: says what it holds; called only if the dataset has to be built.
      data_dir: folder of all datasets; default: see `datasets.default_data_dir`.
    """
    root = pathlib.Path(data_dir or datasets.default_data_dir()).expanduser() / name
    folder = root / config / version
    if _is_complete(folder):
        return folder
    with locked(root / f".lock-{config}", name):
        if _is_complete(folder):
            return folder
        scratch = root / f".building-{config}"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}: building {folder} (once)", file=sys.stderr, flush=True)
        content = make()
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()), datasets.quiet():
            builder = _builder(name, config, version, content, scratch)
            builder.download_and_prepare()
        made = pathlib.Path(builder.data_dir)
        for split, index in content.index.items():
            arrays: dict[str, Any] = {key: index[key] for key in INDEX}
            np.savez(made / _index_file(split), **arrays)
        if content.graph is not None:
            content.graph(made / "graph")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, folder)
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
