# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The fixture `fake`: a folder with fakes of all programs that the pod scripts call."""

import os

import pytest

from tests.pods import fakes


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder of fake programs, first on PATH; `calls` is what they were told."""
    here = tmp_path / "fake"
    (here / "bin").mkdir(parents=True)
    (here / "home").mkdir()
    (here / "fail").touch()
    (here / "train").write_text(fakes.TRAINING)
    (here / "train").chmod(0o755)
    names = ("gcloud", "git", "xpk", "kubectl", "sbatch", "scancel", "scontrol")
    for name in (*names, "mountpoint", "gcsfuse", "python3"):
        (here / "bin" / name).write_text(fakes.FAKE)
        (here / "bin" / name).chmod(0o755)
    monkeypatch.setenv("FAKE", str(here))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PATH", f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return here
