# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A dataset of your own places: a tower for every field that it has.

python launch/train.py --config=configs/own.py:data=NAME --data_dir=DIR
  mini towers, their shapes and scales from the statistics of the dataset, that
  launch/make_dataset.py wrote.
python launch/train.py --config=configs/own.py:data=NAME,size=B --data_dir=DIR
  UniGeoCLIP's towers at 224 px, for accelerators; pictures are enlarged to it.
python launch/train.py --config=configs/own.py:data=NAME,only=dsm+coords --data_dir=DIR
  some of the towers only.
python launch/train.py --config=configs/own.py:data=NAME,time --data_dir=DIR
  coordinates with year and month, of the table's column time.

A dataset with flows has the mobility tower, contrasted with all others;
configs/mobclip.py:data=NAME makes it the pivot.

The folder of the datasets is --data_dir, else $UNIGEO_DATA_DIR.
"""

import math
from typing import Any

from ml_collections import ConfigDict

from configs import common, five_modal, mobclip

HALF = 3231.0  # km: the correlation of features of sigma s is .5 at HALF / s


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg, data="", only="", time=False)
    about = common.statistics(args["data"])
    config = common.training(args["size"], args["init"])
    config.name = common.name("own", arg)
    config.data.name = args["data"]
    train = about["places"].get("train", 0)
    if args["size"] == "mini":
        config.batch = max(8, min(128, train // 64 * 8))
        config.steps = min(2450, max(200, 30 * train // config.batch))
    config.eval.splits = common.held_out(about)
    found = towers(about, args["size"])
    if args["tiny"]:
        common.shrink(config)
        found = towers(about, "mini", 32)
    if args["time"]:
        found["coords"]["net"]["time"] = years(about)
        found["coords"]["data"] |= {"time": True, "time_drop": 0.2}
    config.towers = choose(found, args["only"])
    return config.lock()


def years(about: dict[str, Any]) -> tuple[float, float]:
    """Mean and deviation of the years of the training places, 1 where it is 0."""
    field = about["fields"].get("time", {})
    if not field.get("present", {}).get("train") or not field.get("mean"):
        raise ValueError(
            f"config argument time: no training place of {about['name']} has a time;"
            " allowed: with a column time (2021-06-30, 2021-06, 2021) in its table"
        )
    return field["mean"][0], field["std"][0] or 1.0


def choose(found: dict, only: str) -> dict:
    """The towers named in `only`, parted by +; all of them for ""."""
    names = only.split("+") if only else list(found)
    if unknown := sorted(set(names) - set(found)):
        raise ValueError(
            f"config argument only: got {', '.join(unknown)};"
            f" allowed: {', '.join(found)}"
        )
    if len(names) < 2:
        raise ValueError(
            f"towers {', '.join(names)}: allowed: two or more; the dataset has"
            f" {', '.join(found)}"
        )
    return {name: found[name] for name in names}


def towers(about: dict[str, Any], size: str, width: int = 128) -> dict:
    """One tower a field that some training place has, and coordinates."""
    mini = size == "mini"
    base = five_modal.mini(width) if mini else five_modal.paper(size)
    found = {}
    for name, field in about["fields"].items():
        kind = field["tower"]
        if not field["present"].get("train") or kind == "time":
            continue
        if kind in ("aerial", "night", "dsm", "bands"):
            found[name] = tile(name, field, base, width, mini)
        elif kind == "street":
            found[name] = base["street"]
            found[name]["data"] |= {"views": field["views"], "rows": field["height"]}
            if mini:
                shape = field["height"], field["width"]
                found[name]["data"] |= {"height": shape[0], "width": shape[1]}
                found[name]["net"]["patch"] = patch(*shape)
        elif kind == "text":
            found[name] = base["text"]
        elif kind == "poi":
            found[name] = mobclip.poi(width // 2 if mini else 256)
        elif kind == "demographics":
            found[name] = mobclip.demographics(field["width"])
        elif kind == "vector":
            of = {"field": name, "width": field["width"]}
            found[name] = common.tower(of, {"hidden": 0}, module="vector")
        elif kind == "mobility":
            found[name] = mobclip.mobility()
    found["coords"] = base["coords"]
    found["coords"]["data"]["jitter_m"] = about["coords"]["extent_km"] * 2.5
    sigmas = scales(about["coords"], len(base["coords"]["net"]["sigmas"]))
    found["coords"]["net"]["sigmas"] = sigmas
    return found


def scales(coords: dict[str, Any], count: int) -> tuple[float, ...]:
    """Sigmas whose features reach from a third of the extent to a fiftieth of it.

    Not below the distance of neighbours. `earth` has a half to 8, by its own trial.
    """
    wide = max(coords["extent_km"], 1e-3) / 3
    fine = max(wide * 3 / 50, min(coords["spacing_km"], wide / 4))
    ratio = (wide / fine) ** (1 / (count - 1))
    return tuple(float(f"{HALF / wide * ratio**i:.4g}") for i in range(count))


def patch(height: int, width: int) -> tuple[int, int]:
    """Patches that make about 8 x 8 of a picture, of whole numbers of pixels."""

    def side(pixels: int) -> int:
        whole = [n for n in range(1, pixels + 1) if pixels % n == 0]
        return min(whole, key=lambda n: (abs(math.log(pixels / n / 8)), n))

    return side(height), side(width)


def tile(name: str, field: dict, base: dict, width: int, mini: bool) -> dict:
    """The tower of a square field, at its native pixels if mini."""
    kind, pixels = field["tower"], field.get("size") or field["width"]
    shift = max(1, pixels // 16)
    side = max(8, (pixels - 2 * shift) // 8 * 8)
    shift = max(0, (pixels - side) // 2)
    cut = {"size": side, "shift": shift, "symmetry": True}
    net = base["aerial"]["net"] | {"patch": patch(side, side)}
    if kind == "aerial":
        tower = base["aerial"]
        tower["data"] |= {"on_device": True}
    elif kind == "dsm":
        tower = base["dsm"]
        relief = field["std"][1] or 1.0
        tower["data"] |= {"scale_m": max(relief, 0.1), "clip": 8.0}
        net = base["dsm"]["net"] | {"patch": patch(side, side), "contrast": 0.0}
    elif kind == "night":
        return common.tower(cut, net | {"pool": "mean"}, module="night")
    else:
        spread = [s or 1.0 for s in field["std"]]
        known = {"field": name, "mean": tuple(m or 0.0 for m in field["mean"])}
        known |= {"std": tuple(spread), "void": field["void"]}
        return common.tower(cut | known, net, module="bands")
    if mini:
        tower["data"] |= cut
        tower["net"] = net
    if kind == "aerial" and field.get("height") == pixels:
        leave_whole(tower, pixels)
    return tower


def leave_whole(tower: Any, side: int) -> None:
    """JPEGs little larger than what is cut out of them go to the device whole."""
    size, margin = tower["data"]["size"], 2 * math.ceil(tower["data"]["shift"])
    if size + margin <= side <= 1.25 * size:
        tower["data"] |= {"stored": side}
        tower["net"] = tower["net"] | {"cut": size}
