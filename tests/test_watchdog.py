# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hangs end: the thread itself with small times, then two processes, one stuck or dead.

Whatever may be ended runs in a process of its own.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import xla
from unigeo_jax import watchdog

ROOT = pathlib.Path(__file__).parents[1]
QUICK = """
import sys, time
from unigeo_jax import watchdog
assert "jax" not in sys.modules
def steps(watch, first, last, seconds=0.01):
    for number in range(first, last + 1):
        watch.beat(number)
        time.sleep(seconds)
def hang():
    time.sleep(60)
"""


def python(code, **options):
    return subprocess.Popen(
        [sys.executable, "-c", QUICK + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(code):
    began = time.monotonic()
    process = python(code)
    out, err = process.communicate(timeout=50)
    return process.returncode, out, err, time.monotonic() - began


def test_a_step_that_hangs_ends_with_code_5_the_step_and_the_stacks():
    code, _, err, seconds = run(
        "with watchdog.Watchdog(1.0, 'process 3 of 8') as watch:\n"
        "    steps(watch, 1, 20)\n"
        "    hang()"
    )
    assert code == 5
    assert "error: watchdog: process 3 of 8 has stood in step 20 for 1 s" in err
    assert "allowed: 1 s (config.watchdog_s = 1)" in err
    assert "in hang" in err
    assert "same command" in err
    assert seconds < 30


def test_steps_in_time_and_what_follows_them_are_left_alone():
    code, out, err, _ = run(
        "with watchdog.Watchdog(0.5) as watch:\n"
        "    steps(watch, 1, 100)\n"
        "time.sleep(1.5)\n"
        "print('done')"
    )
    assert (code, out, err) == (0, "done\n", "")


def test_compilation_saves_and_evaluations_have_an_allowance_of_their_own():
    code, out, err, _ = run(
        "with watchdog.Watchdog(0.25) as watch:\n"
        "    steps(watch, 1, 1, seconds=1)\n"
        "    steps(watch, 2, 20)\n"
        "    with watch.allow('the save of step 20'):\n"
        "        time.sleep(1)\n"
        "    steps(watch, 21, 40)\n"
        "    print('alive', flush=True)\n"
        "    with watch.allow('the evaluation of step 40'):\n"
        "        hang()"
    )
    assert (code, out) == (5, "alive\n"), err
    assert "has stood in the evaluation of step 40 for 3 s; allowed: 3 s" in err


def test_a_save_is_no_step_time_and_the_limit_follows_the_median():
    code, out, err, _ = run(
        "with watchdog.Watchdog(0.2) as watch:\n"
        "    for number in range(1, 10):\n"
        "        steps(watch, 2 * number, 2 * number, seconds=0.1)\n"
        "        steps(watch, 2 * number + 1, 2 * number + 1, seconds=0.1)\n"
        "        with watch.allow('a save'):\n"
        "            time.sleep(0.4)\n"
        "    watch.beat(20)\n"
        "    time.sleep(0.6)\n"  # three times the minimum, six times the median
        "    print('alive', flush=True)\n"
        "    hang()"
    )
    assert (code, out) == (5, "alive\n"), err
    allowed = float(re.search(r"step 20 for (\d+) s", err)[1])
    assert allowed < 3  # 10 x 0.1 s; with the saves among them it were 10 x 0.5 s


def test_time_in_which_the_process_was_stopped_does_not_count():
    process = python(
        "with watchdog.Watchdog(1.0) as watch:\n"
        "    steps(watch, 1, 20)\n"
        "    print('stop me', flush=True)\n"
        "    time.sleep(0.5)\n"
        "    print('done', flush=True)"
    )
    assert process.stdout.readline() == "stop me\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "done\n", "")


def test_it_ends_the_process_even_if_nobody_reads_its_message():
    process = python(
        "watchdog.GRACE_S = 1.0\n"
        "import os, threading\n"
        "full = 2, b'x' * 10**6\n"
        "threading.Thread(target=os.write, args=full, daemon=True).start()\n"
        "with watchdog.Watchdog(0.5) as watch:\n"
        "    steps(watch, 1, 20)\n"
        "    hang()"
    )
    try:
        assert process.wait(timeout=40) == 5
    finally:
        process.kill()
        process.communicate()


def test_readers_of_data_end_with_the_process():
    code, out, err, _ = run(
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(\n"
        "    target=hang, daemon=True)\n"
        "child.start()\n"
        "print(child.pid, flush=True)\n"
        "watchdog.end(7)"
    )
    assert code == 7, err
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{int(out)}").exists() and time.monotonic() < deadline:
        if "State:\tZ" in pathlib.Path(f"/proc/{int(out)}/status").read_text():
            break  # dead, and only waits for a parent to ask
        time.sleep(0.05)
    assert time.monotonic() < deadline, "the child lives on"


def test_zero_is_off_and_less_is_refused():
    code, out, _, _ = run(
        "import threading\n"
        "with watchdog.Watchdog(0) as watch:\n"
        "    steps(watch, 1, 20)\n"
        "    with watch.allow('a save'):\n"
        "        print(threading.active_count())"
    )
    assert (code, out) == (0, "1\n")
    assert watchdog.describe(0) == "watchdog: off"
    with pytest.raises(ValueError, match=r"config\.watchdog_s: got -1; allowed: 0"):
        watchdog.Watchdog(-1)


def test_what_is_printed_at_the_start_states_the_seconds():
    text = watchdog.describe(300.0)
    assert "exit 5" in text
    assert "at least 300 s" in text
    assert "longer than 3600 s" in text


def start_two(folder, data_dir, *flags):
    """Two processes of one job, small enough to compile in seconds."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "launch/train.py"]
    command += ["--config=configs/ablations.py:variant=pair_dsm_coords,tiny"]
    command += ["--config.optim.name=adamw", "--config.checkpoint.every=0"]
    command += ["--config.steps=1000000"]
    command += [f"--workdir={folder}", f"--data_dir={data_dir}", *flags]
    command += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    environment = os.environ | {"XLA_FLAGS": xla.flags()}
    pair = []
    for number in range(2):
        with (
            (folder.parent / f"out{number}").open("w") as out,
            (folder.parent / f"err{number}").open("w") as err,
        ):
            line = [*command, f"--process_id={number}"]
            pair.append(
                subprocess.Popen(
                    line, cwd=ROOT, env=environment, stdout=out, stderr=err
                )
            )
    return pair


def wait_for_step(folder, step, pair):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        ended = [process.poll() for process in pair]
        assert ended == [None, None], (folder.parent / "err0").read_text()[-3000:]
        path = folder / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.05)
    raise TimeoutError(f"step {step} did not come")


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("how", "victim", "flags", "codes", "words"),
    [
        # Alive for all that heartbeats can tell: the watchdog.
        (
            signal.SIGSTOP,
            1,
            ["--heartbeat_s=600", "--config.watchdog_s=8"],
            {5},
            ["watchdog: process 0 of 2 has stood in step", "in loop", "What to look"],
        ),
        # A machine that does not answer: JAX's heartbeats, and its own abort.
        (
            signal.SIGSTOP,
            0,
            ["--heartbeat_s=10"],
            {-signal.SIGABRT},
            ["another task died", "in loop"],
        ),
        # A process that died: the connection breaks at once.
        (
            signal.SIGKILL,
            1,
            ["--heartbeat_s=30"],
            {5, -signal.SIGABRT},
            ["most likely because another process died"],
        ),
    ],
    ids=["stuck", "silent", "dead"],
)
def test_a_lost_peer_ends_the_other_process_within_the_stated_time(
    earth_tiny, tmp_path, how, victim, flags, codes, words
):
    folder = tmp_path / "run"
    pair = start_two(folder, earth_tiny, *flags)
    try:
        wait_for_step(folder, 8, pair)
        pair[victim].send_signal(how)
        began = time.monotonic()
        code = pair[1 - victim].wait(timeout=150)
        seconds = time.monotonic() - began
    finally:
        for process in pair:
            process.kill()
            process.wait()
    out = (tmp_path / "out0").read_text()
    err = (tmp_path / f"err{1 - victim}").read_text()
    assert code in codes, err
    for word in words:
        assert word in err
    assert "one that is dead ends the others within" in out
    # On a slow machine ten median steps may be more than the eight seconds.
    stated = re.search(r"allowed: (\d+) s", err) or re.search(r"within (\d+) s", out)
    assert seconds < float(stated[1]) + 20, err
