# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where each array of a SigLIP tower stands in a file, and how it is turned.

Our own name of an array is its path in the tower, one subtree a layer, behind `img/`
or `txt/`: `img/Transformer/encoderblock_3/LayerNorm_0/scale`. big_vision's key is that
behind `params/`, or has all layers in one array (`encoderblock`). Hugging Face names
layers alike for SigLIP (convolution for the patches) and Siglip2 (NaFlex, linear).
"""

import math
import re
from typing import Literal, NamedTuple

import numpy as np

from unigeo_jax.siglip import files

Kind = Literal["table", "vector", "in", "out", "patch"]
SIDES = {"img": "vision_model", "txt": "text_model"}
SCALARS = {"t": "logit_scale", "b": "logit_bias"}  # log of the factor; the bias
_MODULES = {
    "LayerNorm_0": "layer_norm1",
    "LayerNorm_1": "layer_norm2",
    "MlpBlock_0/Dense_0": "mlp.fc1",
    "MlpBlock_0/Dense_1": "mlp.fc2",
    "MultiHeadDotProductAttention_0/query": "self_attn.q_proj",
    "MultiHeadDotProductAttention_0/key": "self_attn.k_proj",
    "MultiHeadDotProductAttention_0/value": "self_attn.v_proj",
    "MultiHeadDotProductAttention_0/out": "self_attn.out_proj",
    "embedding": "embeddings.patch_embedding",
    "Transformer/encoder_norm": "post_layernorm",
    "Encoder_0/encoder_norm": "final_layer_norm",
    "MAPHead_0/LayerNorm_0": "head.layernorm",
    "MAPHead_0/MlpBlock_0/Dense_0": "head.mlp.fc1",
    "MAPHead_0/MlpBlock_0/Dense_1": "head.mlp.fc2",
    "MAPHead_0/MultiHeadDotProductAttention_0/out": "head.attention.out_proj",
    "head": "head",
}
_WHOLE = {
    "pos_embedding": "embeddings.position_embedding.weight",
    "Embed_0/embedding": "embeddings.token_embedding.weight",
    "MAPHead_0/probe": "head.probe",
}
_POOLED = re.compile(
    r"MAPHead_0/MultiHeadDotProductAttention_0/(query|key|value)/(kernel|bias)"
)
_BLOCK = re.compile(r"(?:Transformer|Encoder_0)/encoderblock_(\d+)/(.+)")


class Place(NamedTuple):
    """One array of a tower in a file: under `key`, all of it or a part.

    part: of "all", "layer" (row `number` of an array of all layers) or "third" (of
      the query, key and value of the attention pool, which Hugging Face stacks).
    """

    key: str
    part: Literal["all", "layer", "third"] = "all"
    number: int = 0


class Layout(NamedTuple):
    """How a file names things: `name` is "big_vision" or "huggingface".

    prefix: before all keys of parameters. stacked: the sides, img and txt, whose layers
    are one array.
    """

    name: Literal["big_vision", "huggingface"]
    prefix: str
    stacked: frozenset[str] = frozenset()

    def place(self, name: str) -> Place:
        """Where the array `name` stands."""
        if self.name == "huggingface":
            return huggingface_place(name)
        block = re.search(r"encoderblock_(\d+)", name)
        if block is None or name.split("/")[0] not in self.stacked:
            return Place(self.prefix + name)
        stacked = name.replace(block[0], "encoderblock")
        return Place(self.prefix + stacked, "layer", int(block[1]))

    def side(self, key: str) -> str | None:
        """Which tower a key belongs to: img, txt; None = temperature or bias."""
        for side, theirs in SIDES.items():
            own = (
                f"{theirs}." if self.name == "huggingface" else f"{self.prefix}{side}/"
            )
            if key.startswith(own):
                return side
        return None


def detect(weights: files.Weights) -> Layout:
    """Tell the layout of a file by its keys.

    Raises:
      ValueError: the keys are those of some other model.
    """
    keys = list(weights.shapes)
    theirs = tuple(f"{name}." for name in SIDES.values())
    if any(key.startswith(theirs) for key in keys):
        return Layout("huggingface", "")
    for prefix in ("params/", ""):
        sides = tuple(f"{prefix}{side}/" for side in SIDES)
        if any(key.startswith(sides) for key in keys):
            stacked = {
                side
                for side, own in zip(SIDES, sides, strict=True)
                if any(k.startswith(own) and "/encoderblock/" in k for k in keys)
            }
            return Layout("big_vision", prefix, frozenset(stacked))
    some = ", ".join(keys[:4]) or "nothing"
    raise ValueError(
        f"weights {weights.path}: not a SigLIP model: holds {some}, ...; allowed: keys"
        " that begin with params/img/ and params/txt/ (big_vision) or vision_model. and"
        " text_model. (Hugging Face)"
    )


def huggingface_place(name: str) -> Place:
    """Where transformers' SiglipModel and Siglip2Model keep the array `name`."""
    if name in SCALARS:
        return Place(SCALARS[name])
    side, path = name.split("/", 1)
    first = SIDES[side]
    if path in _WHOLE:
        return Place(f"{first}.{_WHOLE[path]}")
    pooled = _POOLED.fullmatch(path)
    if pooled:
        leaf = "weight" if pooled[2] == "kernel" else "bias"
        number = ("query", "key", "value").index(pooled[1])
        return Place(f"{first}.head.attention.in_proj_{leaf}", "third", number)
    block = _BLOCK.fullmatch(path)
    if block:
        first, path = f"{first}.encoder.layers.{block[1]}", block[2]
    module, _, leaf = path.rpartition("/")
    if module not in _MODULES:  # no array of SigLIP's: nothing will be found there
        return Place(f"{first}.{path.replace('/', '.')}")
    return Place(f"{first}.{_MODULES[module]}.{'bias' if leaf == 'bias' else 'weight'}")


def kind(name: str) -> Kind:
    """How an array is turned between the layouts.

    Kernels are (in..., out...) here and (out, in) there; "in" has one axis of inputs,
    "out" one of outputs.
    """
    path = name.split("/")
    if path[-1] in ("probe", "pos_embedding") or "Embed_0" in path:
        return "table"
    if path[-1] != "kernel":
        return "vector"
    if path[-2] == "embedding":
        return "patch"
    return "out" if path[-2] == "out" else "in"


def shape_in(
    layout: Layout, name: str, shape: tuple[int, ...], like: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """The shape that array `name` of shape `shape` has in a file (one layer of it).

    `like` is the shape found there: patches may be flat or not, whatever they are here.
    """
    what = kind(name)
    if what == "patch":
        return _patch_in(layout, shape, like)
    if layout.name == "big_vision":
        return shape
    if what == "table":
        return shape if name.endswith("probe") else (math.prod(shape[:-1]), shape[-1])
    if what == "vector":
        return (math.prod(shape),)
    if what == "in":
        return (math.prod(shape[1:]), shape[0])
    return (shape[-1], math.prod(shape[:-1]))


def _patch_in(
    layout: Layout, shape: tuple[int, ...], like: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape of the patch kernel: flat or not as in `like`, if the sizes agree."""
    w, values = shape[-1], math.prod(shape[:-1])
    if layout.name == "huggingface":
        own = (w, values) if len(shape) == 2 else (w, shape[2], *shape[:2])
        flat, like_flat = (w, values), (*like[:1], math.prod(like[1:]))
    else:
        own = shape
        flat, like_flat = (values, w), (math.prod(like[:-1]), *like[-1:])
    same = len(like) == len(own)
    return like if not same and like_flat == flat else own


def to_ours(
    layout: Layout, name: str, array: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Turn what a file holds into the array `name` of shape `shape`."""
    if layout.name == "big_vision":
        return array.reshape(shape)
    what = kind(name)
    if what == "patch" and array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif what in ("in", "out", "patch"):
        array = array.T
    return array.reshape(shape)


def to_huggingface(name: str, array: np.ndarray, flat_patches: bool) -> np.ndarray:
    """Turn the array `name` into what transformers holds, thirds apart."""
    what = kind(name)
    if what == "patch":
        w = array.shape[-1]
        if flat_patches:
            return array.reshape(-1, w).T
        return array.transpose(3, 2, 0, 1)
    if what == "in":
        return array.reshape(array.shape[0], -1).T
    if what == "out":
        return array.reshape(-1, array.shape[-1]).T
    if what == "table":
        return array if name.endswith("probe") else array.reshape(-1, array.shape[-1])
    return array.reshape(-1)
