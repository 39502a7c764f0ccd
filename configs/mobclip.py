# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mobility as the pivot of points of interest, demographics and images (MobCLIP).

python launch/train.py --config=configs/mobclip.py
  mini towers on the embedded `us_places` (33,120 ZIP areas; flows between near ones are
  gravity-modelled, between airports counted): six minutes on two cores.
  A coordinate tower joins the pivot, so that the run can be evaluated anywhere.
python launch/train.py --config=configs/mobclip.py:all_to_all
  every pair is contrasted, not only those with mobility.
python launch/train.py --config=configs/mobclip.py:without_mobility
  all to all but mobility: what to compare with.
python launch/train.py --config=configs/mobclip.py:inductive
  flows from and to places of the held-out splits are left out of the graph.
python launch/train.py --config=configs/mobclip.py:data=NAME --data_dir=DIR
  a dataset that launch/make_dataset.py made with --edges: the towers that it has, those
  of configs/own.py, around mobility.
python launch/train.py --config=configs/mobclip.py:release,vectors=DIR,data=NAME
  the published release, setting by setting, on vectors of your own: DIR holds poi.npy
  (nodes, 1024), demo.npy (nodes, 40), image.npy (nodes, 768), a row a node of the
  dataset NAME. Without `vectors`, its settings with the towers of `us_places`. It has
  no coordinate tower: `launch/distill.py` makes one.

  It ends after 900 steps, or when the loss of a random tenth has not fallen for 10
  epochs, with the parameters of the lowest; batches are as large as the training split
  where that has under 20,480 places.

Differs from MobCLIP: the random tenth is of the training split, whose blocks are what
is left by `val` and `test`; all batches have one size, where the last of an epoch there
is smaller; 900 steps are its limit of 100 epochs only for as many places. A zero vector
stays zero where the release divides by its norm of 0.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, five_modal

WIDTHS = {"poi": ("poi", 1024, 0), "demographics": ("demo", 40, 64)}
WIDTHS |= {"aerial": ("image", 768, 0)}


def get_config(arg: str = "") -> ConfigDict:
    flags = ("all_to_all", "without_mobility", "inductive", "release")
    off = dict.fromkeys(flags, False)
    args = common.parse(arg, data="us_places", vectors="", **off)
    config = common.training(args["size"])
    config.name = common.name("mobclip", arg)
    config.data.name = args["data"]
    config.steps, config.batch = 1500, 512
    config.loss.init_tau = 0.2  # the sharpest of the release, learned from there
    config.loss.pairs = "all_to_all" if args["all_to_all"] else "pivot:mobility"
    config.optim.update({"name": "adamw", "lr": 2e-3, "weight_decay": 1e-2})
    config.towers = towers(args["size"], args["inductive"])
    if args["tiny"]:
        common.shrink(config)
        config.towers = towers("mini", args["inductive"], width=16)
        if config.data.name == "us_places":
            config.data.name = "us_places/tiny"
    if common.is_own(args["data"]):
        of_own(config, args)
    if args["vectors"]:
        for name, tower in of_vectors(args["vectors"]).items():
            config.towers[name] = tower
    if args["release"]:
        release(config, args["tiny"])
    if args["without_mobility"]:
        del config.towers["mobility"]
        config.loss.pairs = "all_to_all"
    if len(config.towers) < 2:
        raise ValueError(
            f"config argument {arg}: leaves the tower {', '.join(config.towers)};"
            " allowed: two or more"
        )
    return config.lock()


def towers(size: str, inductive: bool = False, width: int = 64) -> dict:
    """Mobility, points of interest, demographics, image and coordinates.

    Sizes other than mini have the paper's image and coordinate towers.
    """
    mini = size == "mini"
    seeing = five_modal.mini(width, 1) if mini else five_modal.paper(size)
    return {
        "mobility": mobility(inductive, () if inductive else (15, 10)),
        "poi": poi(width if mini else 256),
        "demographics": demographics(5),
        "aerial": seeing["aerial"],
        "coords": seeing["coords"],
    }


def of_own(config: Any, args: dict[str, Any]) -> None:
    """The towers of a dataset of the user's own, and what it is evaluated on.

    With `vectors` mobility and coordinates only. Raises ValueError without flows.
    """
    from configs import own  # which imports this file

    about = common.statistics(args["data"])
    if "mobility" not in about["fields"]:
        raise ValueError(
            f"config argument data: {args['data']} has no graph of flows; allowed: a"
            " dataset made with --edges, or configs/own.py"
        )
    size, width = ("mini", 32) if args["tiny"] else (args["size"], 128)
    found = own.towers(about, size, width)
    inductive = args["inductive"]
    found["mobility"] = mobility(inductive, () if inductive else (15, 10))
    config.towers = own.choose(found, "mobility+coords" if args["vectors"] else "")
    config.eval.splits = common.held_out(about)


def mobility(inductive: bool = False, fanout: tuple = (15, 10)) -> dict:
    """LightGCN over the dataset's graph: hops drawn in training, whole in evaluation.

    Differs from MobCLIP: it propagates over the whole graph in every step, which is
    fanout=() here. Drawn hops give the same gradient but for their noise, and a step
    then costs as much as its batch, not as much as the graph.
    """
    return common.tower(
        {
            "graph": "",  # a folder; "": that of the dataset
            "adjacency": "symmetric",
            "log1p": True,
            "self_loops": False,
            "inductive": inductive,
            "kinds": (),  # of edges, by how their names begin: ("air",); () = all
            "strongest": 0,  # edges of a node, by flow, 0 = all
            "fanout": fanout,  # neighbours drawn a hop in training, () = all
            "weighted": True,  # drawn by weight; False: all alike
            "whole": True,  # the graph is on the devices too, for evaluation
        },
        # kind: or gat, transformer, which attend over drawn hops, or graph_network,
        # that of jraph over them
        {"layers": 2, "start": "", "kind": "lightgcn", "heads": 4},
    )


def poi(width: int) -> dict:
    return common.tower(
        {"items": 16, "kind": 3, "name": 4, "vocab": "", "drop": 0.2},
        {"vocab_size": 8192, "width": width, "depth": 1, "heads": 4},
    )


def demographics(width: int, histograms: tuple = ()) -> dict:
    return common.tower(
        {"width": width, "histograms": histograms, "drop": 0.1}, {"hidden": 128}
    )


def of_vectors(folder: str) -> dict:
    """The published heads on frozen vectors in `folder`."""
    return {
        name: common.tower(
            {"file": f"{folder}/{file}.npy", "width": width},
            {"hidden": hidden},
            module="vector",
        )
        for name, (file, width, hidden) in WIDTHS.items()
    }


def release(config: Any, tiny: bool) -> None:
    """Every published setting of loss, graph, optimiser and batch."""
    del config.towers["coords"]
    tau = {"poi": 0.5, "demographics": 0.7, "aerial": 0.2}
    config.loss.fixed_tau = {f"mobility-{t}": tau[t] for t in tau if t in config.towers}
    config.loss.same_cell_mask = False
    config.data.neighbourhood.fraction = 0.0
    graph = {"adjacency": "release", "log1p": False, "fanout": ()}
    config.towers.mobility.data.update(graph)
    config.optim.update(
        {
            "name": "adamw",
            "lr": 1e-3,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 1e-3,
            "clip": 0.0,
            "warmup": 0.0,
            "schedule": "constant",
            "decay_tables": True,
        }
    )
    for tower in config.towers.values():  # nothing is augmented there
        data = tower.data
        data.update({key: 0.0 for key in ("jitter", "drop") if key in data})
    config.dtype = "float32"
    config.stop.update({"patience": 10, "share": 0.1})
    if not tiny:
        config.steps, config.batch, config.dim = 900, 20_480, 128
