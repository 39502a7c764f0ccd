# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One change at a time against configs/five_modal.py, in short runs.

Size mini takes 180 steps of 256 places here, 46,080 examples a run.

python launch/train.py --config=configs/ablations.py:variant=pivot_aerial

variant =
  all_to_all         nothing changed: the row to compare with
  pivot_<tower>      only pairs that touch this tower: aerial street dsm text coords
  pair_<a>_<b>       two modalities, no others are read or trained
  sigma_<s>          all coordinate tokens at one scale, as many tokens and frequencies
  no_registers       coordinate encoder without registers
  no_cell_mask       places of the same cell are negatives of each other (on `earth`
                     every place has a cell of its own: nothing changes there)
  hard_negatives     a quarter of each batch comes as neighbourhoods of 16 places
  no_hard_negatives  every place drawn uniformly (as `mini` does anyway)
  adamw              AdamW instead of Muon
  m2                 the m = n terms join: 25 pairs instead of 20
  sphere             coordinate tokens of the 3-D unit vector, continuous at 180 degrees
size, data, tiny and init as in five_modal.
"""

from ml_collections import ConfigDict

from configs import common, five_modal

PLAIN = (
    *("all_to_all", "no_registers", "no_cell_mask", "m2", "sphere"),
    *("hard_negatives", "no_hard_negatives", "adamw"),
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
    config = five_modal.get_config(rest)
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
    towers = list(config.towers)
    if kind == "pivot" and value in towers:
        config.loss.pairs = f"pivot:{value}"
    elif (
        kind == "pair"
        and set(value.split("_")) <= set(towers)
        and value.count("_") == 1
    ):
        for name in set(towers) - set(value.split("_")):
            del config.towers[name]
    elif kind == "sigma" and value.replace(".", "", 1).isdigit():
        net = config.towers.coords.net
        net.sigmas = (float(value),) * len(net.sigmas)
    elif variant in PLAIN:
        _plain(config, variant)
    else:
        raise ValueError(
            f"config argument variant: got {variant!r}; allowed: {', '.join(PLAIN)},"
            f" pivot_<tower>, pair_<a>_<b>, sigma_<number>; towers: {', '.join(towers)}"
        )


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
    elif variant == "m2":
        config.loss.include_self = True
    elif variant == "sphere":
        config.towers.coords.net.projection = "sphere"
