# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of coordinates that comes with the package: launch/package.py makes it.

Neither heights, climate, people nor texts of the bundle are in it, so that labels of
these can be predicted from its vectors; night lights, vegetation and land cover are.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, distill


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg)
    config = distill.get_config()
    with config.unlocked():
        for key in ("teacher", "held_out", "block_deg", "refit", "output", "domain_km"):
            del config[key]
        config.name = common.name("packaged", arg)
        config.data.name = "earth"
        # In the words of launch/evaluate.py: what it says of labels.
        config.taught_by = ("geoclip", "aerial", "night", "vegetation", "landcover")
        config.points = 40_000  # by which components are found and parts are scaled
        # Deviations of the parts: harmonics, all of GeoCLIP; of what is seen, each map.
        config.weight, config.geoclip_weight = 1.0, 1.0
        config.levels = tuple(maps())
        # The network for what no map can hold: GeoCLIP's capsule of sigma 256.
        config.fine = {"capsule": 2, "channels": 32, "points": 4_000_000}
        config.steps, config.batch = 6000, 8192
        config.optim.update({"lr": 1e-2, "eps": 1e-10, "weight_decay": 0.0})
        net = {"levels": 10, "grids": tuple(grids()), "widths": (128,), "maps": ()}
        net |= {"fine_channels": 0, "turns": ()}  # as they come
        config.towers.coords.net = net
        config.towers.coords.module = "atlas"
        if args["tiny"]:
            config.points, config.steps, config.batch = 400, 5, 64
            config.fine.update({"channels": 3, "points": 400})
            config.towers.coords.net.grids = ((2.0, 50, 2), (0.5, 70, 3))
            config.towers.coords.net.widths = (6, 5)
            config.levels = (level(3.0, 5, (0, 1)), level(3.0, 6, (), 4.0))
    return config.lock()


def grids() -> list[tuple[float, int, int]]:
    """Degrees a pixel, entries, channels."""
    sizes = {0.5: 15_000, 0.25: 30_000, 0.125: 33_000, 0.0625: 18_000}
    return [(degrees, entries, 40) for degrees, entries in sizes.items()]


def level(
    degrees: float,
    channels: int,
    capsules: tuple[int, ...],
    blur: float = 0.0,
    weight: float = 1.0,
) -> dict[str, Any]:
    """One map, as earth_encoder.build_level takes it."""
    return {
        "degrees": degrees,
        "channels": channels,
        # Of GeoCLIP: 0 and 1 hold waves of 540 km and more, 2 finer ones. (): imagery.
        "capsules": capsules,
        "blur": blur,
        "weight": weight,
    }


def maps() -> list[dict[str, Any]]:
    return [
        level(1.0, 117, (0, 1)),
        level(0.125, 8, (), 0.0, 0.6),
        level(0.5, 12, (), 0.5, 0.5),
        level(1.0, 20, (), 2.0, 0.6),
    ]
