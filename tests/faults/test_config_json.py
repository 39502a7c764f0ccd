# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Configs of others are data: no key, type or module but those that are known."""

import json

import pytest

from configs import five_modal, mobclip
from launch import shared_config


def written(tmp_path, config, change=lambda found: None):
    found = json.loads(config.to_json())
    change(found)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": found}))
    return path


@pytest.mark.parametrize("module", [five_modal, mobclip])
def test_the_config_of_a_run_comes_back_as_it_was(tmp_path, module):
    config = module.get_config("tiny")
    got = shared_config.read(written(tmp_path, config))
    assert json.loads(got.to_json()) == json.loads(config.to_json())


def set_at(*path, value):
    def change(found):
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_at("stepz", value=3), ["stepz", "unknown"]),
        (set_at("optim", "lr", value="os.system"), ["optim.lr", "float"]),
        (set_at("steps", value=True), ["steps", "int"]),
        (set_at("data", value=[]), ["data", "object"]),
        (lambda found: found.pop("seed"), ["missing", "seed"]),
        (
            set_at("towers", "dsm", "module", value="antigravity"),
            ["antigravity", "dsm"],
        ),
        (set_at("towers", "dsm", "module", value="tests.night_lights"), ["module"]),
        (set_at("towers", "os", value={}), ["towers.os"]),
        (set_at("towers", value={}), ["towers"]),
    ],
)
def test_what_is_unknown_is_refused_by_name(tmp_path, change, words):
    path = written(tmp_path, five_modal.get_config("tiny"), change)
    with pytest.raises(ValueError) as error:
        shared_config.read(path)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, "\x00\xff"])
def test_files_that_are_no_config_are_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="--config_json"):
        shared_config.read(path)


def test_a_name_that_is_a_path_becomes_one_part_of_one(tmp_path):
    config = five_modal.get_config("tiny")
    path = written(tmp_path, config, set_at("name", value="../../etc/x y"))
    assert shared_config.read(path).name == "etcxy"
