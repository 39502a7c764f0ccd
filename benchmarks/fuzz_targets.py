# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers of files from outside, and whole files for them."""

import io
import json
import pathlib
import random
import shutil
import tarfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import safetensors.numpy

from benchmarks.fuzz_mutations import mutate_json, mutate_safetensors, mutate_zip
from launch import shared_config
from tests import pth_files
from unigeo_jax import checkpoint, pth, workdir
from unigeo_jax.data import datasets, edge_tables, graph, images
from unigeo_jax.data.own import foreign, photos, problems, table
from unigeo_jax.evals import labels
from unigeo_jax.siglip import files as weights


class Target(NamedTuple):
    """seeds: whole files; parse: raises `allowed` or nothing; share: of all inputs."""

    seeds: list[bytes]
    parse: Callable[[bytes], Any]
    share: float
    allowed: tuple[type[Exception], ...] = (ValueError,)
    mutate: Callable[[bytes, random.Random], bytes] | None = None


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

    return Target([seed], parse, 0.33, (datasets.BadRecord,))


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


def archive_target(folder: pathlib.Path) -> Target:
    """A WebDataset of two samples, as launch/convert.py reads it."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (5, 5)).save(stream, "PNG")
    about = json.dumps({"lat": 1, "lon": 2.5, "people": 7, "at": {"a": 1}}).encode()
    files = {
        f"{i}.{kind}": data
        for i in range(2)
        for kind, data in (
            *(("png", stream.getvalue()), ("json", about), ("txt", b"a place")),
        )
    }
    seeds = []
    for mode in ("w", "w:gz"):
        packed = io.BytesIO()
        opened: Any = {"fileobj": packed, "mode": mode}
        with tarfile.open(**opened) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        seeds.append(packed.getvalue())
    out, options = folder / "converted", foreign.Options(max_bad=1.0)

    def parse(path: pathlib.Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        foreign.convert("webdataset", path, out, options)

    return Target(seeds, in_file(folder, "a.tar", parse), 0.01)


def checkpoint_targets(folder: pathlib.Path) -> dict[str, Target]:
    """The two files of a step that say what is whole, each in a step of its own."""
    times = dict.fromkeys(("init_timestamp_nsecs", "commit_timestamp_nsecs"), 1)
    about = json.dumps({"item_handlers": {"default": checkpoint.SUMMED}} | times)
    sums = ""
    for name in ("1", "2"):
        arrays = folder / name / "default"
        arrays.mkdir(parents=True)
        (arrays / "d").write_bytes(b"abc")
        sums = json.dumps({"d": checkpoint._sum(arrays / "d")})
        (arrays / checkpoint.SUMS).write_text(sums, encoding="utf-8")
        (folder / name / checkpoint.METADATA).write_text(about, encoding="utf-8")

    def parse(name: str) -> Callable[[pathlib.Path], Any]:
        return lambda _: checkpoint.damage(folder / name)

    at = folder / "1" / "default"
    return {
        "checkpoint sums": Target(
            [sums.encode()],
            in_file(at, checkpoint.SUMS, parse("1")),
            0.06,
            (),
            mutate_json,
        ),
        "checkpoint metadata": Target(
            [about.encode()],
            in_file(folder / "2", checkpoint.METADATA, parse("2")),
            0.02,
            (),
            mutate_json,
        ),
    }


def task_targets(folder: pathlib.Path) -> dict[str, Target]:
    tasks = [{"name": "t", "file": "t.csv", "target": "y", "kind": "regression"}]
    listed = json.dumps(tasks).encode()
    rows = "\n".join(f"{i},{i},{i * 0.5}" for i in range(30))
    table = f"lat,lon,y\n{rows}\n".encode()
    for name in ("listed", "table"):
        (folder / name).mkdir()
        (folder / name / "tasks.json").write_bytes(listed)
        (folder / name / "t.csv").write_bytes(table)

    def parse(path: pathlib.Path) -> Any:
        return labels.read_folder(path.parent)

    return {
        "tasks": Target(
            [listed],
            in_file(folder / "listed", "tasks.json", parse),
            0.02,
            mutate=mutate_json,
        ),
        "task table": Target(
            [table, table + b"1,2," + b"x" * 200_000],
            in_file(folder / "table", "t.csv", parse),
            0.01,
        ),
    }


def json_targets(folder: pathlib.Path) -> dict[str, Target]:
    from configs import five_modal

    config = json.loads(five_modal.get_config("tiny").to_json())
    about = json.dumps({"config": config, "versions": {}, "constants": {}}).encode()
    for name in ("steps", "tasks", "run"):
        (folder / name).mkdir()
    return {
        **checkpoint_targets(folder / "steps"),
        **task_targets(folder / "tasks"),
        "workdir config": Target(
            [about],
            in_file(
                folder / "run", "config.json", lambda p: workdir.read_about(p.parent)
            ),
            0.02,
            mutate=mutate_json,
        ),
        "shared config": Target(
            [about],
            in_file(folder, "s.json", shared_config.read),
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
        "archive": archive_target(folder),
        **json_targets(folder),
        **weight_targets(folder),
    }
