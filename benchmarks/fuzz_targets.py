# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers of files from outside, and whole files for them."""

import io
import json
import pathlib
from collections.abc import Callable

import numpy as np
import PIL.Image
import safetensors.numpy

from benchmarks import fuzz_folders, fuzz_tables
from benchmarks.fuzz_changes import (
    Change,
    Target,
    in_file,
    mutate_bytes,
    mutate_json,
    mutate_safetensors,
    mutate_zip,
    of_files,
)
from configs import five_modal
from launch import shared_config
from tests import pth_files
from unigeo_jax import pth, workdir
from unigeo_jax.data import datasets, images
from unigeo_jax.data.own import photos, problems, table
from unigeo_jax.evals import labels
from unigeo_jax.siglip import files as weights


def record(_: pathlib.Path) -> Target:
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

    return Target([seed], parse, (datasets.BadRecord,))


def _images() -> list[bytes]:
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
    return seeds


def image(_: pathlib.Path) -> Target:
    return Target(_images(), images.decode)


def photo(_: pathlib.Path) -> Target:
    return Target(_images(), photos.decode, (photos.Unusable,))


def places(folder: pathlib.Path) -> Target:
    text = "id,lat,lon,text,poi,node,time\n" + "\n".join(
        f'{i},{i}.5,{-i},"place, {i}","cafe\tA\t0.{i}",{i},2024-0{i}-01'
        for i in range(1, 6)
    )
    return Target(
        [text.encode(), text.replace("place", "Plätze").encode("latin-1")],
        in_file(folder, "table.csv", lambda p: table.read(p, problems.Problems())),
    )


def _about() -> bytes:
    config = json.loads(five_modal.get_config("tiny").to_json())
    return json.dumps({"config": config, "versions": {}, "constants": {}}).encode()


def workdir_config(folder: pathlib.Path) -> Target:
    parse = in_file(folder, "config.json", lambda p: workdir.read_about(p.parent))
    return Target([_about()], parse, mutate=mutate_json)


def shared(folder: pathlib.Path) -> Target:
    parse = in_file(folder, "s.json", shared_config.read)
    return Target([_about()], parse, mutate=mutate_json)


def tasks(folder: pathlib.Path) -> Target:
    """tasks.json, and the table that it names."""
    rows = "\n".join(f"{i},{i},{i * 0.5},{'ab'[i % 2]}" for i in range(40))
    (folder / "t.csv").write_text(f"lat,lon,y,group\n{rows}\n", encoding="utf-8")
    one = {"name": "t", "file": "t.csv", "target": "y", "kind": "regression"}
    two = one | {"name": "u", "target": "group", "kind": "classification"}
    whole = [one | {"group_columns": ["group"], "transform": "log1p"}, two]
    (folder / "tasks.json").write_text(json.dumps(whole))
    kinds: dict[str, Change] = {"t.csv": mutate_bytes, "tasks.json": mutate_json}
    return of_files(folder, kinds, lambda p: labels.read_folder(p.parent))


def _weights(path: pathlib.Path) -> None:
    opened = weights.open_weights(path)
    for key in opened.shapes:
        opened.read(key)


ARRAYS = {"a/kernel": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float16)}


def npz(folder: pathlib.Path) -> Target:
    stream = io.BytesIO()
    np.savez(stream, **ARRAYS)  # pyright: ignore
    parse = in_file(folder, "w.npz", _weights)
    return Target([stream.getvalue()], parse, mutate=mutate_zip)


def tensors(folder: pathlib.Path) -> Target:
    parse = in_file(folder, "w.safetensors", _weights)
    seed = safetensors.numpy.save(ARRAYS)
    return Target([seed], parse, mutate=mutate_safetensors)


def torch_file(folder: pathlib.Path) -> Target:
    state = {"w": pth_files.tensor("0", 6, (2, 3), (3, 1))}
    made = pth_files.write_pth(folder / "seed.pth", state, {"0": np.arange(6.0)})
    parse = in_file(folder, "w.pth", pth.read)
    return Target([made.read_bytes()], parse, mutate=mutate_zip)


# Share of all inputs, and what makes a parser's target in an empty folder.
TARGETS: dict[str, tuple[float, Callable[[pathlib.Path], Target]]] = {
    "record": (0.328, record),
    "image": (0.2, image),
    "photo": (0.14, photo),
    "table": (0.02, places),
    "checkpoint sums": (0.02, fuzz_folders.sums),
    "workdir config": (0.008, workdir_config),
    "shared config": (0.008, shared),
    "npz": (0.03, npz),
    "safetensors": (0.05, tensors),
    "pth": (0.04, torch_file),
    "tasks": (0.02, tasks),
    "place table": (0.02, fuzz_tables.place_table),
    "edge list": (0.01, fuzz_tables.edge_list),
    "vectors": (0.01, fuzz_tables.vectors),
    "embed table": (0.008, fuzz_tables.embed),
    "webdataset": (0.01, fuzz_tables.webdataset),
    "hf parquet": (0.01, fuzz_tables.hf_parquet),
    "raster": (0.008, fuzz_tables.raster),
    "vector file": (0.01, fuzz_tables.vector_file),
    "vocabulary": (0.02, fuzz_folders.vocabulary),
    "model": (0.006, fuzz_folders.model),
    "program": (0.002, fuzz_folders.program),
    "dataset": (0.01, fuzz_folders.dataset),
    "graph": (0.01, fuzz_folders.graph),
    "checkpoint": (0.002, fuzz_folders.saved),
}


def make(name: str, folder: pathlib.Path) -> Target:
    """One target, with its files in a folder of its own."""
    here = folder / name.replace(" ", "_")
    here.mkdir(parents=True)
    return TARGETS[name][1](here)
