# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What all places share: an argument of the step, on every layout, in no checkpoint."""

import itertools
import json
from typing import Any

import jax
import numpy as np
import pytest

from configs import common, five_modal
from tests import shared_table
from unigeo_jax import galleries, modalities, sharding, train, trained, workdir
from unigeo_jax.data import datasets, pipeline


@pytest.fixture(scope="module")
def config():
    config = five_modal.get_config("tiny")
    with config.unlocked():
        towers = {name: config.towers[name] for name in ("coords", "dsm")}
        shared = common.tower({}, {}, module="tests.shared_table")
        config.towers = towers | {"shared": shared}
        config.eval.splits = ("val",)
    return config


def opened(config, data_dir, devices=1, fsdp=1):
    mesh = sharding.make_mesh(fsdp=fsdp, devices=jax.devices()[:devices])
    readers = pipeline.readers(config.towers, modalities.get)
    shared = pipeline.constants(config, modalities.get, data_dir, mesh.size)
    run = train.prepare(config, mesh, pipeline.example_batch(readers), shared)
    return run, mesh, readers, sharding.place(shared, mesh)


def batches(config, readers, data_dir, process=None):
    source, index = datasets.load(config.data.name, "train", data_dir)
    folder = datasets.find(config.data.name, data_dir)
    read = pipeline.ReadPlaces(source, index["cell"], readers, folder)
    places = pipeline.positions(index, config)
    return pipeline.train_batches(
        read, places, data=config.data, start=0, process=process
    )


def test_every_layout_of_devices_trains_alike(config, earth_tiny):
    losses = []
    for devices, fsdp in ((1, 1), (8, 2)):
        run, mesh, readers, constants = opened(config, earth_tiny, devices, fsdp)
        assert constants["shared"]["table"].is_fully_replicated
        assert constants["shared"]["rows"]["number"].is_fully_replicated == (fsdp == 1)
        state: Any = run.init()
        assert sorted(state.params) == ["coords", "dsm", "log_tau", "shared"]
        got = []
        for rows in itertools.islice(batches(config, readers, earth_tiny), 3):
            rows = sharding.to_global(rows, mesh)
            state, values = run.step(state, rows, constants)
            got.append(float(values["loss"]))
        losses.append(got)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_the_program_takes_constants_as_arguments_and_holds_none(config, earth_tiny):
    run, _, readers, constants = opened(config, earth_tiny)
    rows = jax.tree.map(lambda x: np.repeat(x, 16, 0), pipeline.example_batch(readers))
    step: Any = run.step
    text = step.lower(run.abstract, rows, constants).as_text()
    shape = f"tensor<{shared_table.ROWS}x{shared_table.WIDTH}xf32>"
    lines = text.splitlines()
    assert any(shape in line for line in lines if "@main(" in line)
    held = [x for x in lines if "stablehlo.constant" in x and f": {shape}" in x]
    assert held == [] and "dense_resource" not in text


def test_rows_of_a_batch_are_completed_alike_in_any_number_of_processes(
    config, earth_tiny
):
    readers = pipeline.readers(config.towers, modalities.get)
    whole = next(batches(config, readers, earth_tiny))["x"]["shared"]["drawn"]
    assert len(set(whole.tolist())) > 4
    parts = [
        next(batches(config, readers, earth_tiny, (p, 4)))["x"]["shared"]["drawn"]
        for p in range(4)
    ]
    np.testing.assert_array_equal(np.stack(parts, axis=1).ravel(), whole)


def test_a_run_records_their_hash_and_refuses_to_go_on_with_others(
    config, earth_tiny, tmp_path, monkeypatch
):
    train.fit(config, tmp_path, earth_tiny)
    about = json.loads((tmp_path / "config.json").read_text())
    shared = pipeline.constants(config, modalities.get, earth_tiny, 1)
    assert about["constants"] == {"shared": workdir.digest(shared["shared"])}
    saved = [p.name for p in (tmp_path / "checkpoints").rglob("*") if "table" in p.name]
    assert saved == []
    stored, params, step = trained.restore(tmp_path, earth_tiny)[:3]
    assert step == config.steps and "shared" in params
    # What the loop evaluated is what a later reader of the workdir embeds.
    run, mesh, readers, constants = opened(stored, earth_tiny)
    embed = galleries.make(stored, mesh, run.task, readers, earth_tiny, constants)
    assert np.isfinite(embed(params)["val"].z["shared"]).all()
    other = {"shared": shared["shared"] | {"table": shared["shared"]["table"] + 1}}
    monkeypatch.setattr(pipeline, "constants", lambda *_: other)
    with pytest.raises(ValueError, match="tower shared takes from the dataset has"):
        train.fit(config, tmp_path, earth_tiny)
