# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small SigLIP files in the key layouts of the released ones, spelt out here again."""

import numpy as np
import safetensors.numpy

IMAGE = {"width": 16, "depth": 2, "heads": 2, "hidden": 24, "patch": 8, "grid": 4}
TEXT = {"width": 12, "depth": 3, "heads": 3, "hidden": 20, "vocab": 50, "length": 6}


def big_vision(seed=0, naflex=False, image=IMAGE, text=TEXT, dim=None):
    """Keys of a two_towers checkpoint, one subtree a layer, random float32."""
    rng = np.random.default_rng(seed)
    shapes = {}
    i, t, w = image, text, image["width"]
    values = 3 * i["patch"] ** 2
    shapes["params/img/embedding/kernel"] = (
        (values, w) if naflex else (i["patch"], i["patch"], 3, w)
    )
    shapes["params/img/embedding/bias"] = (w,)
    shapes["params/img/pos_embedding"] = (
        (i["grid"], i["grid"], w) if naflex else (1, i["grid"] ** 2, w)
    )
    for side, encoder, one in (("img", "Transformer", i), ("txt", "Encoder_0", t)):
        for layer in range(one["depth"]):
            before = f"params/{side}/{encoder}/encoderblock_{layer}/"
            shapes |= norm(before + "LayerNorm_0", one["width"])
            shapes |= norm(before + "LayerNorm_1", one["width"])
            shapes |= attention(before, one["width"], one["heads"])
            shapes |= mlp(before, one["width"], one["hidden"])
        shapes |= norm(f"params/{side}/{encoder}/encoder_norm", one["width"])
    pool = "params/img/MAPHead_0/"
    shapes[pool + "probe"] = (1, 1, w)
    shapes |= norm(pool + "LayerNorm_0", w)
    shapes |= attention(pool, w, i["heads"]) | mlp(pool, w, i["hidden"])
    shapes["params/txt/Embed_0/embedding"] = (t["vocab"], t["width"])
    shapes["params/txt/pos_embedding"] = (1, t["length"], t["width"])
    shapes["params/txt/head/kernel"] = (t["width"], dim or w)
    shapes["params/txt/head/bias"] = (dim or w,)
    shapes["params/t"] = shapes["params/b"] = (1,)
    return {
        key: (0.3 * rng.normal(size=shape)).astype(np.float32)
        for key, shape in shapes.items()
    }


def norm(before, w):
    return {f"{before}/scale": (w,), f"{before}/bias": (w,)}


def attention(before, w, heads):
    before += "MultiHeadDotProductAttention_0"
    out = {f"{before}/out/kernel": (heads, w // heads, w), f"{before}/out/bias": (w,)}
    for name in ("query", "key", "value"):
        out[f"{before}/{name}/kernel"] = (w, heads, w // heads)
        out[f"{before}/{name}/bias"] = (heads, w // heads)
    return out


def mlp(before, w, hidden):
    before += "MlpBlock_0"
    return {
        f"{before}/Dense_0/kernel": (w, hidden),
        f"{before}/Dense_0/bias": (hidden,),
        f"{before}/Dense_1/kernel": (hidden, w),
        f"{before}/Dense_1/bias": (w,),
    }


def scanned(arrays):
    """All layers in one array, as big_vision trains with scan."""
    out, layers = {}, {}
    for key, value in arrays.items():
        before, found, after = key.partition("/encoderblock_")
        if found:
            number, after = after.split("/", 1)
            key = f"{before}/encoderblock/{after}"
            layers.setdefault(key, {})[int(number)] = value
        else:
            out[key] = value
    for key, values in layers.items():
        out[key] = np.stack([values[n] for n in sorted(values)])
    return out


def save_npz(path, arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


def huggingface(arrays):
    """The same weights as transformers keeps them: SiglipModel, or Siglip2Model."""
    names = {
        "embedding/": "embeddings.patch_embedding.",
        "pos_embedding": "embeddings.position_embedding.weight",
        "Embed_0/embedding": "embeddings.token_embedding.weight",
        "Transformer/encoder_norm/": "post_layernorm.",
        "Encoder_0/encoder_norm/": "final_layer_norm.",
        "Transformer/encoderblock_": "encoder.layers.",
        "Encoder_0/encoderblock_": "encoder.layers.",
        "MAPHead_0/MultiHeadDotProductAttention_0/": "head.attention.",
        "MAPHead_0/": "head.",
        "MultiHeadDotProductAttention_0/": "self_attn.",
        "MlpBlock_0/": "mlp.",
    }
    leaves = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    leaves |= {"Dense_0": "fc1", "Dense_1": "fc2"}
    out = {"logit_scale": arrays["params/t"], "logit_bias": arrays["params/b"]}
    for key, value in arrays.items():
        if key in ("params/t", "params/b"):
            continue
        side, path = key.removeprefix("params/").split("/", 1)
        w = value.shape[-1]
        if path.endswith("kernel"):
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            elif "/out/" in path:
                value = value.reshape(-1, w).T
            else:
                value = value.reshape(value.shape[0], -1).T
        elif "pos_embedding" in path:
            value = value.reshape(-1, w)
        elif path.endswith("/bias"):
            value = value.reshape(-1)
        pooled = path.startswith("MAPHead_0")
        for ours, theirs in names.items():
            path = path.replace(ours, theirs)
        norms = {"LayerNorm_0": "layernorm" if pooled else "layer_norm1"}
        for ours, theirs in (norms | leaves | {"LayerNorm_1": "layer_norm2"}).items():
            path = path.replace(f"{ours}/", f"{theirs}.")
        path = path.replace("kernel", "weight").replace("scale", "weight")
        path = path.replace("/", ".")
        out[f"{'vision' if side == 'img' else 'text'}_model.{path}"] = value
    for leaf in ("weight", "bias"):
        before = "vision_model.head.attention."
        thirds = [out.pop(f"{before}{n}_proj.{leaf}") for n in "qkv"]
        out[f"{before}in_proj_{leaf}"] = np.concatenate(thirds)
    return {key: np.ascontiguousarray(value) for key, value in out.items()}


def save_huggingface(folder, arrays, shards=1, heads=(2, 3)):
    """model.safetensors, or shards with an index, and the config.json of the heads."""
    import json

    folder.mkdir()
    keys = sorted(arrays)
    parts = [keys[n::shards] for n in range(shards)]
    table = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        name = "model.safetensors" if shards == 1 else name
        values = {key: arrays[key] for key in part}
        safetensors.numpy.save_file(values, folder / name, metadata={"format": "pt"})
        table |= dict.fromkeys(part, name)
    if shards > 1:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    about = {
        side: {"num_attention_heads": n}
        for side, n in zip(("vision_config", "text_config"), heads, strict=True)
    }
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def random_towers(arrays):
    """A tree of our parameters, layers apart: {"img": {...}, "txt": {...}}."""
    tree = {}
    for key, value in arrays.items():
        *parents, leaf = key.removeprefix("params/").split("/")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree
