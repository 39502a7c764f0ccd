# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One change at a time against configs/five_modal.py, in short runs.

Size mini takes 180 steps of 256 places here, 46,080 examples a run.

python launch/train.py --config=configs/ablations.py:variant=pivot_aerial

variant =
  all_to_all         nothing changed: the row to compare with
  pivot_<tower>      only pairs that touch this tower: aerial street dsm text coords
  pair_<a>_<b>       two modalities, no others are read or trained
  only_<a>_<b>_...   three or more modalities, no others
  eight              those of configs/unified.py: points of interest, demographics and
                     mobility too
  sigma_<s>          all coordinate tokens at one scale, as many tokens and frequencies
  depth_<n>          coordinate encoder of n blocks; 0: no trainable part but the head
  batch_<n>          n places a step, as many examples in all
  tau_<t>            every temperature fixed at t
  masked_names       texts without proper names, which give places away
  no_registers       coordinate encoder without registers
  no_cell_mask       places of the same cell are negatives of each other (on `earth`
                     every place has a cell of its own: nothing changes there)
  hard_negatives     a quarter of each batch comes as neighbourhoods of 16 places
  no_hard_negatives  every place drawn uniformly (as `mini` does anyway)
  adamw              AdamW instead of Muon
  m2                 the m = n terms join: 25 pairs instead of 20
  sphere             coordinate tokens of the 3-D unit vector, continuous at 180 degrees
  satclip, geoclip, ...  another coordinate encoder, by the names of configs/peers.py
size, data, tiny and init as in five_modal.
"""

from ml_collections import ConfigDict

from configs import common, five_modal, peers, unified

PLAIN = (
    *("all_to_all", "eight", "no_registers", "no_cell_mask", "m2", "sphere"),
    *("hard_negatives", "no_hard_negatives", "adamw", "masked_names"),
)


def get_config(arg: str = "") -> ConfigDict:
    args = common.parse(arg, variant="all_to_all")
    rest = ",".join(
        filter(
            None,
            [
                f"size={args['size']}",
                f"data={args['data']}",
                "tiny" if args["tiny"] else "",
                f"init={args['init']}" if args["init"] else "",
            ],
        )
    )
    base = unified if args["variant"] == "eight" else five_modal
    config = base.get_config(rest)
    with config.unlocked():
        config.name = common.name("ablations", arg)
        if args["size"] == "mini" and not args["tiny"]:
            config.steps, config.batch = 180, 256
        change(config, args["variant"])
    return config


def change(config: ConfigDict, variant: str) -> None:
    """Applies one variant.

    Raises:
      ValueError: unknown variant, tower or scale.
    """
    kind, _, value = variant.partition("_")
    towers, named = list(config.towers), value.split("_")
    if kind == "pivot" and value in towers:
        config.loss.pairs = f"pivot:{value}"
    elif (
        (kind == "pair" and len(named) == 2) or (kind == "only" and len(named) > 2)
    ) and set(named) <= set(towers):
        for name in set(towers) - set(named):
            del config.towers[name]
    elif variant in PLAIN:
        _plain(config, variant)
    elif variant in peers.NAMES:
        peers.change(config, variant)
    elif not value.replace(".", "", 1).isdigit() or not _number(config, kind, value):
        raise ValueError(
            f"config argument variant: got {variant!r}; allowed: {', '.join(PLAIN)},"
            f" {', '.join(peers.NAMES)},"
            " pivot_<tower>, pair_<a>_<b>, only_<a>_<b>_<c>..., sigma_<number>,"
            f" depth_<n>, batch_<n>, tau_<number>; towers: {', '.join(towers)}"
        )


def _number(config: ConfigDict, kind: str, value: str) -> bool:
    """Applies what a number follows; returns whether there is such a kind."""
    net = config.towers.coords.net
    if kind == "sigma":
        net.sigmas = (float(value),) * len(net.sigmas)
    elif kind == "depth" and value.isdigit():
        net.depth = int(value)
    elif kind == "batch" and value.isdigit() and int(value) > 1:
        examples, batch = int(config.steps) * int(config.batch), int(value)
        config.steps, config.batch = max(examples // batch, 1), batch
    elif kind == "tau" and float(value) > 0:
        # A temperature is clamped; between equal bounds there is nothing to learn.
        config.loss.update(init_tau=float(value), tau_min=float(value))
        config.loss.tau_max = float(value)
    else:
        return False
    return True


def _plain(config: ConfigDict, variant: str) -> None:
    if variant == "no_registers":
        config.towers.coords.net.registers = 0
    elif variant == "no_cell_mask":
        config.loss.same_cell_mask = False
    elif variant == "hard_negatives":
        config.data.neighbourhood.fraction = 0.25
    elif variant == "no_hard_negatives":
        config.data.neighbourhood.fraction = 0.0
    elif variant == "adamw":
        config.optim.name = "adamw"
    elif variant == "masked_names":
        config.towers.text.data.mask_names = True
    elif variant == "m2":
        config.loss.include_self = True
    elif variant == "sphere":
        config.towers.coords.net.projection = "sphere"
