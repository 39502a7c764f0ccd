# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Early stopping: by the rule, at the best parameters, the same after any kill."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from configs import mobclip
from unigeo_jax import checkpoint, modalities, sharding, stopping, tasks, train, workdir
from unigeo_jax.data import datasets, pipeline

STEPS, EVERY, PATIENCE = 24, 2, 3


def config(**changes) -> Any:
    """Demographics around mobility; its rate is so high that the loss rises again."""
    config: Any = mobclip.get_config("release,tiny")
    with config.unlocked():
        del config.towers["aerial"], config.towers["poi"]
        config.loss.fixed_tau = {"mobility-demographics": 0.2}
        config.steps, config.batch, config.optim.lr = STEPS, 64, 0.1
        config.stop = {"patience": PATIENCE, "every": EVERY, "split": "", "share": 0.1}
        config.checkpoint = {"every": 3, "keep": 1}
        config.eval.splits = ("test",)
        config.mesh = {"data": -1, "fsdp": 1}
        config.update_from_flattened_dict(changes)
    return config


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def validated(folder):
    """{step: validation loss} as metrics.jsonl tells."""
    return {x["step"]: x["val_loss"] for x in lines(folder) if "val_loss" in x}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping") / "straight"
    return folder, jax.device_get(train.fit(config(), folder))


def expected_end(losses):
    """The rule written out: (step of the end, step of the lowest loss)."""
    best, waited = min(losses), 0
    for step, loss in sorted(losses.items()):
        if step == min(losses) or loss < losses[best]:
            best, waited = step, 0
        else:
            waited += 1
        if waited == PATIENCE:
            return step, best
    return STEPS, best


def test_a_run_ends_by_the_rule_with_the_parameters_of_the_lowest_loss(
    straight, tmp_path
):
    folder, state = straight
    losses = validated(folder)
    end, best = expected_end(losses)
    assert EVERY < best < end < STEPS  # it did learn, and did stop
    assert max(losses) == int(state.step) == end
    assert checkpoint.steps(folder / "checkpoints") == [end]
    assert (folder / "eval" / f"{end}.json").exists()
    assert float(state.best.loss) == pytest.approx(losses[best], abs=0)
    # A run that simply ends at that step has the very same parameters.
    to_best = config(steps=best, **{"stop.patience": STEPS})
    other = train.fit(to_best, tmp_path / "to_best")
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(other.params), state.params
    )


@pytest.mark.parametrize("how", ["signal", "kill"])
def test_a_run_stopped_anywhere_and_resumed_is_the_straight_run(
    straight, tmp_path, monkeypatch, how
):
    folder, state = straight
    end, best = expected_end(validated(folder))
    at = best + EVERY + 1  # after a measurement that was no improvement

    def agreed(signals, step):
        if how == "kill" and step == at:
            raise RuntimeError("killed")
        return step == at

    with monkeypatch.context() as patch:
        patch.setattr(workdir.Signals, "agreed", agreed)
        kinds = {"signal": workdir.Preempted, "kill": RuntimeError}
        with pytest.raises(kinds[how]):
            train.fit(config(), tmp_path)
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] < end
    again = jax.device_get(train.fit(config(), tmp_path))
    jax.tree.map(np.testing.assert_array_equal, again, state)
    assert validated(tmp_path) == validated(folder)
    # What has ended stays ended.
    before = len(lines(tmp_path))
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(train.fit(config(), tmp_path)),
        state,
    )
    assert len(lines(tmp_path)) == before


def test_the_validation_loss_is_that_of_the_held_places_on_any_devices(data_dir):
    """Mean over batches by their places; rows that fill up count nothing."""
    asked = config(batch=16)
    readers = pipeline.readers(asked.towers, modalities.get)
    places = datasets.load(asked.data.name, "train", data_dir)
    folder = datasets.find(asked.data.name, data_dir)
    (_, index), held = stopping.divide(asked, places)
    at = {tuple(x) for x in np.stack([index["lat"], index["lon"]], 1)}
    out = {tuple(x) for x in np.stack([held[1]["lat"], held[1]["lon"]], 1)}
    assert len(held[0]) == len(places[0]) // 10 and not at & out
    found = []
    for devices, microbatch in ((1, 0), (8, 8)):
        mesh = sharding.make_mesh(devices=jax.devices()[:devices])
        asked = config(batch=16, microbatch=microbatch)
        shared = pipeline.constants(asked, modalities.get, data_dir, devices)
        run = train.prepare(asked, mesh, pipeline.example_batch(readers), shared)
        constants = sharding.place(shared, mesh)
        stop = stopping.make(
            *(asked, mesh, run.task, readers, held, folder, constants, run.abstract)
        )
        state, values = stop.measure(run.init(), last=False)
        found.append(values["val_loss"])
        jax.tree.map(
            np.testing.assert_array_equal,
            *(jax.device_get(state.params), jax.device_get(state.best.params)),
        )
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    task = tasks.contrastive(config(batch=16), mesh)
    read = pipeline.ReadPlaces(held[0], held[1]["cell"], readers, folder)
    total = 0.0
    for start in range(0, len(held[0]), asked.batch):
        rows = np.arange(len(held[0]))[start : start + asked.batch]
        one = jax.jit(lambda p, x, c: task.loss_fn(p, x, None, c)[0])
        total += len(rows) * float(one(state.params, read.batch(rows, None), constants))
    assert len(held[0]) % asked.batch and len(held[0]) > asked.batch
    assert found[0] == pytest.approx(total / len(held[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop.split": "val"}, "split='val' and share=0.1"),
        ({"stop.share": 0.0}, "share=0.0"),
        ({"stop.share": 1.0}, "a share below 1"),
        ({"stop.patience": -1}, "patience=-1"),
        ({"stop.share": 1e-6}, "which is none"),
        ({"stop.share": 0.0, "stop.split": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_options_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        train.fit(config(**changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_option_that_is_new_and_off_does_not_part_a_run_from_its_workdir(tmp_path):
    asked = mobclip.get_config("tiny")
    workdir.claim(tmp_path, asked)
    about = json.loads((tmp_path / "config.json").read_text())
    del about["config"]["stop"]
    (tmp_path / "config.json").write_text(json.dumps(about))
    workdir.check(tmp_path, asked)
    with pytest.raises(ValueError, match=r"stop\.patience"):
        workdir.check(tmp_path, config(**{"towers.mobility.lr": 1.0}))
