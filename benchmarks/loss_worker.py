# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The variants of benchmarks/loss.py: one process each, started by it."""

import functools
import importlib
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import protocol

MODALITIES = ("aerial", "street", "dsm", "text", "coords")
PAIRS = tuple(itertools.combinations(range(len(MODALITIES)), 2))
TAU = (0.05, 0.1)  # about where training keeps temperatures


def inputs(batch: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 unit vectors z_mbd that share a part by place, and tau_mm."""
    rng = np.random.default_rng(0)
    m = len(MODALITIES)
    z_mbd = rng.standard_normal((m, batch, width), np.float32)
    z_mbd += 0.5 * rng.standard_normal((1, batch, width), np.float32)
    z_mbd /= np.linalg.norm(z_mbd, axis=-1, keepdims=True)
    tau_mm = np.triu(rng.uniform(*TAU, (m, m))).astype(np.float32)
    return z_mbd, tau_mm + np.triu(tau_mm, 1).T


def reference(z_mbd: np.ndarray, tau_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Returns loss, grad_z and grad_tau in float64, pair by pair, by hand.

    The mean over the unordered pairs of (CE(S) + CE(S^T)) / 2, S = x y^T / tau, which
    is the mean over the ordered ones. grad_tau is on the upper triangle.
    """
    z_mbd = z_mbd.astype(np.float64)
    batch = z_mbd.shape[1]
    loss, grad_z, grad_tau = 0.0, np.zeros_like(z_mbd), np.zeros(tau_mm.shape)
    each = 1 / (2 * batch * len(PAIRS))
    for m, n in PAIRS:
        tau = float(tau_mm[m, n])
        logits_bg = z_mbd[m] @ z_mbd[n].T / tau
        grad_bg = np.zeros_like(logits_bg)
        for axis in (0, 1):
            top = logits_bg.max(axis, keepdims=True)
            exp_bg = np.exp(logits_bg - top)
            sums = exp_bg.sum(axis, keepdims=True)
            loss += each * (np.log(sums) + top).sum()
            exp_bg *= each / sums
            grad_bg += exp_bg
        loss -= 2 * each * np.trace(logits_bg)
        grad_bg[np.diag_indices(batch)] -= 2 * each
        grad_z[m] += grad_bg @ z_mbd[n] / tau
        grad_z[n] += grad_bg.T @ z_mbd[m] / tau
        grad_tau[m, n] = -np.einsum("bg,bg->", grad_bg, logits_bg) / tau
    return {"loss": np.array(loss), "grad_z": grad_z, "grad_tau": grad_tau}


def ours(form: str, dtype: str, batch: int, width: int, **options) -> protocol.Work:
    """Compiles value and gradients of a loss of this package for the first device."""
    import jax
    import jax.numpy as jnp

    from unigeo_jax.losses import contrastive

    if form == "plain":
        loss = contrastive.loss
    else:
        module = importlib.import_module(f"unigeo_jax.losses.{form}")
        loss = functools.partial(module.loss, mesh=None, **options)
    weights_mm = contrastive.all_to_all(MODALITIES)
    z_mbd, tau_mm = map(jnp.asarray, inputs(batch, width))
    here_mb = jnp.ones((len(MODALITIES), batch), bool)
    args = z_mbd.astype(dtype), tau_mm, here_mb, jnp.arange(batch)

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def scalar(z_mbd, tau_mm, here_mb, cell_b):
        return loss(z_mbd, here_mb, cell_b, weights_mm, tau_mm)[0]

    began = time.perf_counter()
    program = jax.jit(scalar).lower(*args).compile()
    seconds = time.perf_counter() - began
    memory: Any = program.memory_analysis()
    device = jax.devices()[0]

    def device_growth(run: Callable[[], Any]) -> tuple[int, Any]:
        # This peak is never reset: the run before is part of it, which is as large.
        held = device.memory_stats()["bytes_in_use"]
        out = run()
        return device.memory_stats()["peak_bytes_in_use"] - held, out

    def arrays(out):
        value, (grad_z, grad_tau) = out
        return {
            "loss": np.asarray(value),
            "grad_z": np.asarray(grad_z.astype(jnp.float32)),
            "grad_tau": np.asarray(grad_tau),
        }

    about = {
        "device": "cpu" if device.platform == "cpu" else device.device_kind,
        "compile_s": seconds,
        "gradient_bytes": args[0].nbytes,
        "xla_temp_bytes": memory.temp_size_in_bytes,
    }
    growth = protocol.host_growth if device.platform == "cpu" else device_growth
    return protocol.Work(
        lambda: jax.block_until_ready(program(*args)), arrays, growth, about
    )


def openclip(form: str, dtype: str, batch: int, width: int) -> protocol.Work:
    """Prepares the mean of ten OpenCLIP ClipLosses and its gradients in torch.

    form: "sum" adds the ten and goes back once, as a trainer would; "by_pair" goes back
    after each pair, the least memory these losses allow, at the price of one
    backward pass a pair through whatever stands before them.
    dtype: "amp" is autocast to bfloat16 of float32 embeddings.
    """
    torch = importlib.import_module("torch")
    torch.set_num_threads(protocol.cores())
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    clip_loss = clip_loss_class()()
    kept = torch.bfloat16 if dtype == "bfloat16" else torch.float32

    z_mbd, tau_mm = map(torch.from_numpy, inputs(batch, width))
    # One tensor a modality, as towers give them: slices of one would cost torch a
    # tensor of all modalities each on the way back.
    leaves = [z_bd.to(device, kept).requires_grad_() for z_bd in z_mbd]
    tau_mm = tau_mm.to(device).requires_grad_()
    del z_mbd

    def run():
        total = torch.zeros((), device=device)
        for m, n in PAIRS:
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "amp"):
                loss = clip_loss(leaves[m], leaves[n], 1 / tau_mm[m, n]) / len(PAIRS)
            if form == "by_pair":
                loss.backward()
                loss = loss.detach()
            total = total + loss
        if form == "sum":
            total.backward()
        if cuda:
            torch.cuda.synchronize()
        *grads_z, grad_tau = (x.grad for x in (*leaves, tau_mm))
        for x in (*leaves, tau_mm):
            x.grad = None
        return total.detach(), grads_z, grad_tau

    def device_growth(run: Callable[[], Any]) -> tuple[int, Any]:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        out = run()
        return torch.cuda.max_memory_allocated() - held, out

    def arrays(out):
        value, grads_z, grad_tau = out
        return {
            "loss": value.float().cpu().numpy(),
            "grad_z": torch.stack(grads_z).float().cpu().numpy(),
            "grad_tau": grad_tau.cpu().numpy(),
        }

    about = {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "gradient_bytes": sum(x.nbytes for x in leaves),
    }
    growth = device_growth if cuda else protocol.host_growth
    return protocol.Work(run, arrays, growth, about)


def clip_loss_class() -> Any:
    """Loads open_clip.loss.ClipLoss from its file, which needs nothing but torch.

    Importing its package would import torchvision, timm and more first.
    """
    package = importlib.util.find_spec("open_clip")
    assert package and package.submodule_search_locations
    path = os.path.join(package.submodule_search_locations[0], "loss.py")
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss


if __name__ == "__main__":
    SPEC = json.loads(sys.argv[1])
    SIDE = {"ours": ours, "openclip": openclip}[SPEC.pop("side")]
    protocol.serve(lambda: SIDE(**SPEC))
