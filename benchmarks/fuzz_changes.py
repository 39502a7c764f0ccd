# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How whole files are damaged: blindly, or so that their format still holds."""

import io
import itertools
import json
import pathlib
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
VALUES = (
    *(None, True, 0, -1, 2**63, 2**400, 1e308, float("nan"), "", "../x", "\0", [], {}),
    *([[[]]], {"a": []}, "9" * 5000),
)
LONG = 200_000  # more letters than csv takes in a cell, more lists than Python's stack


class Target(NamedTuple):
    """seeds: whole files; parse: raises `allowed` or nothing."""

    seeds: list[bytes]
    parse: Callable[[bytes], Any]
    allowed: tuple[type[Exception], ...] = (ValueError,)
    mutate: Callable[[bytes, random.Random], bytes] | None = None


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """One to four changes that know nothing of the format."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(out) + 1)
        kind = draw.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del out[at : at + draw.choice((1, 4, 64, 10**6))]
        elif kind == 2:
            out[at:at] = out[at : at + draw.choice((1, 8, 100))] * draw.choice(
                (1, 2, 50)
            )
        elif kind == 3:
            size = draw.choice((1, 2, 4, 8))
            value = draw.choice(EXTREMES) % 256**size
            out[at : at + size] = value.to_bytes(size, draw.choice(("big", "little")))
        elif kind == 4:
            out[at : at + 4] = draw.randbytes(draw.choice((0, 4, 16)))
        elif draw.random() < 0.98:
            out[at:at] = draw.choice((b"\0", b"\n", b",", b'"', b"\xff\xfe", b"1e999"))
        else:
            out[at:at] = draw.choice((b"9", b"[")) * LONG
    return bytes(out)


def mutate_zip(data: bytes, draw: random.Random) -> bytes:
    """Mutates a member and zips it again, so that its checksum holds; or the bytes."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice([*members])
    if draw.random() < 0.1:
        members[draw.choice(("../x.npy", "/x.npy", "a/data.pkl", ""))] = members.pop(
            name
        )
    else:
        members[name] = mutate_bytes(members[name], draw)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for key, value in members.items():
            archive.writestr(key or "x", value)
    return stream.getvalue()


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    """Replaces, drops or adds a value anywhere in the tree; or changes the bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(data, draw)
    if draw.random() < 0.01:
        return draw.choice((b"[", b'{"a":')) * draw.choice((99, 900, 100_000))
    tree = [json.loads(data)]
    node: Any = tree
    while True:
        keys = [*node] if isinstance(node, dict) else [*range(len(node))]
        if not keys:
            break
        key = draw.choice(keys)
        below = node[key]
        if isinstance(below, dict | list) and below and draw.random() < 0.7:
            node = below
            continue
        if draw.random() < 0.2:
            del node[key]
        else:
            node[key] = draw.choice(VALUES)
        break
    text = json.dumps(tree[0] if tree else None).encode()
    deep = b"[" * LONG + b"]" * LONG if draw.random() < 0.1 else b'"../x"'
    return text.replace(b'"../x"', deep)


def mutate_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Changes the header, with its length put right; or the bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(data, draw)
    (size,) = struct.unpack("<Q", data[:8])
    header = mutate_json(data[8 : 8 + size], draw)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutate_tar(data: bytes, draw: random.Random) -> bytes:
    """Changes a member, its name, size or kind, with sums put right; or the bytes."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [
            (m, file.read() if (file := archive.extractfile(m)) else b"")
            for m in archive.getmembers()
        ]
    at = draw.randrange(len(members))
    about, content = members[at]
    kind = draw.randrange(4)
    if kind == 0:
        about.name = draw.choice(
            ("../x.jpg", "/x.json", "a\\b.txt", ".json", "x." + "a" * 300, "\udcff.txt")
        )
    elif kind == 1:
        about.type = draw.choice([*b"123456789xgLKSV\0"]).to_bytes()
        about.linkname = draw.choice(("/etc/passwd", "../x", "0.jpg"))
    else:
        change = mutate_json if about.name.endswith(".json") else mutate_bytes
        content = change(content, draw)
    about.size = len(content) if kind else draw.choice((len(content), 0, 2**33))
    members[at] = about, content
    stream, form = io.BytesIO(), draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for member, held in members:
            stream.write(member.tobuf(form, errors="surrogateescape"))
            stream.write(held + bytes(-len(held) % 512))
    return stream.getvalue()


# Columns of every kind that a table of other hands can hold, of so many rows.
_CELLS: tuple[tuple[list[Any], Any], ...] = (
    ([None], pa.null()),
    ([True, None], pa.bool_()),
    ([0, -1, 2**63 - 1, -(2**63)], pa.int64()),
    ([2**64 - 1, 0], pa.uint64()),
    ([-128, None], pa.int8()),
    ([float("nan"), float("inf"), -1e308, None, 90.0], pa.float64()),
    (["", "\0", "1e999", "9" * 5000, "../x", None, "\U0010ffff"], pa.string()),
    ([b"\xff\xfe\0", b"", None, b"\1" * 30], pa.binary()),
    ([b"123"], pa.binary(3)),
    ([[], [1.0, None], None, [float("inf")] * 9], pa.list_(pa.float64())),
    ([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    ([["a", None], []], pa.list_(pa.string())),
    ([{"kind": "a", "name": None, "km": "x"}, None], None),
    ([[{"kind": 1, "name": "b", "km": -1.0}], [None]], None),
    ([[[b"x"]], None], None),
    ([2**62, -(2**62), None], pa.timestamp("us")),
    ([0, 1], pa.timestamp("ns", "Europe/Berlin")),
    ([2**31 - 1, -(2**31)], pa.date32()),
    ([2**62, None], pa.duration("us")),
    ([1, None], pa.time64("ns")),
    (["a", "b", None], pa.dictionary(pa.int8(), pa.string())),
    ([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    ([12, None], pa.decimal128(38, 10)),
)


def column(draw: random.Random, rows: int) -> pa.Array:
    values, kind = draw.choice(_CELLS)
    return pa.array([*itertools.islice(itertools.cycle(values), rows)], kind)


def mutate_parquet(data: bytes, draw: random.Random) -> bytes:
    """Another column, name, number of rows or metadata, written anew; or the bytes."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    table: Any = pyarrow.parquet.read_table(io.BytesIO(data))
    names, about = table.column_names, dict(table.schema.metadata or {})
    at, kind = draw.randrange(len(names)), draw.randrange(8)
    if kind == 0:
        table = table.drop_columns(names[at])
    elif kind == 1:
        names[at] = draw.choice((*names, "geometry", "embedding", "", "\0", "time"))
        table = table.rename_columns(names)
    elif kind == 2:
        geo = mutate_json(about.get(b"geo", b'{"columns": {}}'), draw)
        table = table.replace_schema_metadata(about | {b"geo": geo})
    elif kind == 3:
        table = table.slice(draw.randrange(3), draw.choice((0, 1, 2)))
    else:
        table = table.set_column(at, names[at], column(draw, len(table)))
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def in_file(folder: pathlib.Path, name: str, parse: Callable[[pathlib.Path], Any]):
    """A parser of bytes from one of a file."""
    path = folder / name

    def run(data: bytes) -> Any:
        path.write_bytes(data)
        return parse(path)

    return run


Change = Callable[[bytes, random.Random], bytes]


def of_files(
    folder: pathlib.Path,
    kinds: Mapping[str, Change],
    parse: Callable[[pathlib.Path], Any],
    allowed: tuple[type[Exception], ...] = (ValueError,),
) -> Target:
    """A parser of whole files that lie in `folder`, one of them damaged at a time.

    kinds: how a file of each name is changed. An input's first byte is the number of
    its file, which `parse` is given the path of and which is whole again afterwards.
    """
    names = [*kinds]
    whole = {name: (folder / name).read_bytes() for name in names}

    def name_of(data: bytes) -> str:
        return names[data[0] % len(names)] if data else names[0]

    def run(data: bytes) -> None:
        path = folder / name_of(data)
        path.write_bytes(data[1:])
        try:
            parse(path)
        finally:
            path.write_bytes(whole[path.relative_to(folder).as_posix()])

    def change(data: bytes, draw: random.Random) -> bytes:
        return data[:1] + kinds[name_of(data)](data[1:], draw)

    seeds = [bytes([i]) + whole[name] for i, name in enumerate(names)]
    return Target(seeds, run, allowed, change)
