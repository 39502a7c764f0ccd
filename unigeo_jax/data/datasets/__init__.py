# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets by name: TFDS folders of ArrayRecord files, read without TensorFlow."""

import contextlib
import functools
import importlib
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax import jsons, outside
from unigeo_jax.data import images

Record = dict[str, Any]
# Where TFDS finds the class of a feature, the last one in files of old versions.
CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
CLASSES = "tensorflow_datasets.core.features."
INDEX = ("lat", "lon", "cell", "block")
DAMAGED = "damaged fields"  # a key of records that have such: their names


# What array_record says when it is not the record that is bad.
OF_FILES = ("open() failed", "read() failed", "pread() failed", "Input/output error")


class BadRecord(ValueError):
    """A record that cannot be read. Errors of the network and of rights are OSError."""


class TooManyBad(ValueError):
    """More records or images that cannot be read than the budget allows."""


def default_data_dir() -> pathlib.Path:
    """Folder of all datasets: $UNIGEO_DATA_DIR, else in the user's cache folder."""
    if named := os.environ.get("UNIGEO_DATA_DIR"):
        return pathlib.Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "unigeo_jax"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the notes that TFDS logs about each of its steps to itself; not warnings."""
    from absl import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _image(values, channels: int, into=None) -> np.ndarray | None:
    """Pixels, or None for no bytes or a damaged image: its modality is missing."""
    data = values[0] if values else b""
    if not data:
        return None
    try:
        return images.decode(data, channels, into)
    except ValueError:
        return None


def _text(values) -> str:
    return values[0].decode("utf-8", "replace")


def _packed(values, dtype, shape):
    array = np.frombuffer(values[0], dtype).reshape(shape)
    return array if shape else array[()]


def _array(values, dtype, shape) -> np.ndarray:
    return np.array(values, dtype).reshape(shape)


def _scalar(values, dtype):
    return dtype(values[0])


def _decoder(name: str, feature: Any) -> tuple[str, Callable, tuple]:
    """Find how to decode a feature: its kind of list, a function and its arguments."""
    from tensorflow_datasets import features as kinds

    if isinstance(feature, kinds.Image):
        return "bytes_list", _image, (feature.get_tensor_info().shape[-1],)
    if isinstance(feature, kinds.Text):
        return "bytes_list", _text, ()
    stored = feature.get_serialized_info()
    dtype, shape = (
        feature.np_dtype,
        tuple(-1 if n is None else n for n in feature.shape),
    )
    if (
        isinstance(stored, dict)
        or np.dtype(dtype).kind not in "iufb"
        or shape.count(-1) > 1
    ):
        raise ValueError(
            f"field {name!r}: cannot decode {feature}, allowed: images, texts, numbers"
            " and arrays of numbers with at most one open dimension"
        )
    kind = np.dtype(stored.np_dtype).kind
    if kind not in "iufb":
        return "bytes_list", _packed, (dtype, shape)
    values = "float_list" if kind == "f" else "int64_list"
    if not shape:
        return values, _scalar, (np.dtype(dtype).type,)
    return values, _array, (dtype, shape)


def _check_classes(path: pathlib.Path) -> None:
    """Refuses features.json with classes of other modules, which TFDS would import."""
    todo = [jsons.read(path)]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            named = (node.get(key) for key in CLASS_KEYS)
            for name in (x for x in named if isinstance(x, str)):
                if not name.startswith(CLASSES):
                    raise ValueError(
                        f"{path}: class {name[:80]!r}; allowed: {CLASSES}*"
                    )
            todo += node.values()
        elif isinstance(node, list):
            todo += node


@functools.cache
def _parser() -> Callable[[bytes], Any]:
    from tensorflow_datasets.proto import tf_example_pb2

    example: Any = tf_example_pb2
    return example.Example.FromString


class Records(Sequence):
    """Random access to the decoded records of one split.

    A record is a dict: images are uint8 (height, width, channels), None where the
    image is damaged; texts are str; numbers are numpy scalars and arrays.

    Args:
      folder: TFDS folder of one version of a dataset.
      name, split: for messages; the split to read.
      fields: names of the fields to decode, None = all.

    Raises:
      ValueError: unknown split or field, or, on access, a record that cannot be read.
      OSError, MemoryError: on access, what is wrong with this machine, not the record.
    """

    def __init__(self, folder, name: str, split: str, fields=None) -> None:
        import tensorflow_datasets as tfds

        where = f"dataset {name}: {folder}"
        with quiet(), outside.refused(where):
            _check_classes(pathlib.Path(folder, "features.json"))
            builder: Any = tfds.builder_from_directory(folder)
            features = dict(builder.info.features.items())
        if split not in builder.info.splits:
            allowed = ", ".join(builder.info.splits)
            raise ValueError(f"dataset {name}: split {split!r}, allowed {allowed}")
        fields = tuple(features) if fields is None else tuple(fields)
        if unknown := sorted(set(fields) - set(features)):
            allowed = ", ".join(features)
            raise ValueError(f"dataset {name}: fields {unknown}, allowed {allowed}")
        self._name, self._split = name, split
        about = builder.info.splits[split]
        self._files = [pathlib.Path(folder) / file for file in sorted(about.filenames)]
        self._ends = np.cumsum(about.shard_lengths)
        with outside.refused(where):
            self._decoders = [
                (field, *_decoder(field, features[field])) for field in fields
            ]
            self._raw = builder.as_data_source(split).data_source  # bytes, not decoded

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, number):
        return self.read_into(number, {})

    def read_into(self, number: int, into: Mapping[str, np.ndarray]) -> Record:
        """Record `number`; images that fit are decoded into the arrays by field `into`.

        Such an image then is that array itself, not a copy.
        """
        number, count = int(number), len(self._raw)
        if not -count <= number < count:
            raise IndexError(f"record {number} of {count}")
        number %= count
        try:
            return self._decode(self._raw[number], into)
        except (OSError, MemoryError):  # of this machine, not of the record
            raise
        except Exception as error:
            with self.file_of(number).open("rb") as file:  # OSError: not the record's
                file.read(1)
            if any(words in str(error) for words in OF_FILES):
                raise OSError(f"{self.file_of(number)}: {error}") from error
            raise BadRecord(
                f"dataset {self._name}, split {self._split}, record {number}"
                f" of {self.file_of(number)} cannot be read:"
                f" {type(error).__name__}: {error}"
            ) from error

    def file_of(self, number: int) -> pathlib.Path:
        """The file that holds a record."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        return self._files[at]

    def _decode(self, raw: bytes, into: Mapping[str, np.ndarray]) -> Record:
        feature = _parser()(raw).features.feature
        record = {}
        for field, kind, decode, arguments in self._decoders:
            values = getattr(feature[field], kind).value
            if field in into and decode is _image:
                record[field] = _image(values, arguments[0], into[field])
            else:
                record[field] = decode(values, *arguments)
            if record[field] is None and values and values[0]:
                record.setdefault(DAMAGED, []).append(field)
        return record


def read_into(source: Any, number: int, into: Mapping[str, np.ndarray]) -> Record:
    """Record `number` of any source, images in `into` if they can be."""
    able = hasattr(source, "read_into")
    return source.read_into(number, into) if able else source[number]


def readable(source: Sequence[Record], numbers: Iterable[int]) -> Iterator[Record]:
    """Those of the records `numbers` that can be read; names others on stderr."""
    for number in numbers:
        try:
            yield source[int(number)]
        except BadRecord as error:
            print(f"warning: left out: {error}", file=sys.stderr, flush=True)


def _newest(folder: pathlib.Path) -> pathlib.Path | None:
    """The complete version with the highest number directly in `folder`."""
    found = [
        p.parent for p in folder.glob("*/dataset_info.json") if p.parent.name[0] != "."
    ]

    def order(path):
        return [
            (n.isdigit(), int(n) if n.isdigit() else n) for n in path.name.split(".")
        ]

    return max(found, key=order, default=None)


def find(name: str, data_dir=None) -> pathlib.Path:
    """Folder of a dataset, built first if a builder of that name is in this package.

    Args:
      name: `<dataset>` or `<dataset>/<config>`.
      data_dir: folder of all datasets; default: `default_data_dir()`.

    Raises:
      ValueError: no builder of that name and no folder of it in `data_dir`.
    """
    data_dir = pathlib.Path(data_dir or default_data_dir()).expanduser()
    dataset, _, config = name.partition("/")
    if dataset in builders():
        module = importlib.import_module(f"{__name__}.{dataset}")
        return module.build(data_dir, **({"config": config} if config else {}))
    if all(re.fullmatch(r"\w[\w.-]*", part) for part in name.split("/")):
        folder = _newest(data_dir / name)
        if folder is None and not config:
            configs = [p for p in (data_dir / name).glob("*") if _newest(p)]
            folder = _newest(configs[0]) if len(configs) == 1 else None
        if folder is not None:
            return folder
    there = sorted(
        p.name for p in data_dir.glob("*") if p.is_dir() and p.name[0] != "."
    )
    raise ValueError(
        f"dataset {name!r} not found: allowed are {', '.join(builders())} and what"
        f" lies in {data_dir} (now: {', '.join(there) or 'nothing'})"
    )


def _computed(name: str, folder: pathlib.Path, split: str, fields: Any) -> Any:
    """Records of a dataset of this package that computes them; None of any other."""
    dataset = name.partition("/")[0]
    if dataset not in builders():
        return None
    module = importlib.import_module(f"{__name__}.{dataset}")
    return module.records(folder, split, fields) if hasattr(module, "records") else None


def cautions(config: Mapping[str, Any]) -> list[str]:
    """What must be said of a run's inputs, of which its dataset's file knows.

    Such a file has `cautions`. `config`: of the run, or the same as read from JSON.
    """
    dataset = config["data"]["name"].partition("/")[0]
    if dataset not in builders():
        return []
    module = importlib.import_module(f"{__name__}.{dataset}")
    return module.cautions(config) if hasattr(module, "cautions") else []


@functools.cache
def builders() -> tuple[str, ...]:
    """Names of the datasets this package can build: files here with `build`."""
    files = sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py"))
    return tuple(f.stem for f in files if "\ndef build(" in f.read_text("utf-8"))


def load(
    name: str, split: str, data_dir=None, fields: Sequence[str] | None = None
) -> tuple[Records, dict[str, np.ndarray]]:
    """Open a split of a dataset, building the dataset at first use.

    Args:
      name: `earth`, `earth/tiny`, or a TFDS folder in `data_dir`.
      split: `train`, `val`, `test`, `near`, or what the dataset has.
      data_dir: folder of all datasets; default: `default_data_dir()`.
      fields: fields to decode, None = all.

    Returns:
      The records, and in their order arrays `lat`, `lon` (degrees), `cell`, `block`.

    Raises:
      ValueError: unknown dataset, split or field; the message says what is allowed.
    """
    folder = find(name, data_dir)
    source: Any = _computed(name, folder, split, fields)
    source = source or Records(folder, name, split, fields)
    path = folder / f"index-{split}.npz"
    if not path.is_file():
        raise ValueError(f"dataset {name}: {path} is missing; make the dataset again")
    with (
        outside.refused(f"dataset {name}: {path}"),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        index = {key: np.asarray(array) for key, array in arrays.items()}
    shapes = {key: array.shape for key, array in index.items()}
    whole = set(shapes.values()) == {(len(source),)} and {*INDEX} <= {*shapes}
    if not whole or any(index[key].dtype.kind not in "iuf" for key in INDEX):
        raise ValueError(
            f"dataset {name}: {path} has {shapes}, records {len(source)}; allowed:"
            f" numbers {', '.join(INDEX)}, one a record"
        )
    check_places(index["lat"], index["lon"], f"dataset {name}, split {split}")
    return source, index


def check_places(lat: np.ndarray, lon: np.ndarray, where: str) -> None:
    """Refuses coordinates that are none.

    Raises:
      ValueError: the first row whose latitude is outside [-90, 90] degrees, whose
        longitude is outside [-540, 540], or that is not finite; and how many there are.
    """
    bad = ~((np.abs(lat) <= 90.0) & (np.abs(lon) <= 540.0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{where}: record {row} has lat={lat[row]}, lon={lon[row]} ({bad.sum()}"
            " such); allowed: lat in [-90, 90], lon in [-540, 540] degrees"
        )
