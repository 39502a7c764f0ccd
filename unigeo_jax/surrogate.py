# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The released surrogate of MobCLIP (arXiv 2506.01297), float64 and PyTorch, as a
student here: float32, without PyTorch.

Its file holds `model_state_dict`: network.{0, 2, ..., 16}.{weight, bias} of nine linear
layers [1024, 512 x 8, 128] with ReLU between. They stand on harmonics of degrees 0 to
31 at phi = lon + 180 and theta = lat + 90 degrees, those of order 0 times pi.

Differs from MobCLIP: coordinates are (lat, lon) here as everywhere, (lon, lat) there.
"""

import pathlib
from typing import Any

import jax
import numpy as np

from unigeo_jax import pth, trained, workdir

KEY = "model_state_dict"
LEVELS, WIDTHS, DIM = 32, (512,) * 8, 128


def read(path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """Parameters of modalities/student.py with LEVELS, m0_pi, WIDTHS and DIM.

    Raises:
      ValueError: a file of another layout; it says what differs.
    """
    state = pth.read(path, KEY)
    sizes = [LEVELS**2, *WIDTHS, DIM]
    wanted = {}
    for number in range(len(sizes) - 1):
        name, (inputs, outputs) = f"network.{2 * number}", sizes[number : number + 2]
        wanted |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    shapes = {name: value.shape for name, value in state.items()}
    if shapes != wanted:
        differing = [
            f"{name}: got {shapes.get(name, 'nothing')}, wanted"
            f" {wanted.get(name, 'nothing')}"
            for name in sorted({*shapes, *wanted})
            if shapes.get(name) != wanted.get(name)
        ]
        raise ValueError(
            f"{path}: no surrogate of MobCLIP; {'; '.join(differing[:4])}"
            f"{' ...' if len(differing) > 4 else ''}; allowed: nine layers"
            " [1024, 512 x 8, 128]"
        )
    params: dict[str, dict[str, np.ndarray]] = {}
    for number in range(len(sizes) - 1):
        layer = "head" if number == len(WIDTHS) else f"hidden_{number}"
        weight, bias = (
            state[f"network.{2 * number}.{k}"].astype(np.float32)
            for k in ("weight", "bias")
        )
        params[layer] = {"kernel": np.ascontiguousarray(weight.T), "bias": bias}
    return params


def write_workdir(path: pathlib.Path, out: pathlib.Path, config: Any) -> None:
    """Makes a student's workdir of the file, which distill.load and evaluation read.

    Where its training places are was not published (China is where it was trained), so
    config.data.name stays empty unless the caller names a dataset of theirs, and there
    is no domain.npz: nothing can warn of points where it extrapolates.

    Raises:
      ValueError: a file of another layout, or an `out` of another config.
    """
    layers = read(path)
    with config.unlocked():
        config.dim, config.output, config.taught_by = DIM, "raw", ("mobility",)
        config.towers.coords.net.update(
            {"levels": LEVELS, "m0_pi": True, "sigmas": (), "frequencies": 0}
        )
        config.towers.coords.net.update({"widths": WIDTHS, "output": "raw"})
    trained.write(out, config, layers)
    count = sum(x.size for x in jax.tree.leaves(layers))
    workdir.say(f"in {out}: config.json checkpoints/; {count:,} parameters of {path}")
