# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What all configs share: the argument string, the size dial, the training defaults."""

import json
import os
import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

SIZES = ("mini", "S", "B", "L", "So400m", "g")
# Transformer width, depth, heads and inner width of the published ViT sizes; S apart,
# those of SigLIP 2, with the patch of its checkpoints (B also has 32, So400m 16).
VIT = {
    "S": {"width": 384, "depth": 12, "heads": 6, "mlp": 1536, "patch": 16},
    "B": {"width": 768, "depth": 12, "heads": 12, "mlp": 3072, "patch": 16},
    "L": {"width": 1024, "depth": 24, "heads": 16, "mlp": 4096, "patch": 16},
    "So400m": {"width": 1152, "depth": 27, "heads": 16, "mlp": 4304, "patch": 14},
    "g": {"width": 1536, "depth": 40, "heads": 16, "mlp": 6144, "patch": 16},
}
TEXT_OF = {"g": "So400m"}  # SigLIP 2 pairs its largest image tower with this text tower


def parse(arg: str, **defaults: Any) -> dict[str, Any]:
    """Reads `key=value,flag` into typed values.

    Args:
      arg: what stands behind the colon of --config=FILE:arg.
      **defaults: the allowed keys; a default's type is the value's type.

    Raises:
      ValueError: unknown key, or a value of another type or not among the allowed.
    """
    out = {"size": "mini", "data": "earth", "tiny": False, "init": ""} | defaults
    for item in filter(None, (part.strip() for part in (arg or "").split(","))):
        key, given, value = item.partition("=")
        if key not in out:
            raise ValueError(
                f"config argument {key!r}: unknown; allowed: {', '.join(out)}"
            )
        if isinstance(defaults.get(key, out[key]), bool):
            if given and value not in ("True", "False", "true", "false", "0", "1"):
                raise ValueError(
                    f"config argument {key}: got {value!r}; allowed: true, false"
                )
            out[key] = not given or value in ("True", "true", "1")
        else:
            out[key] = type(out[key])(value)
    if out["size"] not in SIZES:
        raise ValueError(
            f"config argument size: got {out['size']!r}; allowed: {', '.join(SIZES)}"
        )
    return out


def name(base: str, arg: str) -> str:
    """A folder name that tells the arguments apart; of a path its last part only."""
    arg = (arg or "").replace("/,", ",").removesuffix("/")
    arg = re.sub(r"\b(init|vectors)=[^,]*/", r"\1=", arg)
    return "-".join(filter(None, [base, arg.replace("/", "_").replace(",", "-")]))


def statistics(name: str) -> dict[str, Any]:
    """What a dataset of launch/make_dataset.py says of itself: its statistics.json.

    Raises:
      ValueError: there is none of that name.
    """
    folder = _data_dir()
    found = sorted((folder / name).glob("[0-9]*/statistics.json")) if name else []
    if not found:
        there = sorted({p.parents[1].name for p in folder.glob("*/*/statistics.json")})
        raise ValueError(
            f"config argument data: got {name!r}; allowed: a dataset of"
            f" launch/make_dataset.py in {folder} (--data_dir), now:"
            f" {', '.join(there) or 'none'}"
        )
    return json.loads(found[-1].read_text("utf-8"))


def is_own(name: str) -> bool:
    """Whether launch/make_dataset.py made a dataset of that name."""
    return any((_data_dir() / name).glob("[0-9]*/statistics.json"))


def _data_dir() -> pathlib.Path:
    default = os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/unigeo_jax"
    return pathlib.Path(os.environ.get("UNIGEO_DATA_DIR") or default).expanduser()


def held_out(about: dict[str, Any]) -> tuple[str, ...]:
    """Splits of a dataset with `statistics` on which a run is evaluated."""
    return tuple(s for s in ("val", "test") if about["places"].get(s, 0) > 1)


def training(size: str, init: str = "") -> ConfigDict:
    """Everything but towers. Keys are locked once get_config returns."""
    mini = size == "mini"
    config = ConfigDict()
    config.task = "contrastive"
    config.seed = 0
    config.size = size
    config.steps = 2450 if mini else 100_000
    config.batch = 128 if mini else 8192
    # Places that the towers take at a time: memory of this many, gradient of them all,
    # a third more work. 0: the whole batch at once.
    config.microbatch = 0
    config.dim = 128 if mini else VIT[size]["width"]
    # Aerial and street through the same weights, those of `aerial`.
    config.share_image_towers = False
    config.init = start(init)
    config.dtype = "auto"  # float32 on CPU, bfloat16 on accelerators
    config.log_every = 10
    config.max_skips = 20  # steps in a row that may be not finite
    # A loss of `factor` standard deviations above its last `window` ones: no update.
    config.spike = {"window": 0, "factor": 6.0}  # window 0: off
    config.watchdog_s = 300.0  # a longer step is a hang: watchdog.describe; 0: off
    config.mesh = {"data": -1, "fsdp": 1}
    config.data = reading(mini)
    config.loss, config.stop = contrast(), stopping()
    config.optim = {
        "name": "muon" if mini else "adamw",
        "lr": 2e-3 if mini else 1e-3,
        "b1": 0.9,
        "b2": 0.98 if mini else 0.95,
        "eps": 1e-8,
        "weight_decay": 0.1,
        "clip": 1.0,
        "warmup": 0.05,  # share of the steps
        "schedule": "cosine",  # after the warm-up; or constant
        "decay_tables": False,  # weight decay on tables of nodes too
    }
    # fall_back: where the newest checkpoint is damaged, go on from the one before.
    every = 500 if mini else 1000
    config.checkpoint = {"every": every, "keep": 2, "fall_back": True}
    config.eval = {
        "splits": ("near", "val", "test") if mini else ("val", "test"),
        # Places of each gallery. 100 for the big sizes is a smoke test that a CPU can
        # bear: give the real number with --config.eval.gallery.
        "gallery": 1000 if mini else 100,
        "batch": 250 if mini else 64,
        "every": 0,  # steps; 0: at the end only
    }
    config.profile = {"start": 0, "steps": 5}  # start 0: off
    return config


def reading(mini: bool) -> dict[str, Any]:
    """What is read, and how."""
    return {
        "name": "earth",
        "split": "train",
        "cache_mb": 3000,  # decoded records are kept in memory if they all fit
        # A batch is read by one thread of one worker process; each keeps up to
        # `prefetch` of them: a place of size B takes 0.95 MB.
        "workers": 0 if mini else 4,
        "threads": 1,
        "prefetch": 2 if mini else 1,
        # Records and images that cannot be read are masked, up to this share of the
        # split or ten; more end the run with code 3.
        "max_bad": 0.001,
        # ((step, count), ...): from that step on, the data of so many are left out.
        "skip": (),
        "balance": False,  # draw from all regions of the table alike
        # Hard negatives: this share of a batch comes as groups of near places. For
        # mini on `earth` it costs recall in galleries of the whole Earth (measured:
        # configs/ablations.py:variant=hard_negatives), so none there.
        "neighbourhood": {"fraction": 0.0 if mini else 0.25, "size": 16},
    }


def start(siglip: str) -> dict[str, Any]:
    """What towers start from, if not from scratch."""
    return {
        # A SigLIP file for aerial, street and text towers: npz of big_vision,
        # safetensors of Hugging Face, or the folder of one.
        "siglip": siglip,
        "towers": (),  # which of them; (): all
        "temperature": False,  # its temperature too, for every pair
        "bias": False,  # its logit bias too, with loss.kind=sigmoid
    }


def stopping() -> dict[str, Any]:
    """Early stopping, which is off: it leaves the parameters of the lowest loss."""
    return {
        "patience": 0,  # measurements to wait for a lower validation loss; 0: off
        "every": 0,  # steps between measurements; 0: an epoch
        # The places measured are a split, or a share of the training split, drawn at
        # random and then not trained on.
        "split": "",
        "share": 0.0,
    }


def contrast() -> dict[str, Any]:
    """The contrastive loss."""
    return {
        "pairs": "all_to_all",  # or pivot:<tower>
        "include_self": False,  # True: M^2 terms instead of M(M-1)
        "same_cell_mask": True,
        "beta": 0.0,  # hardness weight of negatives
        "kind": "infonce",  # or sigmoid: each pair of places a two-class problem
        "init_bias": -10.0,  # of sigmoid's logits
        # plain: every logit matrix, readable. tiled: never more than a tile of one.
        # ring: nor the gathered batch. auto: by size, tasks.loss_impl says how.
        "impl": "auto",
        "tile": 1024,  # places a side
        "init_tau": 0.07,
        "fixed_tau": {},  # "<a>-<b>": temperature of a pair that is not learned
        "tau_min": 0.01,
        "tau_max": 1.0,
    }


def tower(
    data: dict[str, Any], net: dict[str, Any], module: str = ""
) -> dict[str, Any]:
    """One entry of config.towers.

    Of the values for fine-tuning, `lr` multiplies config.optim.lr; `layer_decay` times
    itself once more for every layer below the top; `freeze` holds the whole tower,
    `freeze_body` all of it but its attention pooling and its linear head.

    Args:
      data: options of the modality's `read` and `spec`.
      net: options of its `Encoder`.
      module: file of the modality if it is not named like the tower: a name in
        unigeo_jax/modalities or a dotted module path.
    """
    tuning = {"lr": 1.0, "layer_decay": 1.0, "freeze": False, "freeze_body": False}
    return {"module": module, "data": data, "net": net} | tuning


def shrink(config: ConfigDict) -> None:
    """`tiny`: seconds on a CPU, for tests; every code path, no quality."""
    config.steps, config.batch, config.dim = 4, 16, 32
    config.data.name = "earth/tiny" if config.data.name == "earth" else config.data.name
    config.data.workers, config.data.threads = 0, 1
    config.data.prefetch = 2
    config.data.neighbourhood.fraction, config.data.neighbourhood.size = 0.25, 4
    config.log_every, config.checkpoint.every = 1, 2
    config.eval.gallery, config.eval.batch = 32, 16
