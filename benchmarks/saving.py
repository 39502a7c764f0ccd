# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What saving costs a training run, and checking sums a restore, in one process.

python benchmarks/saving.py [--quick] [--force] [--out=FILE]

Blocks of steps of configs/five_modal.py at size mini, on random inputs, alternate: one
with an asynchronous save at its start whose end is waited for inside the block, one
without. Their difference is all that a save costs, the work in the background included;
it is given as a share of the steps between two saves (config.checkpoint.every).
Restores alternate with checks of all sums of the same files.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import protocol
from configs import five_modal
from unigeo_jax import checkpoint, modalities, sharding, train
from unigeo_jax.data import pipeline


def batch_of(config: Any, example: Any) -> Any:
    """Random inputs of the shapes of `example`, one batch."""
    rng = np.random.default_rng(0)

    def draw(x: np.ndarray) -> np.ndarray:
        shape = (config.batch, *x.shape[1:])
        if x.dtype == bool:
            return np.ones(shape, bool)
        if np.issubdtype(x.dtype, np.floating):
            return rng.uniform(-60, 60, shape).astype(x.dtype)
        return rng.integers(0, 200, shape).astype(x.dtype)

    batch = jax.tree.map(draw, example)
    batch["cell"] = np.arange(2 * config.batch, dtype=np.int32).reshape(-1, 2)
    return batch


def block(run: Any, state: Any, batch: Any, steps: int, saves: Any, number: int):
    """Seconds of `steps` steps, with a save after the first where `saves` is given."""
    jax.block_until_ready(state)
    began = time.monotonic()
    for step in range(steps):
        state, _ = run.step(state, batch, {})
        if saves is not None and step == 0:
            saves.save(number, state)
    jax.block_until_ready(state)
    if saves is not None:
        saves.wait()
    return state, time.monotonic() - began


def measure(config: Any, folder: pathlib.Path, steps: int, pairs: int) -> dict:
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    readers = pipeline.readers(config.towers, modalities.get)
    example = pipeline.example_batch(readers)
    run = train.prepare(config, mesh, example)
    batch = sharding.to_global(batch_of(config, example), mesh)
    state, _ = run.step(run.init(), batch, {})
    seconds: dict[str, list[float]] = {"plain": [], "saving": []}
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        state, _ = block(run, state, batch, 2, saves, 1)  # warm
        for pair in range(pairs):
            for kind in ("plain", "saving") if pair % 2 else ("saving", "plain"):
                given = saves if kind == "saving" else None
                state, spent = block(run, state, batch, steps, given, pair + 2)
                seconds[kind].append(spent)
        newest = pairs + 1
        restores, checks = [], []
        for _ in range(max(pairs, 3)):
            began = time.monotonic()
            jax.block_until_ready(saves.restore(newest, run.abstract))
            restores.append(time.monotonic() - began)
            began = time.monotonic()
            if checkpoint.newest_good(folder, False) != (newest, []):
                raise RuntimeError("a checkpoint of this benchmark is damaged")
            checks.append(time.monotonic() - began)
    size = sum(p.stat().st_size for p in (folder / str(newest)).rglob("*"))
    step_s = float(np.median(seconds["plain"])) / steps
    differences = np.subtract(seconds["saving"], seconds["plain"])
    cost = float(np.median(differences))
    return {
        "step_s": step_s,
        "save_costs_s": cost,
        "save_costs_s_each": differences.tolist(),
        "every": config.checkpoint.every,
        "share_of_steps": cost / (config.checkpoint.every * step_s),
        "restore_s": float(np.median(restores)),
        "check_s": float(np.median(checks)),
        "share_of_restore": float(np.median(checks) / np.median(restores)),
        "bytes": size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="tiny, for tests")
    parser.add_argument("--force", action="store_true", help="on a busy machine too")
    parser.add_argument("--out", type=pathlib.Path, default="runs/saving.json")
    options = parser.parse_args()
    protocol.check_idle(0.5, options.force or options.quick)
    config = five_modal.get_config("tiny" if options.quick else "")
    with tempfile.TemporaryDirectory() as name:
        steps, pairs = (3, 2) if options.quick else (20, 10)
        found = measure(config, pathlib.Path(name) / "checkpoints", steps, pairs)
    print(
        f"a step {found['step_s']:.3f} s, a save of {found['bytes']:,} bytes costs"
        f" {found['save_costs_s']:.3f} s: {found['share_of_steps']:.2%} of the"
        f" {found['every']} steps between two\n"
        f"a restore {found['restore_s']:.3f} s, checking its sums"
        f" {found['check_s']:.3f} s: {found['share_of_restore']:.1%}"
    )
    protocol.write(options.out, found | {"machine": protocol.machine()})


if __name__ == "__main__":
    main()
