# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A whole SigLIP model from one file, or from trained towers, into another layout."""

import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from unigeo_jax.nn import text, vit
from unigeo_jax.siglip import files, layout, positions, towers

SHARD_BYTES = 2 * 10**9
ENCODER = {"img": "Transformer", "txt": "Encoder_0"}
# Hugging Face weights do not show the heads; without a config.json beside them, those
# of the published widths are taken.
HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1152: 16, 1536: 16}
Array = tuple[towers.Shape, Callable[[], np.ndarray]]


class Sizes(NamedTuple):
    """One tower. Images: patch, grid (NaFlex: the table's); texts: the last three."""

    width: int
    depth: int
    heads: int
    hidden: int
    patch: int = 0
    grid: tuple[int, int] = (0, 0)
    naflex: bool = False
    vocab: int = 0
    length: int = 0
    dim: int = 0


def in_memory(
    path: pathlib.Path, params: Mapping[str, Any], scalars: dict[str, float]
) -> files.Weights:
    """Towers of ours as if they were a weights file.

    Args:
      path: for messages.
      params: {"img": tree, "txt": tree}.
      scalars: "t" and "b" as SigLIP has them.
    """
    arrays = _flat(params)
    arrays |= {key: np.full(1, v, np.float32) for key, v in scalars.items()}

    def pieces(key: str) -> Iterator[tuple[slice, np.ndarray]]:
        yield slice(None), np.asarray(arrays[key])

    shapes = {key: tuple(x.shape) for key, x in arrays.items()}
    return files.Weights(path, shapes, {}, pieces)


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out = {}
    for name, value in tree.items():
        nested = isinstance(value, Mapping)
        out |= _flat(value, f"{before}{name}/") if nested else {before + name: value}
    return out


def describe(weights: files.Weights) -> dict[str, Sizes]:
    """Tell the towers of a file, by side, from names and shapes.

    Raises:
      ValueError: another model, or the arrays that say it are not there.
    """
    kind = layout.detect(weights)
    sides = [s for s in layout.SIDES if any(kind.side(k) == s for k in weights.shapes)]
    return {side: _describe(weights, kind, side) for side in sides}


def _describe(weights: files.Weights, kind: layout.Layout, side: str) -> Sizes:
    def look(path: str) -> towers.Shape | None:
        """The shape of an array, inputs before outputs; of one layer where stacked."""
        place = kind.place(f"{side}/{path}")
        found = weights.shapes.get(place.key)
        if found is None:
            return None
        if kind.name == "big_vision":
            return found[1:] if place.part == "layer" else found
        turned = layout.kind(path) in ("in", "out", "patch")
        if len(found) == 4:
            return (*found[2:], found[1], found[0])
        return found[::-1] if turned else found

    def need(path: str, axes: int) -> towers.Shape:
        found = look(path)
        if found is None or len(found) < axes:
            key = kind.place(f"{side}/{path}").key
            raise ValueError(
                f"weights {weights.path} ({kind.name}): {key} is"
                f" {'missing' if found is None else found};"
                " without it the tower's size is not known"
            )
        return found

    first = f"{ENCODER[side]}/encoderblock_0"
    norm = f"{first}/LayerNorm_0/scale"
    if kind.place(f"{side}/{norm}").part == "layer":
        depth = weights.shapes[kind.place(f"{side}/{norm}").key][0]
    else:
        depth = 0
        while look(norm.replace("block_0", f"block_{depth}")) is not None:
            depth += 1
    table = need("pos_embedding", 2)
    query = need(f"{first}/MultiHeadDotProductAttention_0/query/kernel", 2)
    hidden = need(f"{first}/MlpBlock_0/Dense_0/kernel", 2)[-1]
    heads = query[-2] if len(query) == 3 else _heads(weights, side, table[-1])
    sizes = Sizes(table[-1], depth, heads, hidden)
    if side == "txt":
        vocab, dim = need("Embed_0/embedding", 2)[0], need("head/kernel", 2)[-1]
        return sizes._replace(vocab=vocab, length=table[-2], dim=dim)
    kernel, grid = need("embedding/kernel", 2), positions.source_grid(table)
    patch = kernel[0] if len(kernel) == 4 else math.isqrt(kernel[0] // 3)
    if grid is None:
        raise ValueError(f"weights {weights.path}: positions {table} are no square")
    return sizes._replace(patch=patch, grid=grid, naflex=len(kernel) == 2)


def _heads(weights: files.Weights, side: str, width: int) -> int:
    part = weights.about.get(layout.SIDES[side].replace("_model", "_config"))
    about = part if isinstance(part, Mapping) else {}
    # transformers leaves out of config.json what equals its defaults.
    default = 12 if part is not None else HEADS.get(width)
    heads = about.get("num_attention_heads", default)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(
            f"weights {weights.path}: how many heads a width of {width} has is not"
            f" known (got {heads}); allowed: the model's config.json beside the file,"
            f" or a width of {', '.join(map(str, HEADS))}"
        )
    return heads


def tower(side: str, sizes: Sizes) -> towers.Tower:
    """The parameters that a tower of these sizes has here, layers apart."""
    shape = {
        "width": sizes.width,
        "depth": sizes.depth,
        "heads": sizes.heads,
        "mlp_ratio": sizes.hidden / sizes.width,
    }
    if side == "txt":
        module = text.TextTransformer(dim=sizes.dim, vocab_size=sizes.vocab, **shape)
        x: Any = jnp.zeros((1, sizes.length), jnp.int32)
    elif sizes.naflex:
        module = vit.ViT(patch=sizes.patch, positions=sizes.grid[0], **shape)
        x = {"patches": jnp.zeros((1, 1, 3 * sizes.patch**2))}
        x["grid"] = jnp.ones((1, 2), jnp.int32)
    else:
        module = vit.ViT(patch=sizes.patch, **shape)
        x = jnp.zeros((1, *(n * sizes.patch for n in sizes.grid), 3))
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    grid = None if side == "txt" or sizes.naflex else sizes.grid
    return towers.Tower(side, side, towers.flat_shapes(params), grid)


def convert(weights: files.Weights, out: pathlib.Path, into: str) -> dict[str, Sizes]:
    """Write a whole model to a folder: model.safetensors and config.json.

    Args:
      weights: a file, or towers `in_memory`.
      out: a folder; made if it is not there.
      into: "big_vision" (names and shapes of this package's towers, behind `params/`)
        or "huggingface" (what transformers' SiglipModel.from_pretrained loads; NaFlex:
        Siglip2Model).

    Raises:
      ValueError: the file is not one whole SigLIP model, or `out` holds weights.
    """
    if into not in ("big_vision", "huggingface"):
        raise ValueError(f"layout: got {into!r}; allowed: big_vision, huggingface")
    if any(out.glob("*.safetensors*")):
        raise ValueError(f"--out {out}: holds weights already; choose another folder")
    sizes = describe(weights)
    wanted = [tower(side, one) for side, one in sizes.items()]
    found = towers.plan(weights, wanted)
    shapes = {
        f"{t.side}/{path}": shape for t in wanted for path, shape in t.shapes.items()
    }
    arrays: dict[str, Array] = {
        f"{side}/{path}": (shapes[f"{side}/{path}"], read)
        for (side, path), read in found.read.items()
    }
    for name, read in found.scalar.items():
        arrays[name] = (1,), lambda read=read: np.full(1, read(), np.float32)
    about: dict[str, Any]
    if into == "huggingface":
        about = huggingface_config(sizes)
        arrays = huggingface_arrays(arrays, naflex=about["model_type"] == "siglip2")
    else:
        about = {"layout": into} | {s: one._asdict() for s, one in sizes.items()}
        arrays = {f"params/{name}": array for name, array in arrays.items()}
    if weights.path.is_file():
        about["source"] = {"file": weights.path.name, "sha256": _sha256(weights.path)}
    write(out, arrays, about)
    return sizes


def huggingface_arrays(arrays: dict[str, Array], naflex: bool) -> dict[str, Array]:
    """Rename and turn; query, key and value of the attention pool become one array."""
    families: dict[str, list[tuple[int, str]]] = {}
    for name in arrays:
        place = layout.huggingface_place(name)
        families.setdefault(place.key, []).append((place.number, name))

    def turned(names: list[str]) -> np.ndarray:
        parts = [layout.to_huggingface(n, arrays[n][1](), naflex) for n in names]
        return np.ascontiguousarray(np.concatenate(parts) if parts[1:] else parts[0])

    out = {}
    for key, family in families.items():
        names = [name for _, name in sorted(family)]
        zeros = [np.broadcast_to(np.float32(0), arrays[n][0]) for n in names]
        parts = [
            layout.to_huggingface(n, z, naflex).shape
            for n, z in zip(names, zeros, strict=True)
        ]
        shape = (sum(s[0] for s in parts), *parts[0][1:])
        out[key] = shape, lambda names=names: turned(names)
    return out


def huggingface_config(sizes: dict[str, Sizes]) -> dict[str, Any]:
    """config.json of transformers for both towers."""
    if set(sizes) != {"img", "txt"}:
        raise ValueError(
            f"huggingface: got the towers {', '.join(sizes)}; allowed: an image tower"
            " and a text tower"
        )
    image, words = sizes["img"], sizes["txt"]
    if words.dim != image.width or image.grid[0] != image.grid[1]:
        raise ValueError(
            f"huggingface: texts of {words.dim} numbers, images of {image.width}, grid"
            f" {image.grid}; allowed: equal widths and a square grid"
        )
    family = "siglip2" if image.naflex else "siglip"
    side = image.grid[0]
    pixels = {"num_patches": side**2} if image.naflex else {}
    if not image.naflex:
        pixels = {"image_size": side * image.patch}
    return {
        "architectures": ["Siglip2Model" if image.naflex else "SiglipModel"],
        "model_type": family,
        "dtype": "float32",
        "initializer_factor": 1.0,
        "vision_config": _common(image, f"{family}_vision_model")
        | {"num_channels": 3, "patch_size": image.patch, **pixels},
        "text_config": _common(words, f"{family}_text_model")
        | {
            "vocab_size": words.vocab,
            "max_position_embeddings": words.length,
            "projection_size": words.dim,
            **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},  # Gemma's
        },
    }


def _common(sizes: Sizes, model_type: str) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.heads,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "attention_dropout": 0.0,
    }


def write(
    out: pathlib.Path,
    arrays: dict[str, Array],
    about: dict[str, Any],
    shard_bytes: int | None = None,
) -> None:
    """Write safetensors of at most `shard_bytes` each, and config.json.

    Several come with an index. No more than one shard is in memory at a time.
    """
    shards: list[list[str]] = [[]]
    limit, filled = shard_bytes or SHARD_BYTES, 0
    for key, (shape, _) in arrays.items():
        size = 4 * math.prod(shape)
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += size
    out.mkdir(parents=True, exist_ok=True)
    table, count = {}, len(shards)
    for number, keys in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        name = "model.safetensors" if count == 1 else name
        values = {key: np.ascontiguousarray(arrays[key][1]()) for key in keys}
        safetensors.numpy.save_file(values, out / name, metadata={"format": "pt"})
        table |= dict.fromkeys(keys, name)
    if count > 1:
        total = 4 * sum(math.prod(shape) for shape, _ in arrays.values())
        index = {"metadata": {"total_size": total}, "weight_map": table}
        _json(out / "model.safetensors.index.json", index)
    _json(out / "config.json", about)


def _json(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
