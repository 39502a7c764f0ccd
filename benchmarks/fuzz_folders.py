# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parsers of folders: models, datasets, graphs, checkpoints; and of vocabularies."""

import contextlib
import hashlib
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import sentencepiece

from benchmarks.fuzz_changes import (
    Change,
    Target,
    mutate_bytes,
    mutate_json,
    mutate_safetensors,
    mutate_zip,
    of_files,
)
from tests import small_models
from unigeo_jax import checkpoint, domains, infer
from unigeo_jax.data import datasets, images, tokenizer
from unigeo_jax.data import graph as graphs
from unigeo_jax.data.own import shards

PLACES = np.array([[48.0, 13.5], [-1.5, 179.0], [90.0, -180.0]], np.float32)


def small_model(folder: pathlib.Path) -> pathlib.Path:
    """A model in `folder`, made once for all targets beside it."""
    made = folder.parent / "small_model"
    if not made.exists():
        small_models.write(made)
    return pathlib.Path(shutil.copytree(made, folder / "model"))


def vocabulary(folder: pathlib.Path) -> Target:
    """A SentencePiece model and a tokenizer.json."""
    import tokenizers

    captions = [f"Place {i}\n{i % 97} km NE of Zürich, town {i * 7}" for i in range(99)]
    tokenizer.train(captions, folder / "v.model", size=320)
    with (folder / "s.model").open("wb") as file:  # small: no table of letters
        sentencepiece.SentencePieceTrainer.train(
            **{"sentence_iterator": iter(captions), "model_writer": file},
            **{"vocab_size": 60, "normalization_rule_name": "identity"},
            minloglevel=1,
        )
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore
    made.normalizer = tokenizers.normalizers.NFKC()  # pyright: ignore
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=90, show_progress=False, special_tokens=["<unk>"]
    )
    made.train_from_iterator(captions, trainer)
    made.save(str(folder / "tokenizer.json"))

    def parse(path: pathlib.Path) -> None:
        for lower in (False, True):
            opened = tokenizer.load.__wrapped__(path, lower)
            ids = opened.encode("A Place, 5 km NE of Zürich\n\0")
            opened.decode(ids)
            opened.id_of("<pad>")

    kinds: dict[str, Change] = {"v.model": mutate_bytes, "s.model": mutate_bytes}
    kinds |= {"tokenizer.json": mutate_json}
    return of_files(folder, kinds, parse)


def model(folder: pathlib.Path, tower: str = "other") -> Target:
    """An exported model; the hashes of its config are those of the damaged files.

    A tower of coordinates is compiled and run as it is loaded, another one is not.
    """
    here = small_model(folder)
    known = {"lat": PLACES[:, 0].copy(), "lon": PLACES[:, 1].copy()}
    safetensors.numpy.save_file(known, here / "places.safetensors")
    domains.Domain.around(PLACES[:, 0], PLACES[:, 1], 100.0).write(here / "domain.npz")
    about = json.loads((here / "config.json").read_text("utf-8"))
    about["places"] = "places.safetensors"
    about["towers"] = {tower: about["towers"]["coords"]}

    def tell() -> None:
        for path in here.glob("*.*"):
            if path.name != "config.json":
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                about["files"][path.name] = {"sha256": digest}
        (here / "config.json").write_text(json.dumps(about), encoding="utf-8")

    def parse(path: pathlib.Path) -> None:
        if path.name != "config.json":
            tell()
        opened = infer.load(here)
        opened.supported(lat=PLACES[:, 0], lon=PLACES[:, 1])
        opened.explain(lat=1.0, lon=2.0)

    tell()
    kinds: dict[str, Change] = {"config.json": mutate_json}
    kinds |= {"model.safetensors": mutate_safetensors}
    if tower == infer.COORDS:
        return of_files(here, kinds | {"coords.jax": mutate_bytes}, parse)
    kinds |= {"domain.npz": mutate_zip, "places.safetensors": mutate_safetensors}
    return of_files(here, kinds, parse)


def program(folder: pathlib.Path) -> Target:
    return model(folder, infer.COORDS)


def dataset(folder: pathlib.Path) -> Target:
    """A folder of TFDS: its two descriptions, its records and its index."""
    fields = {
        **{"aerial": shards.Field("image", (4, 4, 3)), "text": shards.Field("text")},
        **{"lat": shards.Field("number"), "lon": shards.Field("number")},
        "dsm": shards.Field("array", (None, 2)),
    }
    lat, lon = PLACES.T
    columns = {
        "aerial": [images.encode_png(np.zeros((4, 4, 3), np.uint8))] * 3,
        **{"text": [b"a", b"b", b"c"], "lat": lat, "lon": lon},
        "dsm": [np.zeros((3, 2), np.float32)] * 3,
    }
    here = folder / "d" / "1.0.0"
    here.mkdir(parents=True)
    plan = shards.plan("d", {"train": 3}, 3)
    size, end = shards.write(here / plan[0].file, fields, [columns])
    end()
    shards.finish(here, "d", "1.0.0", fields, plan, [size], description="Three.")
    number = np.arange(3)
    index = {"lat": lat, "lon": lon, "cell": number, "block": number}
    np.savez(here / "index-train.npz", **index)  # pyright: ignore

    def parse(_: pathlib.Path) -> None:
        source, _index = datasets.load("d", "train", folder)
        for number in range(len(source)):
            with contextlib.suppress(datasets.BadRecord):
                source[number]

    kinds: dict[str, Change] = {"index-train.npz": mutate_zip}
    kinds |= {"dataset_info.json": mutate_json, "features.json": mutate_json}
    kinds[plan[0].file] = mutate_bytes
    # A file that is not there is none of those that are skipped: an OSError.
    return of_files(here, kinds, parse, (ValueError, OSError))


def graph(folder: pathlib.Path) -> Target:
    """graph.json and the four arrays, all of which are touched."""
    here = folder / "g"
    graphs.write(here, [0, 1, 2], [1, 2, 0], [1.0, 2.0, 3.0], 3)
    kinds: dict[str, Change] = {"graph.json": mutate_json}
    kinds |= {f"{name}.npy": mutate_bytes for name in graphs.ARRAYS}
    return of_files(here, kinds, lambda p: graphs.transpose(graphs.read(p.parent)))


def _step(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, jax.Array]]:
    """A step of a run, and the parameters in it."""
    params = {"w": jnp.ones((20, 30)), "b": jnp.arange(9.0)}
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        saves.save(1, {"params": params})
        saves.wait()
    return folder / "1", params


def sums(folder: pathlib.Path) -> Target:
    """What says which files of a step are whole: that is told, never an error."""
    step, _ = _step(folder)
    names = (f"{checkpoint.ITEM}/{checkpoint.SUMS}", "_CHECKPOINT_METADATA")
    kinds: dict[str, Change] = dict.fromkeys(names, mutate_json)
    return of_files(step, kinds, lambda _: checkpoint.damage(step), ())


def saved(folder: pathlib.Path) -> Target:
    """The files of a step, whose sums are those of the damaged files."""
    step, params = _step(folder)
    arrays = step / checkpoint.ITEM
    abstract = checkpoint.abstract_like(
        params, jax.tree.map(lambda x: x.sharding, params)
    )
    names = [p.relative_to(step).as_posix() for p in step.rglob("*") if p.is_file()]
    summed = [*json.loads((arrays / checkpoint.SUMS).read_bytes())]

    def parse(_: pathlib.Path) -> None:
        made = json.dumps(checkpoint._sums(arrays, summed))
        (arrays / checkpoint.SUMS).write_text(made, encoding="utf-8")
        checkpoint.newest_good(folder, False)
        checkpoint.restore_field(folder, 1, abstract, "params")

    kinds: dict[str, Change] = {}
    for name in sorted({*names} - {f"{checkpoint.ITEM}/{checkpoint.SUMS}"}):
        is_json = (step / name).read_bytes()[:1] == b"{"
        kinds[name] = mutate_json if is_json else mutate_bytes
    return of_files(step, kinds, parse)
