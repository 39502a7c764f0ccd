# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All-pairs contrastive loss, the readable form: every logit matrix is written out.

For query modality m, key modality n and s_ij = <z[m,i], z[n,j]> / tau[m,n]:

- row i counts where m and n are both present at place i;
- its negatives are the places j of another cell where n is present;
- l_i = log(exp(s_ii) + sum over negatives of exp(s_ij + a_ij)) - s_ii, 0 without any;
- the pair's loss is the mean of l_i over the counted rows of the global batch;
- loss = sum w[m,n] pair loss / sum w[m,n], over the pairs with a counted row.

a_ij is 0, or for beta > 0 the hardness weight log(n_i exp(beta s_ij) / sum over
negatives k of exp(beta s_ik)) under stop-gradient, n_i negatives: mean weight 1.

With kind "sigmoid" l_i = softplus(-s_ii - bias) + sum over negatives of
softplus(s_ij + bias): every pair of places is its own two-class problem (SigLIP, arXiv
2303.15343, its equation 1 by rows), and no row needs another.

All-to-all, pivot and every ablation are one static (m, m) weight matrix. Memory is
O(pairs b g); `tiled` and `ring` compute the same in O(tile).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

# Finite, so that a row whose keys are all masked has finite value and gradient.
MASKED = -1e30
# Under any sum of weights that is not zero.
_TINY = 1e-30
# exp(log(bound)) misses the bound by a rounding; such a value counts as inside.
_BOUND_SLACK = 1e-5


def all_to_all(names: Sequence[str], *, include_self: bool = False) -> np.ndarray:
    """Return weights (m, m) of ones for the m (m - 1) ordered pairs, or for all m^2.

    With m = n (`include_self`) the positive is 1, so that term only spreads places.
    """
    return np.ones((len(names),) * 2) - (0 if include_self else np.eye(len(names)))


def pivot(names: Sequence[str], name: str) -> np.ndarray:
    """Return weights (m, m) of the pairs that touch `name`, both directions (MobCLIP).

    Raises ValueError if `name` is not one of `names`.
    """
    touches_m = np.isin(list(names), _among(names, [name]))
    return all_to_all(names) * (touches_m[:, None] | touches_m[None, :])


def subset(
    weights_mm: np.ndarray, names: Sequence[str], kept: Sequence[str]
) -> np.ndarray:
    """Return the weights with the pairs that leave `kept` set to 0 (ablations).

    Raises ValueError if one of `kept` is not one of `names`.
    """
    kept_m = np.isin(list(names), _among(names, kept))
    return weights_mm * np.outer(kept_m, kept_m)


def loss(
    z_mbd: Array,
    here_mb: Array,
    cell_b: Array,
    weights_mm: np.ndarray,
    tau_mm: ArrayLike,
    *,
    kind: str = "infonce",
    bias_mm: ArrayLike | None = None,
    beta: float = 0.0,
    tau_range: tuple[float, float] = (0.01, 1.0),
    gather: Callable[[Array], Array] = lambda x: x,
) -> tuple[Array, dict[str, Array]]:
    """Contrast every ordered pair that has a weight; absent entries get zero gradient.

    z_mbd: unit vectors of the global batch; what absent entries hold is never used.
    here_mb: presence. cell_b: int (b, 2) words or (b,); equal rows are the same cell.
    weights_mm: static numpy (query, key); pairs of weight 0 are not computed.
    tau_mm: one temperature per unordered pair: the entry on or above the diagonal
      serves both directions and alone receives the gradient. Clamped to `tau_range`,
      with zero gradient outside it.
    kind: "infonce", or "sigmoid" with bias_mm: one bias per unordered pair, as tau_mm.
    gather: replicates an array over the mesh; called once each on the embeddings of
      all modalities, on presence and on cells, so no pair gathers again. Products are
      in the dtype it gives the embeddings, their sums in float32.

    Returns the scalar and {"pair_loss_mm", "pair_rows_mm"}: mean loss and number of
    counted rows by (query, key), 0 for a pair without weight or without rows.

    Raises ValueError if shapes disagree, weights are negative or all zero, or options
    do not go together.
    Source: UniGeoCLIP (arXiv 2604.11668), its all-to-all InfoNCE.
    Differs from UniGeoCLIP: absent modalities and same-cell places are masked, every
    unordered pair has a temperature, the m = n terms are optional.
    """
    weights_mm = check(z_mbd, here_mb, cell_b, weights_mm, tau_mm)
    check_kind(kind, bias_mm, beta, weights_mm.shape)
    here_mb = here_mb.astype(bool)
    z_mgd, here_mg, cell_g = map(gather, (z_mbd, here_mb, cell_b))
    # Before any product: 0 * NaN is NaN.
    z_mbd, z_mgd = _present(z_mbd, here_mb), _present(z_mgd, here_mg)
    # The place itself is in its own cell, so no positive is among the negatives.
    elsewhere_bg = _differ(cell_b, cell_g)
    pairs: dict[tuple[int, int], tuple[Array, Array]] = {}
    for m, n in np.argwhere(np.triu(weights_mm + weights_mm.T)):
        tau = clamp(jnp.asarray(tau_mm)[m, n], tau_range)
        negative_bg = elsewhere_bg & here_mb[m][:, None] & here_mg[n][None, :]
        dots_bg = dot("bd,gd->bg", z_mbd[m], z_mgd[n])
        logits_bg = jnp.where(negative_bg, dots_bg / tau, MASKED)
        bias = 0.0 if bias_mm is None else jnp.asarray(bias_mm)[m, n]
        # One product serves both directions; sums over rows leave columns gathered.
        if weights_mm[m, n]:
            own_b = dot("bd,bd->b", z_mbd[m], z_mbd[n]) / tau
            row_b = _rows(kind, logits_bg, own_b, bias, 1, beta)
            pairs[m, n] = _average(row_b, here_mb[m] & here_mb[n])
        if weights_mm[n, m] and m != n:
            own_g = dot("gd,gd->g", z_mgd[m], z_mgd[n]) / tau
            row_g = _rows(kind, logits_bg, own_g, bias, 0, beta)
            pairs[n, m] = _average(row_g, here_mg[m] & here_mg[n])
    return weigh(weights_mm, pairs)


def _present(z_mbd: Array, here_mb: Array) -> Array:
    return jnp.where(here_mb[:, :, None], z_mbd, 0)


def weigh(weights_mm: np.ndarray, pairs: dict) -> tuple[Array, dict[str, Array]]:
    """Average {(query, key): (loss, rows)} by weight over the pairs that have rows."""
    at = tuple(np.array(list(pairs)).T)
    loss_e, rows_e = map(jnp.stack, zip(*pairs.values(), strict=True))
    weight_e = jnp.where(rows_e > 0, jnp.asarray(weights_mm[at], loss_e.dtype), 0)
    total = (weight_e * loss_e).sum() / jnp.maximum(weight_e.sum(), _TINY)
    zeros_mm = jnp.zeros(weights_mm.shape, loss_e.dtype)
    return total, {
        "pair_loss_mm": zeros_mm.at[at].set(loss_e),
        "pair_rows_mm": zeros_mm.astype(rows_e.dtype).at[at].set(rows_e),
    }


def _rows(
    kind: str,
    logits_bg: Array,
    positives_b: Array,
    bias: Array | float,
    axis: int,
    beta: float,
) -> Array:
    """Return l_i of every row (axis 1) or column (axis 0); masked logits are MASKED."""
    if kind == "sigmoid":
        return jax.nn.softplus(logits_bg + bias).sum(axis) + jax.nn.softplus(
            -positives_b - bias
        )
    return jax.nn.softplus(_log_sum_exp(logits_bg, axis, beta) - positives_b)


def _average(loss_b: Array, counted_b: Array) -> tuple[Array, Array]:
    """Return the mean over counted rows, and their number."""
    rows = counted_b.sum()
    return jnp.where(counted_b, loss_b, 0).sum() / jnp.maximum(rows, 1), rows


def dot(spec: str, x: Array, y: Array) -> Array:
    """Multiply in y's dtype: sums of bfloat16 in float32, never TF32 for float32."""
    return jnp.einsum(
        spec,
        x.astype(y.dtype),
        y,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.promote_types(y.dtype, jnp.float32),
    )


def _log_sum_exp(logits_bg: Array, axis: int, beta: float) -> Array:
    """Sum the negatives of each row (axis 1) or column (axis 0), hard ones weighted."""
    if beta:
        fixed_bg = jax.lax.stop_gradient(beta * logits_bg)
        count = (logits_bg > MASKED / 2).sum(axis, keepdims=True)
        mean = jax.nn.logsumexp(fixed_bg, axis, keepdims=True) - jnp.log(
            jnp.maximum(count, 1).astype(logits_bg.dtype)
        )
        logits_bg = logits_bg + (fixed_bg - mean)
    return jax.nn.logsumexp(logits_bg, axis)


def _differ(cell_b: Array, cell_g: Array) -> Array:
    """Tell of every two places whether any word of their cell ids differs."""
    words_b, words_g = (x.reshape(len(x), -1).T for x in (cell_b, cell_g))
    differ_bg = words_b[0][:, None] != words_g[0][None, :]
    for word_b, word_g in zip(words_b[1:], words_g[1:], strict=True):
        differ_bg |= word_b[:, None] != word_g[None, :]
    return differ_bg


def clamp(tau: Array, tau_range: tuple[float, float]) -> Array:
    """Clip with the full gradient on the bounds, so that tau can leave them again."""
    low, high = tau_range
    inside = (tau >= low * (1 - _BOUND_SLACK)) & (tau <= high * (1 + _BOUND_SLACK))
    return jnp.where(inside, tau, jax.lax.stop_gradient(jnp.clip(tau, low, high)))


def _among(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return `wanted` as a list once each of them is known to be one of `names`."""
    for name in wanted:
        if name not in names:
            raise ValueError(f"weights: got modality {name!r}, allowed: {list(names)}")
    return list(wanted)


def check(z_mbd, here_mb, cell_b, weights_mm, tau_mm) -> np.ndarray:
    """Return the weights as float64 once every shape agrees with the embeddings'."""
    if z_mbd.ndim != 3:
        raise ValueError(f"loss: z_mbd must be (m, b, d), got {z_mbd.shape}")
    m, b, _ = z_mbd.shape
    for name, got, allowed in (
        ("here_mb", here_mb.shape, ((m, b),)),
        ("cell_b", cell_b.shape, ((b,), (b, 2))),
        ("weights_mm", np.shape(weights_mm), ((m, m),)),
        ("tau_mm", np.shape(tau_mm), ((m, m),)),
    ):
        if got not in allowed:
            raise ValueError(f"loss: {name} has shape {got}, allowed: {allowed}")
    weights_mm = np.asarray(weights_mm, np.float64)
    if not (np.isfinite(weights_mm).all() and (weights_mm >= 0).all()):
        raise ValueError(f"loss: weights_mm must be finite and >= 0, got {weights_mm}")
    if not weights_mm.any():
        raise ValueError("loss: weights_mm is all zero, so nothing is contrasted")
    return weights_mm


def check_kind(
    kind: str, bias_mm: ArrayLike | None, beta: float, shape: tuple[int, ...]
) -> None:
    """Refuse an unknown kind, and a bias or a hardness that it has no place for."""
    if kind not in ("infonce", "sigmoid"):
        raise ValueError(f"loss: kind is {kind!r}, allowed: infonce, sigmoid")
    got = None if bias_mm is None else np.shape(bias_mm)
    allowed = shape if kind == "sigmoid" else None
    if got != allowed:
        raise ValueError(
            f"loss: bias_mm has shape {got}, allowed for {kind}: {allowed}"
        )
    if beta < 0 or (beta and kind == "sigmoid"):
        raise ValueError(f"loss: beta is {beta}, allowed: 0, or > 0 with infonce")
