# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How whole files are damaged: as bytes, or with a look at their format."""

import io
import json
import random
import struct
import warnings
import zipfile
from typing import Any

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
VALUES = (
    *(None, True, 0, -1, 2**63, 2**400, 1e308, float("nan"), "", "../x", "\0", [], {}),
    *([[[]]], {"a": []}, "9" * 5000),
)


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
        else:
            out[at:at] = draw.choice((b"\0", b"\n", b",", b'"', b"\xff\xfe", b"1e999"))
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
    return json.dumps(tree[0] if tree else None).encode()


def mutate_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Changes the header, with its length put right; or the bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(data, draw)
    (size,) = struct.unpack("<Q", data[:8])
    header = mutate_json(data[8 : 8 + size], draw)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]
