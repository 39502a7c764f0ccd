# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Other architectures of the coordinate encoder, trained as configs/five_modal.py is.

python launch/train.py --config=configs/peers.py:coords=satclip
  SatCLIP's architecture: harmonics of degrees 0 to 9, then a SIREN. satclip40: to 39.
python launch/train.py --config=configs/peers.py:coords=geoclip
  GeoCLIP's: random Fourier features at sigma 1, 16 and 256, an MLP each, their sum.
  geoclip_low: sigma 0.5, 2 and 8, which fit places 400 km apart.

Same data, steps, loss and other towers, so that architectures are compared on equal
data: neither of them is the published model, which saw other data for longer. Short
runs over seeds: python launch/sweep.py --variants=all_to_all,satclip,geoclip
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, five_modal

SIGMAS = {"geoclip": (1.0, 16.0, 256.0), "geoclip_low": (0.5, 2.0, 8.0)}
LEVELS = {"satclip": 10, "satclip40": 40}
NAMES = (*LEVELS, *SIGMAS)


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg, coords="satclip")
    flag = ["tiny"] if args["tiny"] else []
    kept = [f"{key}={args[key]}" for key in ("size", "data", "init") if args[key]]
    config = five_modal.get_config(",".join(kept + flag))
    with config.unlocked():
        config.name = common.name("peers", arg)
        change(config, args["coords"])
    return config


def change(config: ConfigDict, name: str) -> None:
    """Puts an encoder by `name` in place of that of coordinates.

    Raises:
      ValueError: unknown name.
    """
    if name in LEVELS:
        module, net = "satclip", satclip(LEVELS[name])
    elif name in SIGMAS:
        module, net = "geoclip", geoclip(SIGMAS[name], config.size)
    else:
        raise ValueError(
            f"config argument coords: got {name!r}; allowed: {', '.join(NAMES)}"
        )
    data = config.towers.coords.data.to_dict()
    config.towers.coords = ConfigDict(common.tower(data, net, module))


def satclip(levels: int) -> dict[str, Any]:
    return {"levels": levels, "hidden": 512, "layers": 2, "dropout": 0.0}


def geoclip(sigmas: tuple[float, ...], size: str) -> dict[str, Any]:
    """Differs from GeoCLIP: size mini has hidden layers a quarter as wide."""
    hidden = 256 if size == "mini" else 1024
    return {"sigmas": sigmas, "frequencies": 256, "hidden": hidden, "layers": 3}
