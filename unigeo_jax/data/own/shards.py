# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a TFDS dataset shard by shard: resumable, in flat memory, by many processes.

TFDS's own writer holds a split in memory to sort it and starts again after a kill.
Here the shards are planned first; each is a file of its own that appears by a rename
when it is whole, so that what is there is never written twice. TFDS reads the result
as any other of its datasets. TensorFlow is never imported.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax.data.datasets.chunks import Columns

DATASET_INFO = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class Field:
    """How a field is stored. kind: image, text, integer, number or array.

    shape: of an image (height, width, channels) or an array; None where open.
    format: of an image, png or jpeg. dtype: of an array.
    """

    kind: str
    shape: tuple[int | None, ...] = ()
    dtype: str = "float32"
    format: str = "png"

    def feature(self) -> Any:
        """The TFDS feature."""
        import tensorflow_datasets as tfds

        if self.kind == "image":
            shape, form = self.shape, self.format
            return tfds.features.Image(shape=shape, encoding_format=form)
        if self.kind == "text":
            return tfds.features.Text()
        if self.kind in ("integer", "number"):
            dtype = np.int64 if self.kind == "integer" else np.float32
            return tfds.features.Scalar(dtype=dtype)
        return tfds.features.Tensor(
            shape=self.shape, dtype=np.dtype(self.dtype).type, encoding="bytes"
        )


Fields = Mapping[str, Field]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Records `start` to `stop` of the whole dataset, file `number` of its split."""

    split: str
    number: int
    start: int
    stop: int
    file: str


def plan(name: str, splits: Mapping[str, int], size: int) -> list[Shard]:
    """Cut splits of so many records, one after the other, into shards of `size`."""
    found, first = [], 0
    for split, count in splits.items():
        of = -(-count // size)
        for number in range(of):
            start, stop = number * size, min((number + 1) * size, count)
            file = f"{name}-{split}.array_record-{number:05d}-of-{of:05d}"
            found.append(Shard(split, number, first + start, first + stop, file))
        first += count
    return found


def examples(fields: Fields, columns: Columns) -> Iterable[bytes]:
    """Serialise the records of a chunk of columns as TFDS does."""
    from tensorflow_datasets.proto import tf_example_pb2

    of_example: Any = tf_example_pb2
    if set(columns) != set(fields):
        raise ValueError(
            f"records have fields {sorted(columns)}, planned are {sorted(fields)}"
        )
    order = [(name, fields[name].kind, columns[name]) for name in fields]
    arrays = {n: np.dtype(f.dtype) for n, f in fields.items() if f.kind == "array"}
    for row in range(len(order[0][2])):
        example = of_example.Example()
        feature = example.features.feature
        for name, kind, column in order:
            value: Any = column[row]
            if kind == "integer":
                feature[name].int64_list.value.append(int(value))
            elif kind == "number":
                feature[name].float_list.value.append(float(value))
            elif kind == "array":
                data = np.ascontiguousarray(value, arrays[name]).tobytes()
                feature[name].bytes_list.value.append(data)
            else:
                feature[name].bytes_list.value.append(bytes(value))
        yield example.SerializeToString(deterministic=True)


def write(
    path: pathlib.Path, fields: Fields, chunks: Iterable[Columns]
) -> tuple[int, Callable[[], None]]:
    """Write one shard under another name.

    Returns:
      Bytes of records, and a function that waits for the disk, then renames the file:
      only then is there a shard.

    Raises:
      OSError: it could not be written, a full disk for one; nothing is left of it.
    """
    import array_record.python.array_record_module as module  # pyright: ignore

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    # Pictures are compressed already: zstd would win 3 %, at 3 times the time to read.
    writer = module.ArrayRecordWriter(str(scratch), "group_size:1,snappy")
    size = 0
    with _or_nothing(scratch):
        for columns in chunks:
            for data in examples(fields, columns):
                writer.write(data)
                size += len(data)
        try:
            writer.close()  # what has failed before is told here
        except RuntimeError as error:
            raise OSError(f"{path} could not be written: {error}") from error

    def end() -> None:
        with _or_nothing(scratch):
            with open(scratch, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(scratch, path)

    return size, end


@contextlib.contextmanager
def _or_nothing(scratch: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def finish(
    folder: pathlib.Path,
    name: str,
    version: str,
    fields: Fields,
    shards: Sequence[Shard],
    sizes: Sequence[int],
    *,
    description: str,
    metadata: Mapping[str, Any] | None = None,
    config: str = "",
) -> None:
    """Write what makes a folder of shards a TFDS dataset, its main file last."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({k: f.feature() for k, f in fields.items()})
    features.save_config(str(folder))
    write_json(folder / "metadata.json", dict(metadata or {}))
    splits: dict[str, dict[str, Any]] = {}
    for shard, size in zip(shards, sizes, strict=True):
        split = splits.setdefault(shard.split, {"name": shard.split, "bytes": 0})
        split["bytes"] += size
        split.setdefault("shardLengths", []).append(str(shard.stop - shard.start))
    info = {
        **({"configName": config} if config else {}),
        "description": description,
        "disableShuffling": True,
        "fileFormat": "array_record",
        "moduleName": "unigeo_jax.data.places",
        "name": name,
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split["name"],
                "numBytes": str(split["bytes"]),
                "shardLengths": split["shardLengths"],
            }
            for split in splits.values()
        ],
        "version": version,
    }
    write_json(folder / DATASET_INFO, info)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Write JSON under another name, then rename it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    scratch.write_text(text + "\n", "utf-8")
    os.replace(scratch, path)


def digest(value: Any, *more: bytes) -> str:
    """SHA-256 of JSON and bytes, in hexadecimal."""
    hashed = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
    for data in more:
        hashed.update(data)
    return hashed.hexdigest()


def refuse_another(root: pathlib.Path, folder: pathlib.Path) -> None:
    """Raises ValueError where a dataset lies below `root` that is not in `folder`."""
    found = {p.parent for p in root.glob(f"*/{DATASET_INFO}")} - {folder}
    # A build killed just before its last rename has one too.
    there = {path for path in found if not path.name.startswith(".")}
    if there:
        raise ValueError(
            f"{root} holds a dataset of other places or options; allowed: another"
            f" --name, or remove {', '.join(str(p) for p in sorted(there))}"
        )
