# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All eight modalities in one space: those of UniGeoCLIP and those of MobCLIP.

python launch/train.py --config=configs/unified.py
  on `us_places`, where every place is a node of the mobility graph.
python launch/train.py --config=configs/unified.py:data=earth
  on `earth`, where mobility is that of 305 US airports and lacking elsewhere.
python launch/train.py --config=configs/unified.py:data=planet/1000000
  on a synthetic planet of as many places (x pixels), computed as they are read.

The street view of both is rendered from elevation and imagery; local flows of
`us_places` are gravity-modelled.
"""

from ml_collections import ConfigDict

from configs import common, five_modal, mobclip

# Columns of the field `demographics`, and (start, stop) of histograms among them.
DEMOGRAPHICS = {"us_places": (5, ()), "earth": (46, ()), "planet": (8, ())}


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg, data="us_places")
    config = common.training(args["size"], args["init"])
    config.name = common.name("unified", arg)
    config.data.name = args["data"]
    if args["size"] == "mini":
        config.steps = 2000
    config.towers = towers(args["size"], args["data"])
    if args["tiny"]:
        common.shrink(config)
        config.towers = towers("mini", args["data"], width=16, views=1)
        small = {"us_places": "us_places/tiny", "planet": "planet/512"}
        config.data.name = small.get(config.data.name, config.data.name)
    return config.lock()


def towers(size: str, data: str, width: int = 128, views: int = 1) -> dict:
    """The five of UniGeoCLIP, then points of interest, demographics and mobility."""
    mini = size == "mini"
    five = five_modal.mini(width, views) if mini else five_modal.paper(size)
    columns, bins = DEMOGRAPHICS.get(data.partition("/")[0], (0, ()))
    if data.startswith("planet/") and "x" in data:
        pixels = int(data.partition("x")[2].partition("-")[0])
        five["street"]["data"]["rows"] = 16 * max(1, pixels // 32)
    found = five | {"poi": mobclip.poi(width // 2 if mini else 256)}
    # A dataset of one's own: give --config.towers.demographics.data.width.
    found["demographics"] = mobclip.demographics(columns or 1, bins)
    return found | {"mobility": mobclip.mobility()}
