# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of encoders of coordinates run and say what is not installed."""

import pytest

from tests import small_models
from tests.test_benchmarks import run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "own"), [("inference", "student"), ("harmonics", "ours")]
)
def test_they_run_and_ours_has_a_figure(tmp_path, name, own):
    report = run(name, tmp_path / "out.json")
    assert report["rows"][own]["per_s"] > 0 and report["quick"]
    for variant, row in report["rows"].items():
        if "error" in row:
            assert row["error"].startswith("not installed: ")
        elif variant != own:
            expected = report["rows"][own]["per_s"] / row["per_s"]
            assert report["ratios"][variant] == pytest.approx(expected)
    if name == "harmonics":
        assert 0 < report["float32_error"]["32"] < report["float32_error"]["40"] < 1e-3


@pytest.mark.slow
def test_a_model_folder_is_timed_whole_and_through_a_table(tmp_path):
    model = small_models.write(tmp_path / "model")
    flags = (f"--model={model}", "--rows=1000")
    report = run("inference", tmp_path / "out.json", *flags)
    row = report["rows"]["packaged"]
    assert 0 < row["load_s"] < 60 and 0 < row["latency_ms"] < 1000 and row["per_s"] > 0
    assert [table["rows"] for table in report["tables"]] == [100, 1000]
    assert all(table["peak_bytes"] > 1e7 for table in report["tables"])
