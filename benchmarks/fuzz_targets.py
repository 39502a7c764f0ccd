# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers of files from outside, whole files for them, and how those are damaged."""

import io
import json
import pathlib
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import safetensors.numpy

from launch import shared_config
from tests import pth_files
from unigeo_jax import checkpoint, pth, workdir
from unigeo_jax.data import datasets, edge_tables, graph, images
from unigeo_jax.data.own import photos, problems, table
from unigeo_jax.evals import labels
from unigeo_jax.siglip import files as weights

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
VALUES = (
    *(None, True, 0, -1, 2**63, 2**400, 1e308, float("nan"), "", "../x", "\0", [], {}),
    *([[[]]], {"a": []}, "9" * 5000),
)


class Target(NamedTuple):
    """seeds: whole files; parse: raises `allowed` or nothing; share: of all inputs."""

    seeds: list[bytes]
    parse: Callable[[bytes], Any]
    share: float
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


def in_file(folder: pathlib.Path, name: str, parse: Callable[[pathlib.Path], Any]):
    """A parser of bytes from one of a file."""
    path = folder / name

    def run(data: bytes) -> Any:
        path.write_bytes(data)
        return parse(path)

    return run


def zipped(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # pyright: ignore
    return stream.getvalue()


def record_target() -> Target:
    """A record as Records reads one, of an image, texts, numbers and arrays."""
    from unigeo_jax.data.own import shards

    fields = {
        "aerial": shards.Field("image", (4, 4, 3)),
        "text": shards.Field("text"),
        "cell": shards.Field("integer"),
        "lat": shards.Field("number"),
        "dsm": shards.Field("array", (None, 2)),
    }
    columns = {
        "aerial": [images.encode_png(np.zeros((4, 4, 3), np.uint8))],
        "text": [b"a place"],
        "cell": np.array([5]),
        "lat": np.array([48.0]),
        "dsm": [np.zeros((3, 2), np.float32)],
    }
    (seed,) = shards.examples(fields, columns)
    here = datasets.Records.__new__(datasets.Records)
    here._name, here._split = "fuzz", "train"
    here._decoders = [
        (name, *datasets._decoder(name, field.feature()))
        for name, field in fields.items()
    ]
    here._files, here._ends = [pathlib.Path(__file__)], np.array([1])

    def parse(data: bytes) -> None:
        here._raw = [data]
        here[0]

    return Target([seed], parse, 0.35, (datasets.BadRecord,))


def image_targets() -> dict[str, Target]:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    seeds = [images.encode_png(pixels), images.encode_png(pixels[..., :1])]
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, form)
        seeds.append(stream.getvalue())
    for mode in ("CMYK", "I;16", "P", "LA"):
        stream = io.BytesIO()
        image = PIL.Image.new(mode, (5, 5))
        image.save(stream, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
        seeds.append(stream.getvalue())
    return {
        "image": Target(seeds, images.decode, 0.2),
        "photo": Target(seeds, photos.decode, 0.12, (photos.Unusable,)),
    }


def table_targets(folder: pathlib.Path) -> dict[str, Target]:
    text = "id,lat,lon,text,poi,node,time\n" + "\n".join(
        f'{i},{i}.5,{-i},"place, {i}","cafe\tA\t0.{i}",{i},2024-0{i}-01'
        for i in range(1, 6)
    )
    nodes = edge_tables.ranked("abc")
    edges = b"origin,destination,weight\na,b,1\nb,c,2.5\nc,a,0.1\n"
    graph.write(folder / "g", [0, 1, 2], [1, 2, 0], [1.0, 2.0, 3.0], 3)
    about = (folder / "g" / "graph.json").read_bytes()
    return {
        "table": Target(
            [text.encode(), text.replace("place", "Plätze").encode("latin-1")],
            in_file(folder, "table.csv", lambda p: table.read(p, problems.Problems())),
            0.08,
        ),
        "edge list": Target(
            [edges],
            in_file(
                folder,
                "e.csv",
                lambda p: edge_tables.from_table(folder / "o", p, nodes),
            ),
            0.01,
        ),
        "graph": Target(
            [about],
            in_file(folder / "g", "graph.json", lambda p: graph.read(p.parent)),
            0.04,
            mutate=mutate_json,
        ),
    }


def json_targets(folder: pathlib.Path) -> dict[str, Target]:
    from configs import five_modal

    config = json.loads(five_modal.get_config("tiny").to_json())
    about = json.dumps({"config": config, "versions": {}, "constants": {}}).encode()
    arrays = folder / "ckpt" / "default"
    arrays.mkdir(parents=True)
    (arrays / "d").write_bytes(b"abc")
    size, value = checkpoint._sum(arrays / "d")
    sums = json.dumps({"d": [size, value]}).encode()
    tasks = [{"name": "t", "file": "t.csv", "target": "y", "kind": "regression"}]
    rows = "\n".join(f"{i},{i},{i * 0.5}" for i in range(30))
    (folder / "t.csv").write_text(f"lat,lon,y\n{rows}\n", encoding="utf-8")
    config_path = folder / "run"
    config_path.mkdir()
    return {
        "checkpoint sums": Target(
            [sums],
            in_file(
                arrays, checkpoint.SUMS, lambda p: checkpoint.damage(arrays.parent)
            ),
            0.08,
            (),
            mutate_json,
        ),
        "workdir config": Target(
            [about],
            in_file(config_path, "config.json", lambda p: workdir.read_about(p.parent)),
            0.02,
            mutate=mutate_json,
        ),
        "shared config": Target(
            [about],
            in_file(folder, "s.json", shared_config.read),
            0.02,
            mutate=mutate_json,
        ),
        "tasks": Target(
            [json.dumps(tasks).encode()],
            in_file(folder, "tasks.json", lambda p: labels.read_folder(p.parent)),
            0.02,
            mutate=mutate_json,
        ),
    }


def weight_targets(folder: pathlib.Path) -> dict[str, Target]:
    arrays = {"a/kernel": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float16)}

    def read_all(path: pathlib.Path) -> None:
        opened = weights.open_weights(path)
        for key in opened.shapes:
            opened.read(key)

    state = {"w": pth_files.tensor("0", 6, (2, 3), (3, 1))}
    made = pth_files.write_pth(folder / "seed.pth", state, {"0": np.arange(6.0)})
    return {
        "npz": Target(
            [zipped(**arrays)],
            in_file(folder, "w.npz", read_all),
            0.02,
            mutate=mutate_zip,
        ),
        "safetensors": Target(
            [safetensors.numpy.save(arrays)],
            in_file(folder, "w.safetensors", read_all),
            0.02,
            mutate=mutate_safetensors,
        ),
        "pth": Target(
            [made.read_bytes()],
            in_file(folder, "w.pth", pth.read),
            0.02,
            mutate=mutate_zip,
        ),
    }


def targets(folder: pathlib.Path) -> dict[str, Target]:
    return {
        "record": record_target(),
        **image_targets(),
        **table_targets(folder),
        **json_targets(folder),
        **weight_targets(folder),
    }
