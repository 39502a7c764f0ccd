# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Transformer parts whose parameter names and shapes equal big_vision's.

Precision, stated once for the package: parameters are float32; matmuls and
activations run in the `dtype` argument (bfloat16 on accelerators, float32 on CPU);
LayerNorm statistics and softmax are float32 whatever `dtype` is; unit vectors,
logits and losses are float32; coordinate maths is true float32 (nn/fourier.py).

Nothing here relies on rank promotion: every broadcast is written out.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from unigeo_jax.nn import pointwise

Remat = Literal["none", "full", "dots"]

# Added to the logits of masked keys. Finite, so that a row whose keys are all
# masked gives a uniform average instead of NaN.
MASKED = -1e30

_xavier = nn.initializers.xavier_uniform()


def l2_normalise(x: jax.Array) -> jax.Array:
    """Divide by the L2 norm of the last axis, in float32 and safe at zero.

    x / sqrt(max(x.x, 1e-12)): a zero vector stays zero with a finite gradient.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def attend(
    q_blhd: jax.Array,
    k_bphd: jax.Array,
    v_bphd: jax.Array,
    mask_bp: jax.Array | None = None,
) -> jax.Array:
    """Attend without causality; `mask_bp` is False at keys nobody may see.

    Returns (b, l, h, head width) in the dtype of `v_bphd`; softmax is float32. Its
    division follows the product with the values, which is smaller than the weights.
    """
    # Heads first, so that both products are plain batched matmuls: on CPU the
    # transposes cost less than what the dots would do with heads in the middle.
    q_bhld, k_bhpd, v_bhpd = (y.transpose(0, 2, 1, 3) for y in (q_blhd, k_bphd, v_bphd))
    scale = jnp.asarray(q_bhld.shape[-1] ** -0.5, q_bhld.dtype)
    logits_bhlp = jnp.einsum(
        "bhld,bhpd->bhlp",
        q_bhld * scale,
        k_bhpd,
        preferred_element_type=jnp.promote_types(q_bhld.dtype, jnp.float32),
    )
    if mask_bp is not None:
        keep_bhlp = jnp.broadcast_to(mask_bp[:, None, None, :], logits_bhlp.shape)
        logits_bhlp = jnp.where(keep_bhlp, logits_bhlp, MASKED)
    # No gradient through the maximum: a shift of a row leaves its softmax as it is.
    top_bhl1 = jax.lax.stop_gradient(logits_bhlp.max(axis=-1, keepdims=True))
    weight_bhlp = jnp.exp(logits_bhlp - jnp.broadcast_to(top_bhl1, logits_bhlp.shape))
    total_bhl1 = weight_bhlp.sum(axis=-1, keepdims=True)
    y_bhld = jnp.einsum(
        "bhlp,bhpd->bhld",
        weight_bhlp.astype(v_bphd.dtype),
        v_bhpd,
        preferred_element_type=weight_bhlp.dtype,
    )
    y_bhld = y_bhld / jnp.broadcast_to(total_bhl1, y_bhld.shape)
    return y_bhld.astype(v_bphd.dtype).transpose(0, 2, 1, 3)


def masked_mean(x_bpw: jax.Array, mask_bp: jax.Array | None) -> jax.Array:
    """Average the tokens that `mask_bp` keeps, zero where it keeps none: (b, w)."""
    if mask_bp is None:
        return x_bpw.mean(axis=1)
    weight_bp = mask_bp.astype(x_bpw.dtype)
    total_bw = jnp.einsum("bp,bpw->bw", weight_bp, x_bpw)
    count_b1 = jnp.maximum(weight_bp.sum(axis=1, keepdims=True), 1)
    return total_bw / jnp.broadcast_to(count_b1, total_bw.shape)


def affine(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: Any, axes: int = 1
) -> jax.Array:
    """Multiply the last `axes` axes of `x` by `kernel`, add `bias`, in `dtype`.

    One matmul of two matrices whatever the shapes: on CPU the gradient of a matmul
    with more axes is up to 1.7 times slower (measured, width 128).
    """
    lead, inner = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    rows = x.astype(dtype).reshape(-1, math.prod(inner))
    y = jnp.dot(rows, kernel.astype(dtype).reshape(rows.shape[1], -1))
    y = y + jnp.broadcast_to(bias.astype(dtype).reshape(1, -1), y.shape)
    return y.reshape(*lead, *bias.shape)


class Dense(nn.Module):
    """Project the last axis to `features`; parameters kernel (in, out), bias (out,)."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", _xavier, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32)
        return affine(x, kernel, bias, self.dtype)


class HeadDense(nn.Module):
    """Project (b, l, w) to (b, l, heads, head width).

    Parameters: kernel (w, heads, head width), bias (heads, head width).
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = x.shape[-1]
        shape = (w, self.heads, w // self.heads)
        kernel = self.param("kernel", _matrix_xavier((w, w)), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32)
        return affine(x, kernel, bias, self.dtype)


class OutDense(nn.Module):
    """Project (b, l, heads, head width) to (b, l, w).

    Parameters: kernel (heads, head width, w), bias (w,).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        heads, d = x.shape[-2:]
        w = heads * d
        shape = (heads, d, w)
        kernel = self.param("kernel", _matrix_xavier((w, w)), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (w,), jnp.float32)
        return affine(x, kernel, bias, self.dtype, axes=2)


def _matrix_xavier(matrix: tuple[int, int]) -> Callable[..., jax.Array]:
    """Draw a kernel as the matrix that it multiplies by, whatever its shape."""

    def init(key, shape, dtype):
        return _xavier(key, matrix, dtype).reshape(shape)

    return init


class MultiHeadDotProductAttention(nn.Module):
    """Attend from `x` to `keys`; submodules query, key, value, out."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, keys, mask_bp=None) -> jax.Array:
        if x.shape[-1] % self.heads:
            raise ValueError(
                f"heads: width {x.shape[-1]} is not a multiple of {self.heads} heads"
            )
        q_blhd = HeadDense(self.heads, self.dtype, name="query")(x)
        k_bphd = HeadDense(self.heads, self.dtype, name="key")(keys)
        v_bphd = HeadDense(self.heads, self.dtype, name="value")(keys)
        if q_blhd.shape[0] != k_bphd.shape[0]:  # one probe for the whole batch
            shape = (k_bphd.shape[0], *q_blhd.shape[1:])
            q_blhd = jnp.broadcast_to(q_blhd, shape)
        y_blhd = attend(q_blhd, k_bphd, v_bphd, mask_bp)
        return OutDense(self.dtype, name="out")(y_blhd)


class MlpBlock(nn.Module):
    """Dense, GELU, Dense; `hidden` is the inner width."""

    hidden: int
    activation: Callable[[jax.Array], jax.Array] = pointwise.gelu_tanh
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        w = x.shape[-1]
        x = Dense(self.hidden, self.dtype)(x)
        x = self.activation(x)
        x = _dropout(self.dropout, train, x)
        return Dense(w, self.dtype)(x)


def _dropout(rate: float, train: bool, x: jax.Array) -> jax.Array:
    return nn.Dropout(rate, deterministic=not train)(x) if rate else x


class Encoder1DBlock(nn.Module):
    """Pre-norm transformer block: x + MHA(LN x), then x + MLP(LN x).

    `only` computes that token alone, which attends to all: (b, 1, w).
    """

    heads: int
    mlp_ratio: float = 4.0
    activation: Callable[[jax.Array], jax.Array] = pointwise.gelu_tanh
    epsilon: float = 1e-6
    dropout: float = 0.0
    dtype: Any = jnp.float32
    train: bool = False
    only: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, mask_bp: jax.Array | None = None) -> jax.Array:
        keys = pointwise.LayerNorm(self.epsilon, dtype=self.dtype)(x)
        x, y = _pick(x, self.only), _pick(keys, self.only)
        y = MultiHeadDotProductAttention(self.heads, self.dtype)(y, keys, mask_bp)
        x = x + _dropout(self.dropout, self.train, y)
        y = pointwise.LayerNorm(self.epsilon, dtype=self.dtype)(x)
        hidden = round(self.mlp_ratio * x.shape[-1])
        mlp = MlpBlock(hidden, self.activation, self.dropout, self.dtype)
        return x + _dropout(self.dropout, self.train, mlp(y, self.train))


def _pick(x: jax.Array, only: int | None) -> jax.Array:
    """Return (b, 1, w), token `only` of (b, l, w); all of them where it is None."""
    return x if only is None else x[:, only][:, None]


class Transformer(nn.Module):
    """A stack of `depth` blocks, then LayerNorm `encoder_norm` unless switched off.

    `scan=False` keeps one subtree a layer (`encoderblock_0`, ...); `scan=True` keeps
    one subtree `encoderblock` whose leaves have a leading layer axis, and compiles
    one block whatever the depth. Both compute the same function: `stack_blocks` and
    `unstack_blocks` turn one tree into the other.

    `remat`: "none" stores every activation, "dots" stores matmul results only,
    "full" stores block inputs only.

    `only` returns that token alone, (b, 1, w): the last block then leaves out what the
    other tokens do not need, 5/6 of its products (not with `scan`, whose blocks are
    alike).
    """

    depth: int
    heads: int
    mlp_ratio: float = 4.0
    activation: Callable[[jax.Array], jax.Array] = pointwise.gelu_tanh
    epsilon: float = 1e-6
    dropout: float = 0.0
    final_norm: bool = True
    scan: bool = False
    remat: Remat = "none"
    dtype: Any = jnp.float32
    only: int | None = None

    @nn.compact
    def __call__(self, x, mask_bp=None, train: bool = False) -> jax.Array:
        options: dict[str, Any] = {
            "heads": self.heads,
            "mlp_ratio": self.mlp_ratio,
            "activation": self.activation,
            "epsilon": self.epsilon,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "train": train,
        }
        block = _rematerialised(self.remat, scan=self.scan)
        x = x.astype(self.dtype)
        if self.scan and self.depth:
            run = nn.scan(
                lambda module, x, _: (module(x, mask_bp), None),
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                length=self.depth,
            )
            x, _ = run(block(name="encoderblock", **options), x, None)
        else:
            for layer in range(self.depth):
                if layer == self.depth - 1:
                    options["only"] = self.only
                x = block(name=f"encoderblock_{layer}", **options)(x, mask_bp)
        if self.scan or not self.depth:
            x = _pick(x, self.only)
        if self.final_norm:
            x = pointwise.LayerNorm(
                self.epsilon, dtype=self.dtype, name="encoder_norm"
            )(x)
        return x


def _rematerialised(remat: str, scan: bool) -> Any:
    """Return the block class with the asked memory policy."""
    if remat == "none":
        return Encoder1DBlock
    if remat == "full":
        policy = jax.checkpoint_policies.nothing_saveable
    elif remat == "dots":
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    else:
        raise ValueError(f"remat: got {remat!r}, allowed: none, full, dots")
    return nn.remat(Encoder1DBlock, prevent_cse=not scan, policy=policy)


def stack_blocks(params: dict[str, Any]) -> dict[str, Any]:
    """Turn every `encoderblock_{i}` family of a tree into one stacked `encoderblock`.

    The inverse is `unstack_blocks`. Works on any tree that holds Transformers.
    """
    families: dict[tuple, dict[int, Any]] = {}
    flat = {}
    for path, leaf in traverse_util.flatten_dict(params).items():
        spot = _block_position(path)
        if spot is None:
            flat[path] = leaf
            continue
        layer = int(path[spot].removeprefix("encoderblock_"))
        path = (*path[:spot], "encoderblock", *path[spot + 1 :])
        families.setdefault(path, {})[layer] = leaf
    for path, leaves in families.items():
        flat[path] = jnp.stack([leaves[layer] for layer in sorted(leaves)])
    return traverse_util.unflatten_dict(flat)


def unstack_blocks(params: dict[str, Any]) -> dict[str, Any]:
    """Turn every stacked `encoderblock` of a tree into `encoderblock_{i}` subtrees."""
    flat = {}
    leaf: Any
    for path, leaf in traverse_util.flatten_dict(params).items():
        if "encoderblock" not in path:
            flat[path] = leaf
            continue
        spot = path.index("encoderblock")
        for layer in range(leaf.shape[0]):
            name = f"encoderblock_{layer}"
            flat[(*path[:spot], name, *path[spot + 1 :])] = leaf[layer]
    return traverse_util.unflatten_dict(flat)


def _block_position(path: tuple[str, ...]) -> int | None:
    for spot, name in enumerate(path):
        if name.startswith("encoderblock_"):
            return spot
    return None


class MAPHead(nn.Module):
    """Pool tokens by a learned probe's attention, then a residual LayerNorm + MLP.

    (b, p, w) -> (b, w), as in SigLIP 2's image tower.
    """

    heads: int
    mlp_ratio: float = 4.0
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask_bp: jax.Array | None = None) -> jax.Array:
        w = x.shape[-1]
        probe = self.param("probe", _xavier, (1, 1, w), jnp.float32)
        probe = probe.astype(self.dtype)
        x = MultiHeadDotProductAttention(self.heads, self.dtype)(probe, x, mask_bp)
        y = pointwise.LayerNorm(self.epsilon, dtype=self.dtype)(x)
        x = x + MlpBlock(round(self.mlp_ratio * w), dtype=self.dtype)(y)
        return x[:, 0]
