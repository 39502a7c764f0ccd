# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every config builds; what is misspelt is refused with what is allowed."""

import importlib
import json
from typing import Any

import jax
import numpy as np
import pytest

from configs import ablations, common, five_modal, mobclip, unified
from unigeo_jax import modalities, sharding, train
from unigeo_jax.data import pipeline

VARIANTS = [
    "all_to_all",
    "pivot_street",
    "eight",
    "pair_aerial_coords",
    "sigma_16",
    "no_registers",
    "no_cell_mask",
    "hard_negatives",
    "no_hard_negatives",
    "adamw",
    "m2",
    "sphere",
    "only_aerial_text_coords",
    "depth_0",
    "satclip40",
    "geoclip_low",
]


def abstract_step(config, data_dir=None):
    """Traces one training step without running it; returns parameters by tower."""
    mesh = sharding.make_mesh(**config.mesh)
    example = pipeline.example_batch(pipeline.readers(config.towers, modalities.get))
    shared = pipeline.constants(config, modalities.get, data_dir, mesh.size)
    run = train.prepare(config, mesh, example, shared)
    rows = jax.tree.map(lambda x: np.repeat(x, mesh.size, axis=0), example)
    state, values = jax.eval_shape(run.step, run.abstract, rows, shared)
    assert values["loss"].shape == ()
    assert jax.tree.structure(state) == jax.tree.structure(run.abstract)
    # An empty array could not be saved.
    assert all(x.size for x in jax.tree.leaves(run.abstract))
    return {k: train.count(v) for k, v in state.params.items()}


@pytest.mark.parametrize("name", ["five_modal", "ablations", "peers"])
@pytest.mark.parametrize("size", common.SIZES)
def test_every_config_traces_a_step_at_every_size(name, size):
    config = importlib.import_module(f"configs.{name}").get_config(f"size={size}")
    assert abstract_step(config).keys() == {*config.towers, "log_tau"}


@pytest.mark.parametrize("arg", ["size=mini", "size=B", "release", "inductive"])
def test_mobclip_traces_a_step(arg, data_dir):
    config: Any = mobclip.get_config(f"{arg},data=us_places/tiny")
    sizes = abstract_step(config, data_dir)
    assert sizes.keys() == {*config.towers, "log_tau"}
    assert ("coords" in sizes) == (arg != "release")
    assert sizes["mobility"] % config.dim == 0


def test_mobclip_without_mobility_contrasts_all_others():
    config = mobclip.get_config("without_mobility,data=us_places/tiny")
    assert sorted(config.towers) == ["aerial", "coords", "demographics", "poi"]
    assert config.loss.pairs == "all_to_all"


@pytest.mark.parametrize("data", ["us_places/tiny", "earth/tiny", "planet/512"])
def test_unified_traces_a_step_of_eight_towers(data, data_dir):
    config: Any = unified.get_config(f"data={data}")
    assert len(config.towers) == 8
    assert abstract_step(config, data_dir).keys() == {*config.towers, "log_tau"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arg"),
    [
        (mobclip, "tiny"),
        (mobclip, "all_to_all,tiny"),
        (mobclip, "release,tiny"),
        (unified, "tiny"),
    ],
)
def test_tiny_runs_with_a_graph_train_and_evaluate(module, arg, data_dir, tmp_path):
    config = module.get_config(arg)
    with config.unlocked():
        config.steps, config.eval.splits = 2, ("val",)
    state = train.fit(config, tmp_path, data_dir)
    assert int(state.step) == 2
    (table,) = json.loads((tmp_path / "eval" / "2.json").read_text()).values()
    assert {"mobility->poi", "poi->mobility"} <= table.keys()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_ablation_traces_a_step(variant):
    abstract_step(ablations.get_config(f"variant={variant},tiny"))


def test_numbers_in_the_names_of_ablations_reach_the_config():
    short: Any = ablations.get_config()
    batch: Any = ablations.get_config("variant=batch_512")
    assert (batch.batch, batch.steps * batch.batch) == (512, short.steps * short.batch)
    loss = ablations.get_config("variant=tau_0.05").loss
    assert (loss.init_tau, loss.tau_min, loss.tau_max) == (0.05, 0.05, 0.05)
    assert ablations.get_config("variant=depth_12").towers.coords.net.depth == 12
    only = ablations.get_config("variant=only_aerial_text_coords")
    assert sorted(only.towers) == ["aerial", "coords", "text"]


def test_size_b_has_the_parameters_of_the_paper():
    sizes = abstract_step(five_modal.get_config("size=B"))
    frozen = 4 * 384 * 2
    assert sizes == {
        "aerial": 92_884_224,
        "street": 92_884_224,
        "dsm": 85_407_744,
        "text": 282_303_744,
        "coords": 85_057_536 + frozen,
        "log_tau": 15,
    }


def test_single_scale_keeps_the_number_of_tokens_and_frequencies():
    many = five_modal.get_config().towers.coords.net
    one = ablations.get_config("variant=sigma_16").towers.coords.net
    assert len(one.sigmas) == len(many.sigmas)
    assert set(one.sigmas) == {16.0}
    assert one.frequencies == many.frequencies


def test_mini_has_about_two_and_a_half_million_parameters():
    total = sum(abstract_step(five_modal.get_config()).values())
    assert 2.2e6 < total < 2.8e6


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("sise=B", "'sise': unknown; allowed: size, data, tiny"),
        ("size=XXL", "got 'XXL'; allowed: mini, S, B, L"),
        ("tiny=maybe", "got 'maybe'; allowed: true, false"),
    ],
)
def test_a_wrong_config_argument_is_refused_with_what_is_allowed(arg, message):
    with pytest.raises(ValueError, match=message):
        five_modal.get_config(arg)


@pytest.mark.parametrize(
    "variant",
    ["pivot_sonar", "pair_aerial", "only_aerial_dsm", "sigma_x", "tau_0", "best"],
)
def test_an_unknown_ablation_is_refused_with_what_is_allowed(variant):
    with pytest.raises(ValueError, match=r"allowed: all_to_all, .*towers: "):
        ablations.get_config(f"variant={variant}")


def test_a_config_key_that_does_not_exist_is_refused():
    with pytest.raises((AttributeError, KeyError), match="stepz"):
        five_modal.get_config().stepz = 1
