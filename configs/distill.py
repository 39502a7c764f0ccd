# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A student of coordinates alone, distilled from any trained run.

python launch/distill.py --workdir=TEACHER --out=DIR
  features of six scales and two hidden layers learn the mean of all towers.
python launch/distill.py --workdir=TEACHER --out=DIR --config.teacher=coords
    --config.output=unit --config.points=100000
  a faster stand-in for the teacher's own coordinate tower.
python launch/distill.py --config=configs/distill.py:mobclip --workdir=... --out=...
  the layout of MobCLIP's surrogate: harmonics to degree 31, eight hidden layers.

Differs from MobCLIP: how its surrogate was trained was not published; ours has a
twelfth of its size, and Fourier features beside or instead of harmonics, because a
half-wave of degree 31 is 650 km long.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg, mobclip=False)
    config = common.training("mini")
    for key in (
        "loss",
        "init",
        "size",
        "microbatch",
        "share_image_towers",
        "eval",
        "stop",
    ):
        del config[key]
    config.name = common.name("distill", arg)
    config.task = "distillation"
    config.steps, config.batch, config.dtype = 4000, 2048, "float32"
    config.log_every = 50
    config.dim = 0  # the teacher's
    config.data = {"name": "", "split": "train"}  # the teacher's
    # Whose vectors: the mean of the unit vectors of all towers that a place has
    # (fused), or one tower, such as mobility or coords, not normalised.
    config.teacher = "fused"
    config.taught_by = ()  # the towers that came to
    config.output = "raw"  # or unit, or unit+norm: log of the norm behind it
    config.points = 0  # more targets, of teacher=coords, near places and on land
    config.held_out = 0.1  # share of the places, in whole squares
    config.block_deg = 2
    config.refit = True  # the student that is kept sees the held-out squares too
    config.domain_km = 50.0  # further from any place the student warns
    config.optim.update(
        {"name": "adamw", "lr": 2e-3, "b2": 0.99, "weight_decay": 1e-3, "warmup": 0.05}
    )
    config.checkpoint = {"every": 0, "keep": 1}
    config.eval = {"every": 0}
    config.towers = {"coords": common.tower({}, network(), module="student")}
    if args["mobclip"]:
        config.towers.coords.net.update(mobclip())
    if args["tiny"]:
        config.steps, config.batch = 30, 64
        config.towers.coords.net.update({"frequencies": 4, "widths": (16, 16)})
    return config.lock()


def network() -> dict:
    return {
        "levels": 0,  # degrees of harmonics
        "m0_pi": False,
        "sigmas": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0),
        "frequencies": 32,
        "fade": 0.0,
        "grids": (),  # hash grids: of each, degrees a pixel, entries, channels
        "widths": (256, 256),
        "output": "",  # config.output
    }


def mobclip() -> dict:
    return {"levels": 32, "sigmas": (), "frequencies": 0, "widths": (512,) * 8}
