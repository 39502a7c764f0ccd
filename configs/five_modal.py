# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Aerial, street, surface height, text and coordinates, all against all (UniGeoCLIP).

python launch/train.py --config=configs/five_modal.py
  mini towers on the embedded `earth` dataset, about ten minutes on two CPU cores.
python launch/train.py --config=configs/five_modal.py:size=B,data=NAME --data_dir=DIR
  the paper's shape: SigLIP 2 B/16 towers, 224 px, batch 8,192, for accelerators.
python launch/train.py --config=configs/five_modal.py:size=B,init=FILE,data=NAME
  the same, with aerial, street and text towers started from a SigLIP 2 file.

The street view of `earth` is rendered from elevation and imagery, never a photograph.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg)
    config = common.training(args["size"], args["init"])
    config.name = common.name("five_modal", arg)
    config.data.name = args["data"]
    config.towers = mini() if args["size"] == "mini" else paper(args["size"])
    if args["tiny"]:
        common.shrink(config)
        config.towers = mini(width=32, views=2)
    return config.lock()


def mini(width: int = 128, views: int = 1) -> dict:
    """2.4 M parameters at the native pixels of `earth` (7 km and 9 km a pixel).

    Differs from UniGeoCLIP: small towers with mean pooling; lower coordinate scales
    (half of sigma 8 is 400 km, where held-out places are farther than that from any
    seen one), each read by weights of its own, blurred by 50 km in training; one street
    view a step, another of the place's three each time; heights through arcsinh,
    because most of the Earth is flat beside its mountains; Muon instead of Adam.
    """
    shape = {"heads": 4, "mlp_ratio": 2}
    block = shape | {"width": width}
    image = block | {"depth": 2, "pool": "mean"}
    return {
        "aerial": common.tower(
            {"size": 32, "shift": 2, "jitter": 0.05, "symmetry": False},
            image | {"patch": 8},
        ),
        "street": common.tower(
            {"views": views, "height": 16, "width": 96, "jitter": 0.05},
            image | {"patch": (16, 8)},
        ),
        "dsm": common.tower(
            {
                "size": 32,
                "shift": 2,
                "scale_m": 500.0,
                "clip": 8.0,
                "symmetry": False,
            },
            image | {"patch": 8, "registers": 0, "contrast": 18.0},
        ),
        "text": common.tower(
            {
                "length": 24,
                "vocab": "",
                "drop": 0.3,
                "mask_names": False,
                "siglip2": False,
            },
            block | {"vocab_size": 8192, "depth": 1},
        ),
        "coords": common.tower(
            {"jitter_m": 50_000.0},
            shape
            | {
                "sigmas": (0.5, 1.0, 2.0, 4.0, 8.0),
                "frequencies": width // 2,
                "registers": 2,
                "depth": 2,
                "projection": "equal_earth",
                "pool": "concat",
            },
        ),
    }


def transformer(size: str) -> dict:
    """Options of a transformer of a published size."""
    vit = common.VIT[size]
    shape = {key: vit[key] for key in ("width", "depth", "heads")}
    shape["mlp_ratio"] = vit["mlp"] / vit["width"]
    return shape | {"scan": True, "remat": "dots"}


def paper(size: str) -> dict:
    """UniGeoCLIP's towers at ViT size B (published), or at any other of common.VIT.

    `earth` holds 32 native pixels: enlarging them to 224 adds no detail, so
    these sizes are for data of your own.
    """
    vit = common.VIT[size]
    block = transformer(size)
    image = block | {"patch": vit["patch"]}
    shape = {key: value for key, value in block.items() if key != "width"}
    return {
        "aerial": common.tower(
            {
                "size": 224,
                "shift": 2,
                "jitter": 0.1,
                "symmetry": True,
                "on_device": True,
                "naflex": 0,
            },
            image,
        ),
        "street": common.tower(
            {"views": 4, "height": 224, "width": 224, "jitter": 0.1, "naflex": 0},
            image,
        ),
        "dsm": common.tower(
            {"size": 224, "shift": 2, "scale_m": 30.0, "clip": 20.0, "symmetry": True},
            image | {"pool": "cls", "registers": 4, "contrast": 0.0},
        ),
        "text": common.tower(
            # With SigLIP 2's weights: vocab the path of Gemma's, siglip2 True.
            {
                "length": 64,
                "vocab": "",
                "drop": 0.0,
                "mask_names": False,
                "siglip2": False,
            },
            transformer(common.TEXT_OF.get(size, size))
            | {"vocab_size": 256_000, "pool": "last", "mask_padding": False},
        ),
        "coords": common.tower(
            {"jitter_m": 25.0},
            shape
            | {
                "sigmas": (1.0, 16.0, 256.0, 4096.0),
                "frequencies": vit["width"] // 2,
                "registers": 4,
                "projection": "equal_earth",
                "pool": "mean",
            },
        ),
    }
