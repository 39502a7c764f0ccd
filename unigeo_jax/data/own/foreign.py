# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""WebDataset archives and Hugging Face Parquet as a table of places and image files.

Nothing is extracted by its name: images are written under numbers of our own, and a
member that is no plain file below the archive's root is refused. What an image is, and
how large, is read from its header before it is written; it is never decoded here.
"""

import itertools
import json
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

from unigeo_jax import jsons, outside
from unigeo_jax.data.own import parsing, patch_folders, photos, problems, table, tars

PICTURES = ("aerial", "street")  # columns that images go to
SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val"}
TEXTS = ("text", "caption", "txt")
NAME = re.compile(r"((?:.*/|)[^./][^./]*)\.([^/]+)")  # WebDataset: key, extension
MOST_OF_SAMPLE = 4 * photos.MAX_BYTES
MOST_TEXT = 1_000_000  # bytes of a .json, which is refused, or a .txt, which is cut
TARS = (".tar", ".tar.gz", ".tgz")
BATCH = 64  # rows of Parquet in memory at a time

Sample = tuple[dict[str, Any], dict[str, list[bytes]]]  # values, images by column


def tar_samples(
    path: pathlib.Path, image: str, found: problems.Problems
) -> Iterator[Sample]:
    """Samples of a WebDataset archive: files in a row that share a key.

    Values come from the .json, text from .txt; an image whose extension has a part
    `aerial` or `street` (`7.street.0.jpg`) goes to that column, else to `image`.
    """
    files = (
        (*named.groups(), data)
        for name, data in tars.members(path, found)
        if (named := NAME.fullmatch(name))
    )
    groups = itertools.groupby(files, key=lambda file: file[0])
    for number, (key, group) in enumerate(groups):
        values: dict[str, Any] = {"id": f"{path.stem}/{key}"}
        pictures: dict[str, list[bytes]] = {}
        size = 0
        for _, kind, data in group:
            size += len(data)
            if size > MOST_OF_SAMPLE:
                raise ValueError(
                    f"{path}: sample {key[:80]} has more than {MOST_OF_SAMPLE} bytes"
                )
            parts = kind.lower().split(".")
            if parts[-1] == "json":
                values |= _json(number, data, found)
            elif parts[-1] == "txt":
                values["text"] = data[:MOST_TEXT].decode("utf-8", "replace")
            elif f".{parts[-1]}" in photos.SUFFIXES:
                column = next((p for p in parts if p in PICTURES), image)
                pictures.setdefault(column, []).append(data)
        yield values, pictures


def _json(number: int, data: bytes, found: problems.Problems) -> dict[str, Any]:
    """Values of a JSON object, those of objects within it too."""
    try:
        given = jsons.parse(data) if len(data) <= MOST_TEXT else None
    except ValueError:
        given = None
    if not isinstance(given, dict):
        found.add(number, "json", "no JSON object", problems.MASKED)
        return {}
    flat = dict(given)
    for value in given.values():
        if isinstance(value, dict):
            flat |= {k: v for k, v in value.items() if k not in flat}
    return flat


def parquet_samples(
    path: pathlib.Path, image: str, found: problems.Problems
) -> Iterator[Sample]:
    """Rows of a Parquet file of Hugging Face: images are structs with `bytes`.

    A column named aerial or street keeps its name, the others go to `image`. The split
    is the file's (`train-00000-of-00006.parquet`) unless there is a column.
    """
    split = re.match(r"[a-z]+", path.stem)
    with outside.refused(path), pyarrow.parquet.ParquetFile(path) as file:
        row = 0
        for batch in file.iter_batches(batch_size=BATCH):
            kinds = {f.name: f.type for f in batch.schema}
            holds = [name for name, kind in kinds.items() if _is_image(kind)]
            for record in batch.to_pylist():
                values = {k: v for k, v in record.items() if k not in holds}
                values.setdefault("split", split[0] if split else "")
                values.setdefault("id", f"{path.stem}/{row}")
                pictures: dict[str, list[bytes]] = {}
                for name in holds:
                    column = name if name in PICTURES else image
                    given = record[name]
                    for one in given if isinstance(given, list) else [given]:
                        data = one.get("bytes") if isinstance(one, dict) else one
                        if data:
                            pictures.setdefault(column, []).append(data)
                yield values, pictures
                row += 1


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


class Rows:
    """Samples become rows of a table and image files in a folder.

    Args:
      folder: where `images/` is made.
      lat, lon: names of the values; "" = whatever `table` knows.
      found: takes what is wrong, by the number of the sample.
    """

    def __init__(
        self, folder: pathlib.Path, lat: str, lon: str, found: problems.Problems
    ) -> None:
        self._folder, self._found, self.rows = folder, found, []
        self._lat, self._lon = (
            (lat,) if lat else table.LAT,
            (lon,) if lon else table.LON,
        )

    def add(self, values: Mapping[str, Any], pictures: dict[str, list[bytes]]) -> None:
        """Keep a sample whose position can be used, with the images that can be."""
        number = len(self.rows)
        lower = {str(k).lower(): v for k, v in values.items()}
        at = [
            next(
                (parsing.number(lower[n.lower()]) for n in names if n.lower() in lower),
                None,
            )
            for names in (self._lat, self._lon)
        ]
        row: dict[str, Any] = {}
        for key, value in lower.items():
            if isinstance(value, str):
                value = value.encode("utf-8", "replace").decode()  # no lone surrogates
            if isinstance(value, bool | int | float | str):
                row[re.sub(r"\W", "_", key)] = value
        for name in TEXTS:
            if isinstance(row.get(name), str):
                row["text"] = row[name]
                break
        if split := str(lower.get("split") or "").lower():
            row["split"] = SPLITS.get(split, split)
        row |= {"lat": at[0], "lon": at[1]}
        for column, images in pictures.items():
            names = [self._write(number, column, k, d) for k, d in enumerate(images)]
            row[column] = ";".join(name for name in names if name)
        self.rows.append(row)

    def _write(self, number: int, column: str, view: int, data: bytes) -> str:
        """Path of a written image below the folder; "" for one that is refused."""
        try:
            suffix = photos.header(data)
        except photos.Unusable as error:
            self._found.add(number, column, str(error), problems.MASKED)
            return ""
        name = f"images/{number // 1000:06d}/{number:09d}-{column}-{view}{suffix}"
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def finish(self) -> pathlib.Path:
        """Write places.parquet; numbers stay numbers where all of a column are."""
        names = sorted({name for row in self.rows for name in row})
        columns = {}
        for name in names:
            values = [row.get(name) for row in self.rows]
            given = [v for v in values if v is not None]
            if all(isinstance(v, bool | int | float) for v in given):
                columns[name] = pa.array(
                    [None if v is None else parsing.number(v) for v in values],
                    pa.float64(),
                )
            else:
                columns[name] = pa.array(
                    [None if v is None else str(v) for v in values], pa.string()
                )
        path = self._folder / "places.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path


class Options(NamedTuple):
    """How samples are read; see `Rows`, `patch_folders.geobench` and problems."""

    lat: str = ""
    lon: str = ""
    image: str = "aerial"
    partition: str = "default"
    positions: str = ""
    max_bad: float = 0.01


def convert(
    kind: str, source: pathlib.Path, out: pathlib.Path, options: Options
) -> tuple[int, int]:
    """Write `out` with places.parquet and images or chips; places, and bad samples.

    Raises:
      ValueError: nothing to read, not such files, `out` is there already.
      problems.OverBudget: more bad samples than allowed.
    """
    if out.exists():
        raise ValueError(f"--out: {out} is there already; allowed: a new folder")
    found, part = problems.Problems(), out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        rows = Rows(part, options.lat, options.lon, found)
        for values, pictures in _samples(kind, source, part, options, found):
            rows.add(values, pictures)
        if not rows.rows:
            raise ValueError(f"--source: {source} holds nothing of {kind}")
        found.check(len(rows.rows), options.max_bad)
        rows.finish()
        text = json.dumps(found.plain(), indent=1)
        (part / "report.json").write_text(text, "utf-8")
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(rows.rows), len(found.bad_rows)


def _samples(
    kind: str,
    source: pathlib.Path,
    out: pathlib.Path,
    options: Options,
    found: problems.Problems,
) -> Iterator[Sample]:
    if kind == "bigearthnet":
        yield from ((r, {}) for r in patch_folders.bigearthnet(source, out, found))
    elif kind == "geobench":
        positions = pathlib.Path(options.positions) if options.positions else None
        about = (options.partition, positions)
        made = patch_folders.geobench(source, out, found, *about)
        yield from ((row, {}) for row in made)
    else:
        read = tar_samples if kind == "webdataset" else parquet_samples
        ends = TARS if kind == "webdataset" else (".parquet",)
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for path in files:
            if path.name.endswith(ends) and path.is_file():
                try:
                    yield from read(path, options.image, found)
                except pa.ArrowMemoryError:
                    raise
                except (pa.ArrowException, OverflowError) as error:
                    raise ValueError(f"{path}: {error}") from error
