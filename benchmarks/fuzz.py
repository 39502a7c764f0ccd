# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Feeds damaged files to every parser of files from outside; none may do but refuse.

python benchmarks/fuzz.py [--inputs=1000000] [--seed=0] [--out=FILE] [--only NAME ...]

Each input is a whole file of the right kind, mutated: bytes flipped, cut, repeated or
replaced; numbers replaced by extreme ones; members of a zip mutated and zipped again
with a right checksum; values of JSON replaced by others. A parser may return, or raise
the errors of its docstring. A crash ends this process; more than --seconds, more memory
than --memory, or another exception is reported with the bytes. Writes JSON.
"""

import argparse
import collections
import io
import json
import logging
import os
import pathlib
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import ml_dtypes  # noqa: F401  (numpy then knows bfloat16)
import numpy as np
import PIL.Image
import safetensors.numpy

from benchmarks import protocol
from launch import shared_config
from tests import pth_files
from unigeo_jax import checkpoint, pth, workdir
from unigeo_jax.data import datasets, edge_tables, graph, images
from unigeo_jax.data.own import photos, problems, table
from unigeo_jax.evals import labels
from unigeo_jax.siglip import files as weights

SECONDS, MEMORY_MB = 5, 1024
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
    np.savez(stream, **arrays)
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
    nodes = folder / "nodes.csv"
    nodes.write_text("node,lat,lon\na,1,2\nb,3,4\nc,5,6\n", encoding="utf-8")
    edges = b"origin,destination,weight\na,b,1\nb,c,2.5\nc,a,0.1\n"
    graph.write(folder / "g", [0, 1, 2], [1, 2, 0], [1.0, 2.0, 3.0], 3)
    about = (folder / "g" / "graph.json").read_bytes()
    return {
        "table": Target(
            [text.encode(), text.replace(",", ", ").encode("latin-1")],
            in_file(folder, "t.csv", lambda p: table.read(p, problems.Problems())),
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


class TooLong(BaseException):
    """A parser took longer than a second is worth."""


def bound(megabytes: int) -> None:
    """Memory that a parser may take beyond what is there now."""

    def late(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = size * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
    resource.setrlimit(
        resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1])
    )


def fuzz(
    target: Target, count: int, draw: random.Random, seconds: int = SECONDS
) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    """Outcomes by name, and what must not be: with the bytes, in hexadecimal."""
    outcomes: collections.Counter[str] = collections.Counter()
    bad: list[dict[str, Any]] = []
    change = target.mutate or mutate_bytes
    for _ in range(count):
        data = change(draw.choice(target.seeds), draw)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            target.parse(data)
            outcomes["accepted"] += 1
        except target.allowed:
            outcomes["refused"] += 1
        except (Exception, TooLong) as error:
            name = type(error).__name__
            outcomes[f"bad: {name}"] += 1
            if outcomes[f"bad: {name}"] <= 3:
                bad.append(
                    {"error": f"{name}: {error}"[:500], "bytes": data[:4000].hex()}
                )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return outcomes, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help="MB")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=pathlib.Path, default="runs/fuzz.json")
    options = parser.parse_args()
    inputs = 20_000 if options.quick else options.inputs
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    shm = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
    rows = {}
    print(
        f"{'parser':16}{'inputs':>10}{'accepted':>10}{'refused':>10}{'bad':>6}   per s"
    )
    with tempfile.TemporaryDirectory(dir=shm) as name:
        found = targets(pathlib.Path(name))
        bound(options.memory)
        for kind, target in found.items():
            if options.only and kind not in options.only:
                continue
            count, began = round(target.share * inputs), time.monotonic()
            draw = random.Random(f"{options.seed} {kind}")
            outcomes, bad = fuzz(target, count, draw, options.seconds)
            rate = count / (time.monotonic() - began)
            rows[kind] = {"outcomes": dict(outcomes), "rate": rate, "bad": bad}
            wrong = sum(n for word, n in outcomes.items() if word.startswith("bad"))
            print(
                f"{kind:16}{count:10,}{outcomes['accepted']:10,}"
                f"{outcomes['refused']:10,}{wrong:6}  {rate:,.0f}",
                flush=True,
            )
            for one in bad:
                print(f"  {one['error']}")
    total = sum(sum(row["outcomes"].values()) for row in rows.values())
    print(f"{total:,} inputs")
    report = {"rows": rows, "machine": protocol.machine()}
    protocol.write(options.out, report)
    sys.exit(1 if any(row["bad"] for row in rows.values()) else 0)


if __name__ == "__main__":
    main()
