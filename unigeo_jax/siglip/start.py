# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`config.init.siglip`: towers of a config start from one SigLIP file."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from unigeo_jax import modalities
from unigeo_jax.siglip import files, towers

SIDE = {"aerial": "img", "street": "img", "text": "txt"}  # by modality file


class Start(NamedTuple):
    """Parameters to replace, by path in the model's tree, largest first."""

    read: dict[tuple[str, ...], Callable[[], np.ndarray]]
    said: str


def plan(config: Any, params: Any) -> Start | None:
    """Match the file of `config.init.siglip` with the towers; reads no values.

    Returns None if no file is named.

    Args:
      config: the whole config; reads `init`, `towers`, `loss`.
      params: the model's parameters, arrays or shapes.

    Raises:
      ValueError: no such file, or one that does not fit; the message says how.
    """
    init, loss = config.init, config.loss
    if not init.siglip:
        return None
    weights = files.open_weights(init.siglip)
    wanted = [
        _tower(name, config.towers[name], params[name])
        for name in _names(config, params)
    ]
    found = towers.plan(weights, wanted)
    shapes = {(t.name, path): s for t in wanted for path, s in t.shapes.items()}
    read: dict[tuple[str, ...], Callable[[], np.ndarray]] = {
        (name, *path.split("/")): found.read[name, path]
        for name, path in found.order(shapes)
    }
    said = (
        f"towers {', '.join(t.name for t in wanted)} start from {weights.path}"
        f" ({found.layout.name})"
    )
    if any(
        t.side == "txt" and not config.towers[t.name].data.get("vocab") for t in wanted
    ):
        said += (
            "; text is read with the bundled vocabulary, which is not the one that"
            " SigLIP 2 was trained with (towers.text.data.vocab)"
        )
    if found.kept:
        said += f"; from scratch, because config.dim is another: {' '.join(found.kept)}"
    for option, scalar, leaf in (
        ("temperature", "t", "log_tau"),
        ("bias", "b", "logit_bias"),
    ):
        if not init[option]:
            continue
        if scalar not in found.scalar or leaf not in params:
            where = "the file has none" if leaf in params else "config.loss has none"
            raise ValueError(
                f"config.init.{option}: got True, but {where};"
                " allowed: False, or a file with it (and loss.kind=sigmoid for a bias)"
            )
        value = found.scalar[scalar]()
        if option == "temperature":
            value, tau = _log_tau(-value, loss)
            said += f"; temperature {tau:.5f}"
        else:
            said += f"; bias {value:.4f}"
        shape = params[leaf].shape
        read[(leaf,)] = lambda s=shape, v=value: np.full(s, v, np.float32)
    return Start(read, said)


def _log_tau(log_tau: float, loss: Any) -> tuple[float, float]:
    """SigLIP's factor as our log temperature, within the bounds of the loss."""
    bounded = min(max(log_tau, math.log(loss.tau_min)), math.log(loss.tau_max))
    return bounded, math.exp(bounded)


def _names(config: Any, params: Any) -> list[str]:
    able = {
        name: SIDE[tower.module or name]
        for name, tower in config.towers.items()
        if (tower.module or name) in SIDE and name in params
    }
    names = list(config.init.towers or able)
    wrong = [name for name in names if name not in able]
    if wrong or not names:
        raise ValueError(
            f"config.init.towers: got {wrong or names}; allowed: towers of the"
            f" modalities {', '.join(SIDE)} with weights of their own:"
            f" {', '.join(able) or 'none here'}"
        )
    return names


def _tower(name: str, tower: Any, params: Mapping[str, Any]) -> towers.Tower:
    module = tower.module or name
    shapes = towers.flat_shapes(params)
    return towers.Tower(name, SIDE[module], shapes, _grid(module, tower))


def _grid(module: str, tower: Any) -> towers.Grid | None:
    """Rows and columns of patches of an image tower with a fixed grid."""
    zeros = modalities.get(module).spec(**tower.data.to_dict())
    image = zeros.get("image") if isinstance(zeros, dict) else zeros
    if image is None or image.ndim < 3:
        return None
    patch = tower.net.get("patch", 16)
    ph, pw = (patch, patch) if isinstance(patch, int) else patch
    cut = tower.net.get("cut", 0)  # what the Encoder sees of larger pictures
    height, width = (cut, cut) if cut else image.shape[-3:-1]
    return height // ph, width // pw


def fill(start: Start, params: Any) -> Any:
    """Replace arrays by the file's, each in the sharding that it has.

    One array of the file is in memory at a time, and what it replaces is freed first:
    `params` cannot be used afterwards.
    """
    flat: dict[Any, Any] = traverse_util.flatten_dict(params)
    for path, read in start.read.items():
        old = flat[path]
        shape, dtype, sharding = old.shape, old.dtype, old.sharding
        old.delete()
        flat[path] = _placed(read().astype(dtype, copy=False), shape, sharding)
    return traverse_util.unflatten_dict(flat)


def _placed(value: np.ndarray, shape: tuple[int, ...], sharding: Any) -> jax.Array:
    return jax.make_array_from_callback(shape, sharding, lambda index: value[index])
