# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of graph encoder trains through train.fit, on a user's jraph graph."""

import json
from typing import Any

import jax
import numpy as np
import optax
import pytest

from configs import mobclip
from unigeo_jax import sharding, train
from unigeo_jax.data import datasets, graphs_tuple

LAYERS = {
    "gat": ("layer_0", "attention"),
    "transformer": ("layer_1", "query", "kernel"),
    "graph_network": ("edge_1_in", "kernel"),
}


@pytest.fixture(scope="module")
def folder(data_dir, tmp_path_factory):
    """A graph folder of a GraphsTuple: half of the flows of us_places/tiny."""
    pytest.importorskip("jraph")
    whole = graphs_tuple.read(datasets.find("us_places/tiny", data_dir) / "graph")
    half = {k: v[::2] for k, v in whole.edges.items()}
    halved = whole._replace(
        edges=half,
        senders=whole.senders[::2],
        receivers=whole.receivers[::2],
        n_edge=np.array([len(half["kind"])]),
    )
    made = tmp_path_factory.mktemp("jraph") / "graph"
    graphs_tuple.write(made, halved, ("air", "modelled"))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_kind_trains_and_is_evaluated(
    kind, folder, data_dir, tmp_path, capsys, monkeypatch
):
    make, devices = sharding.make_mesh, jax.devices()[:1]
    monkeypatch.setattr(sharding, "make_mesh", lambda **_: make(devices=devices))
    config: Any = mobclip.get_config("tiny")
    with config.unlocked():
        for name in ("aerial", "coords", "poi"):
            del config.towers[name]
        config.steps, config.batch, config.eval.splits = 3, 16, ("val",)
        config.optim.warmup = 0.0
        config.towers.mobility.net.update({"kind": kind, "heads": 2})
        config.towers.mobility.data.update({"graph": str(folder), "fanout": (3, 2)})
    state = train.fit(config, tmp_path, data_dir)
    assert int(state.step) == 3
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert np.isfinite(losses).all() and len(set(losses)) > 1
    # Gradients reached the table and the last of the layers.
    moment: Any = optax.tree_utils.tree_get(state.opt_state, "mu")["mobility"]
    assert np.abs(moment["table"]).max() > 0
    for key in LAYERS[kind]:
        moment = moment[key]
    assert np.abs(moment).max() > 0
    (table,) = json.loads((tmp_path / "eval" / "3.json").read_text()).values()
    assert np.isfinite(table["mobility->demographics"]["median_km"])
    assert "modelled" not in capsys.readouterr().out  # the flows are the user's
