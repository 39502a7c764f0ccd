# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trained towers of a run as one SigLIP model."""

import pathlib
from typing import Any

from unigeo_jax import model
from unigeo_jax.siglip import convert, files, start


def towers_of(
    config: Any, params: Any, image: str, text: str, path: pathlib.Path
) -> files.Weights:
    """An image and a text tower with the temperature, and the bias, of their pair.

    Args:
      config, params: of the run.
      image, text: names in `config.towers`; `path` is for messages.

    Raises:
      ValueError: no such towers, or such as SigLIP has none.
    """
    nets = {}
    for name, side in ((image, "img"), (text, "txt")):
        tower = config.towers.get(name)
        if tower is None or start.SIDE.get(tower.module or name) != side:
            raise ValueError(
                f"{path}: {name!r} is no {'image' if side == 'img' else 'text'} tower;"
                f" towers: {', '.join(config.towers)}"
            )
        nets[side] = tower.net
    words = nets["txt"]
    pools = nets["img"].get("pool", "map"), words.get("pool", "mean")
    if pools != ("map", "last") or words.get("mask_padding", True):
        raise ValueError(
            f"{path}: pools {pools[0]} and {pools[1]}, mask_padding"
            f" {words.get('mask_padding', True)}; SigLIP has: map and last, False"
        )
    names = tuple(config.towers)
    pair = model.pair_index(names, image, text)
    scalars = {"t": -float(params["log_tau"][pair]), "b": 0.0}
    if "logit_bias" in params:
        scalars["b"] = float(params["logit_bias"][pair])
    shared = config.share_image_towers and image == "street"
    picture = params["aerial" if shared else image]
    trees = {"img": picture, "txt": params[text]}
    return convert.in_memory(path, trees, scalars)
