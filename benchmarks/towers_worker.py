# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The variants of benchmarks/towers.py: one process each, started by it."""

import importlib
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks import protocol

WIDTH, HIDDEN, HEADS, PATCH, LENGTH = 768, 3072, 12, 16, 64
SIZE = 224
Arrays = dict[str, np.ndarray]


def shapes(tower: str, depth: int, vocab: int) -> dict[str, tuple[int, ...]]:
    """Returns the parameters of transformers' SigLIP tower B/16 by their names."""
    w, out = WIDTH, {}

    def linear(name: str, rows: int, columns: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = (w,), (w,)

    if tower == "image":
        out["embeddings.patch_embedding.weight"] = (w, 3, PATCH, PATCH)
        out["embeddings.patch_embedding.bias"] = (w,)
        out["embeddings.position_embedding.weight"] = ((SIZE // PATCH) ** 2, w)
    else:
        out["embeddings.token_embedding.weight"] = (vocab, w)
        out["embeddings.position_embedding.weight"] = (LENGTH, w)
    for i in range(depth):
        layer = f"encoder.layers.{i}"
        norm(f"{layer}.layer_norm1")
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", w, w)
        norm(f"{layer}.layer_norm2")
        linear(f"{layer}.mlp.fc1", HIDDEN, w)
        linear(f"{layer}.mlp.fc2", w, HIDDEN)
    if tower == "text":
        norm("final_layer_norm")
        linear("head", w, w)
        return out
    norm("post_layernorm")
    out["head.probe"] = (1, 1, w)
    out["head.attention.in_proj_weight"] = (3 * w, w)
    out["head.attention.in_proj_bias"] = (3 * w,)
    linear("head.attention.out_proj", w, w)
    norm("head.layernorm")
    linear("head.mlp.fc1", HIDDEN, w)
    linear("head.mlp.fc2", w, HIDDEN)
    return out


def weights(tower: str, depth: int, vocab: int) -> Arrays:
    """Draws the parameters, the same for every variant."""
    rng = np.random.default_rng(0)
    out = {}
    for name, shape in shapes(tower, depth, vocab).items():
        out[name] = rng.standard_normal(shape, np.float32) * np.float32(0.02)
        if "norm" in name and name.endswith("weight"):
            out[name] += 1
    return out


def inputs(tower: str, batch: int, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a batch, channels last or token ids, and the gradient of the output."""
    rng = np.random.default_rng(1)
    if tower == "image":
        x = rng.uniform(-1, 1, (batch, SIZE, SIZE, 3)).astype(np.float32)
    else:
        x = rng.integers(0, vocab, (batch, LENGTH)).astype(np.int32)
    return x, rng.standard_normal((batch, WIDTH), np.float32)


def norm(given: Arrays, name: str) -> dict:
    return {"scale": given[f"{name}.weight"], "bias": given[f"{name}.bias"]}


def linear(given: Arrays, name: str) -> dict:
    return {"kernel": given[f"{name}.weight"].T, "bias": given[f"{name}.bias"]}


def mlp(given: Arrays, name: str) -> dict:
    return {f"Dense_{i}": linear(given, f"{name}.fc{i + 1}") for i in range(2)}


def attention(
    given: Arrays, qkv: list[tuple[np.ndarray, np.ndarray]], out: str
) -> dict:
    w, head_width = WIDTH, WIDTH // HEADS
    parts: dict[str, dict] = {
        name: {
            "kernel": kernel.T.reshape(w, HEADS, head_width),
            "bias": bias.reshape(HEADS, head_width),
        }
        for name, (kernel, bias) in zip(("query", "key", "value"), qkv, strict=True)
    }
    last = linear(given, out)
    last["kernel"] = last["kernel"].reshape(HEADS, head_width, w)
    return parts | {"out": last}


def block(given: Arrays, i: int) -> dict:
    layer = f"encoder.layers.{i}"
    at = f"{layer}.self_attn"
    qkv = [
        (given[f"{at}.{p}_proj.weight"], given[f"{at}.{p}_proj.bias"]) for p in "qkv"
    ]
    return {
        "LayerNorm_0": norm(given, f"{layer}.layer_norm1"),
        "MultiHeadDotProductAttention_0": attention(given, qkv, f"{at}.out_proj"),
        "LayerNorm_1": norm(given, f"{layer}.layer_norm2"),
        "MlpBlock_0": mlp(given, f"{layer}.mlp"),
    }


def tree(tower: str, depth: int, given: Arrays) -> dict[str, Any]:
    """Renames the parameters into the tree of the package's towers."""
    blocks: dict[str, Any] = {
        f"encoderblock_{i}": block(given, i) for i in range(depth)
    }
    position = {"pos_embedding": given["embeddings.position_embedding.weight"][None]}
    if tower == "text":
        blocks["encoder_norm"] = norm(given, "final_layer_norm")
        table = {"embedding": given["embeddings.token_embedding.weight"]}
        return position | {
            "Embed_0": table,
            "Encoder_0": blocks,
            "head": linear(given, "head"),
        }
    blocks["encoder_norm"] = norm(given, "post_layernorm")
    kernel = given["embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0)
    stacked = (
        given["head.attention.in_proj_weight"],
        given["head.attention.in_proj_bias"],
    )
    qkv = list(zip(*(np.split(x, 3) for x in stacked), strict=True))
    return position | {
        "embedding": {
            "kernel": kernel,
            "bias": given["embeddings.patch_embedding.bias"],
        },
        "Transformer": blocks,
        "MAPHead_0": {
            "probe": given["head.probe"],
            "MultiHeadDotProductAttention_0": attention(
                given, qkv, "head.attention.out_proj"
            ),
            "LayerNorm_0": norm(given, "head.layernorm"),
            "MlpBlock_0": mlp(given, "head.mlp"),
        },
    }


def ours(
    tower: str, step: str, dtype: str, batch: int, depth: int, vocab: int
) -> protocol.Work:
    """Compiles a tower of this package, forward or with the gradient of everything."""
    import jax
    import jax.numpy as jnp

    from unigeo_jax.nn import text, vit

    if tower == "image":
        net: Any = vit.ViT(depth=depth, dtype=jnp.dtype(dtype))
    else:
        options: dict[str, Any] = {"dim": WIDTH, "vocab_size": vocab, "depth": depth}
        net = text.TextTransformer(**options, dtype=jnp.dtype(dtype))
    given = tree(tower, depth, weights(tower, depth, vocab))
    params = jax.tree.map(jnp.array, given)
    del given
    x, cotangent = map(jnp.asarray, inputs(tower, batch, vocab))

    def forward(params, x):
        return net.apply({"params": params}, x).astype(jnp.float32)

    def train(params, x):
        def scalar(params):
            out = forward(params, x)
            return jnp.sum(out * cotangent), out

        return jax.grad(scalar, has_aux=True)(params)

    began = time.perf_counter()
    program = jax.jit(train if step == "train" else forward).lower(params, x).compile()
    memory: Any = program.memory_analysis()
    about = {
        "device": "cpu" if jax.devices()[0].platform == "cpu" else "accelerator",
        "compile_s": time.perf_counter() - began,
        "xla_temp_bytes": memory.temp_size_in_bytes,
    }

    def arrays(out) -> Arrays:
        if step == "forward":
            return {"out": np.asarray(out)}
        grads, out = out
        return {"out": np.asarray(out), "grad": np.asarray(grads["pos_embedding"])[0]}

    return protocol.Work(
        lambda: jax.block_until_ready(program(params, x)),
        arrays,
        protocol.host_growth,
        about,
    )


def peers(
    attention: str,
    tower: str,
    step: str,
    dtype: str,
    batch: int,
    depth: int,
    vocab: int,
) -> protocol.Work:
    """Builds transformers' SigLIP tower with the same weights, in training mode.

    bfloat16 is autocast over float32 weights, as the package's towers compute.
    """
    torch = importlib.import_module("torch")
    library = importlib.import_module("transformers")
    torch.set_num_threads(protocol.cores())
    options: dict[str, Any] = {
        "num_hidden_layers": depth,
        "attn_implementation": attention,
    }
    if tower == "image":
        net = library.SiglipVisionModel(library.SiglipVisionConfig(**options))
    else:
        options |= {"vocab_size": vocab, "bos_token_id": None, "eos_token_id": 1}
        net = library.SiglipTextModel(library.SiglipTextConfig(**options))
    given = weights(tower, depth, vocab)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in given.items()}, strict=True)
    del given
    x, cotangent = inputs(tower, batch, vocab)
    if tower == "image":
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    x, cotangent = torch.from_numpy(x), torch.from_numpy(cotangent)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return net(x).pooler_output.float()

    def run():
        if step == "forward":
            with torch.no_grad():
                return forward(), None
        net.zero_grad(set_to_none=True)
        out = forward()
        (out * cotangent).sum().backward()
        return out.detach(), net.embeddings.position_embedding.weight.grad

    def arrays(found) -> Arrays:
        out, grad = found
        return {"out": out.numpy()} | ({} if grad is None else {"grad": grad.numpy()})

    return protocol.Work(run, arrays, protocol.host_growth, {"device": "cpu"})


if __name__ == "__main__":
    SPEC = json.loads(sys.argv[1])
    SIDE = SPEC.pop("side")
    if SIDE == "ours":
        protocol.serve(lambda: ours(**SPEC))
    else:
        protocol.serve(lambda: peers(SIDE.removeprefix("torch_"), **SPEC))
