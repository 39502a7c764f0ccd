# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What setup.py allows holds what constraints.txt pins, which is what CI installs."""

import pathlib
import runpy

import pytest
import setuptools
from packaging import requirements, utils

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def asked(monkeypatch):
    """What setup.py says that the package and its tests need."""
    said = {}
    monkeypatch.setattr(setuptools, "setup", said.update)
    runpy.run_path(str(ROOT / "setup.py"))
    lines = [*said["install_requires"], *said["extras_require"]["test"]]
    return [requirements.Requirement(x) for x in lines]


def pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [requirements.Requirement(x) for x in lines if x and x[0] != "#"]
    return {
        utils.canonicalize_name(x.name): str(x.specifier).removeprefix("==")
        for x in found
    }


def test_every_version_that_ci_installs_is_one_that_setup_allows(asked):
    pins = pinned()
    assert len(asked) > 30
    for each in asked:
        assert any(x.operator in (">=", "==") for x in each.specifier), each
        found = pins[utils.canonicalize_name(each.name)]
        assert each.specifier.contains(found), f"{each}: {found} is pinned"
