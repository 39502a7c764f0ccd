# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Goodput: times add up, over restarts too, and what was lost is called wasted."""

import json
import time

import pytest

from unigeo_jax import goodput


def line(attempt, came_from, step, at, **seconds):
    kinds = dict.fromkeys(goodput.KINDS, 0.0) | seconds
    return {"attempt": attempt, "from": came_from, "step": step, "at": at} | kinds


def test_what_ran_after_the_checkpoint_is_wasted_and_the_gap_is_down():
    lines = [
        line(0, 0, 10, at=112.0, start=2.0, train=10.0),
        line(0, 0, 20, at=123.0, start=2.0, train=20.0, save=1.0),
        line(0, 0, 25, at=128.0, start=2.0, train=25.0, save=1.0),
        # killed; seven seconds later it goes on from step 20
        line(1, 20, 21, at=138.0, start=2.0, train=1.0),
        line(1, 20, 40, at=160.0, start=2.0, train=20.0, data=3.0),
    ]
    got = goodput.summary(lines)
    assert got["train"] == 45.0
    assert got["wasted"] == 5.0
    assert got["down"] == pytest.approx(7.0)
    assert got["start"] == 4.0
    assert got["total"] == pytest.approx(60.0)  # of the wall clock
    assert got["goodput"] == pytest.approx(40.0 / 60.0)


def test_an_attempt_lost_whole_is_wasted_whole_and_a_clock_set_back_is_no_gap():
    lines = [
        line(0, 0, 4, at=100.0, train=8.0),
        line(1, 0, 2, at=50.0, train=4.0),
    ]
    got = goodput.summary(lines)
    assert (got["wasted"], got["down"], got["goodput"]) == (8.0, 0.0, 4.0 / 12.0)
    assert goodput.summary([])["goodput"] == 0.0


def test_a_clock_writes_lines_that_add_up_to_the_time_that_passed(tmp_path):
    began = time.monotonic()
    clock = goodput.Clock(tmp_path, 0)
    clock._began = began
    clock.started()
    with clock.of("save"):
        time.sleep(0.05)
    clock.add("data", 0.02)
    time.sleep(0.05)
    share = clock.mark(5)["goodput"]
    passed = time.monotonic() - began
    (only,) = goodput.read(tmp_path)
    assert sum(only[kind] for kind in goodput.KINDS) == pytest.approx(passed, abs=0.02)
    assert only["save"] >= 0.05
    assert share == pytest.approx(only["train"] / passed, abs=0.1)
    again = goodput.Clock(tmp_path, 5)  # a restart
    again.mark(6)
    assert [x["attempt"] for x in goodput.read(tmp_path)] == [0, 1]
    assert "in 2 attempts" in goodput.describe(tmp_path)


def test_a_line_that_a_kill_has_cut_is_left_out(tmp_path):
    whole = json.dumps(line(0, 0, 1, at=1.0))
    (tmp_path / goodput.FILE).write_text(f"{whole}\n{whole[:20]}\nnull\n")
    assert len(goodput.read(tmp_path)) == 1
