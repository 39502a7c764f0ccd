# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: read this file to know what happens, in which order.

state = f(config, seed); batch = f(seed, step); state' = step(state, batch). Nothing
else has state, so a run that was killed and resumed is the same run, bit for bit.
"""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from unigeo_jax import (
    checkpoint,
    galleries,
    goodput,
    metrics,
    modalities,
    optim,
    seams,
    sharding,
    skips,
    stopping,
    tasks,
    watchdog,
    workdir,
)
from unigeo_jax.data import datasets, memo, pipeline
from unigeo_jax.evals import retrieval
from unigeo_jax.siglip import start as siglip
from unigeo_jax.types import Batch


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint holds. `step` is also the position in the data."""

    step: jax.Array  # int32, updates tried so far
    skipped: jax.Array  # int32, updates skipped in a row: loss or gradient not finite
    skips: jax.Array  # int32, all updates skipped so far
    params: Any
    opt_state: Any


@flax.struct.dataclass
class StoppingState(TrainState):
    """That of a run with early stopping, config.stop."""

    best: stopping.Best


def make_step(
    task: tasks.Task,
    tx: optax.GradientTransformation,
    seed: int,
    frozen: Mapping[str, optim.Part] | None = None,
) -> Callable:
    """Returns step(state, batch, constants) -> (state, metrics), one update.

    No gradient is computed for the parts in `frozen`, nor for frozen leaves. If the
    loss or the gradient norm is not finite, parameters and moments stay as they are (on
    every device alike: both numbers are global) and `skipped` counts up.
    """

    def step(
        state: TrainState, batch: Batch, constants: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def loss_fn(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            params = optim.stop_frozen(params, frozen or {})
            return task.loss_fn(params, batch, key, constants)

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, values), grads = grad_fn(state.params)
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optax.with_extra_args_support(tx).update(
            grads, state.opt_state, state.params, loss=loss
        )
        params = task.project(optax.apply_updates(state.params, updates))

        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, opt_state),
            (state.params, state.opt_state),
        )
        skipped = jnp.where(finite, 0, state.skipped + 1)
        skips = state.skips + jnp.where(finite, 0, 1)
        values = values | {"loss": loss, "grad_norm": grad_norm}
        values = values | {"skipped": skipped, "skips": skips} | optim.counts(opt_state)
        for name, here_b in batch["here"].items():
            values[f"here/{name}"] = jnp.mean(here_b.astype(jnp.float32))
        changed = {"step": state.step + 1, "skipped": skipped, "skips": skips}
        changed |= {"params": params, "opt_state": opt_state}
        return dataclasses.replace(state, **changed), values

    return step


class Prepared(NamedTuple):
    """A task with its compiled functions.

    init: () -> TrainState, sharded.
    step: (state, global batch, constants) -> (state, {name: scalar}); the state is
      donated.
    abstract: the state as ShapeDtypeStructs that carry shardings.
    """

    task: tasks.Task
    init: Callable[[], TrainState]
    step: Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]
    abstract: TrainState


def whole_task(config: Any, mesh: Mesh) -> tasks.Task:
    """The task of `config`, computed on the whole of split parameters."""
    task = tasks.get(config.task)(config, mesh)
    return task._replace(
        loss_fn=sharding.on_whole(task.loss_fn, mesh),
        embed=sharding.on_whole(task.embed, mesh),
    )


def prepare(config: Any, mesh: Mesh, example: Batch, constants: Any = None) -> Prepared:
    """Builds the task of `config` from an example batch of any size.

    Of `constants` (pipeline.constants) the shapes are taken: arrays of any kind.

    Shapes come first, then shardings, then the initialisation itself, compiled with
    its output shardings: no device ever holds the whole of a sharded model.
    """
    task = whole_task(config, mesh)
    constants = constants or {}
    shapes = jax.eval_shape(task.init, jax.random.key(0), example, constants)
    tx = optim.make(config, shapes, config.steps)

    def init() -> TrainState:
        params = task.init(jax.random.key(config.seed), example, constants)
        opt_state = tx.init(params)
        zero = jnp.zeros((), jnp.int32)
        state = (zero, zero, zero, params, opt_state)
        if not config.get("stop", {}).get("patience"):
            return TrainState(*state)
        return StoppingState(*state, best=stopping.none_yet(params))

    abstract = jax.eval_shape(init)
    shardings = sharding.state_shardings(abstract, mesh)
    step = jax.jit(
        make_step(task, tx, config.seed, optim.frozen_parts(config)),
        in_shardings=(
            shardings,
            sharding.batch_sharding(mesh),
            sharding.constant_shardings(constants, mesh),
        ),
        out_shardings=(shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    init_sharded = jax.jit(init, out_shardings=shardings)
    return Prepared(
        task, init_sharded, step, checkpoint.abstract_like(abstract, shardings)
    )


def fit(
    config: Any, folder: pathlib.Path, data_dir: pathlib.Path | None = None
) -> TrainState:
    """Trains `config` in `folder`, from wherever the folder stands, and evaluates.

    Args:
      config: a ConfigDict as configs/five_modal.py makes.
      folder: the workdir; the same call in the same folder resumes.
      data_dir: where datasets live; None is the user's cache folder.

    Raises:
      ValueError: config, dataset or workdir do not fit; the message says which.
      FloatingPointError: `config.max_skips` steps in a row were not finite.
      workdir.Preempted: SIGTERM came; the state was saved.
    """
    mesh = sharding.make_mesh(**config.mesh)
    sharding.check(config, mesh)
    stopping.check(config.stop)
    workdir.check(folder, config)
    readers = pipeline.readers(config.towers, modalities.get)
    data = config.data
    source, index = datasets.load(data.name, data.split, data_dir)
    pipeline.check_modalities(source, readers, f"{data.name}:{data.split}")
    if data.workers == 0:
        source = memo.if_small(source, data.cache_mb)
    (source, index), held = stopping.divide(config, (source, index), data_dir)
    asked, config = config, pipeline.fitted(config, mesh.size, len(source))
    if config.batch != asked.batch:
        workdir.say(f"{len(source)} places: batches of {config.batch}")

    shared = pipeline.constants(config, modalities.get, data_dir, mesh.size)
    run = prepare(config, mesh, pipeline.example_batch(readers), shared)
    constants = sharding.place(shared, mesh)
    evaluator = make_evaluator(config, mesh, run.task, readers, data_dir, constants)
    positions = pipeline.positions(index, config)
    new = not checkpoint.steps(folder / "checkpoints")
    imports = siglip.plan(config, run.abstract.params) if new else None

    def first(params: Any) -> Any:
        if imports is None:
            return params
        workdir.say(imports.said)
        return siglip.fill(imports, params)

    dataset = datasets.find(config.data.name, data_dir)
    read = pipeline.ReadPlaces(source, index["cell"], readers, dataset)
    feed = functools.partial(pipeline.train_batches, read, positions, data=config.data)
    stop = held and stopping.make(
        *(config, mesh, run.task, readers, held, dataset, constants, run.abstract)
    )
    workdir.claim(folder, asked, shared)
    return carry_on(config, folder, mesh, run, constants, feed, evaluator, first, stop)


def carry_on(
    config: Any,
    folder: pathlib.Path,
    mesh: Mesh,
    run: Prepared,
    constants: Any,
    feed: Callable[..., Iterator[Batch]],
    evaluator: Callable[[Any], tuple[dict, str]],
    first: Callable[[Any], Any],
    stop: stopping.Stopping | None = None,
) -> TrainState:
    """Trains from where `folder`, claimed for `config`, stands, and evaluates.

    Args:
      feed: (start=step) -> host batches from that step on.
      evaluator: params -> what eval/<step>.json holds, and a text for people.
      first: completes the drawn parameters of a new run.
    """
    kept = folder / "checkpoints"
    start = checkpoint.newest_whole(kept, config.checkpoint.get("fall_back", True)) or 0
    # The state: 1. this workdir's newest whole checkpoint, else 2. scratch and `first`.
    with contextlib.closing(
        checkpoint.Checkpoints(kept, config.checkpoint.keep)
    ) as saves:
        seams.at("restore")
        state = saves.restore(start, run.abstract) if start else run.init()
        if not start:
            state = dataclasses.replace(state, params=first(state.params))
        size = f"{count(state.params):,} parameters, {mesh.size} devices"
        place = f"from step {start}, example {start * config.batch:,}"
        workdir.say(f"{size}, {place}, sha256 {workdir.fingerprint(state.params)}")
        with contextlib.closing(metrics.Writer(folder, start)) as writer:
            return loop(
                *(config, folder, mesh, lambda s, x: run.step(s, x, constants), state),
                *(feed, saves, writer, evaluator, stop),
            )


def loop(
    config: Any,
    folder: pathlib.Path,
    mesh: Mesh,
    step: Callable,
    state: TrainState,
    feed: Callable[..., Iterator[Batch]],
    saves: checkpoint.Checkpoints,
    writer: metrics.Writer,
    evaluator: Callable[[Any], tuple[dict, str]],
    stop: stopping.Stopping | None = None,
) -> TrainState:
    """Steps until `config.steps`, or `stop`; saves, evaluates, reports on the way."""
    start = number = int(state.step)
    last = start if stop and stop.over(state) else config.steps
    batches = feed(start=start)
    signals = workdir.Signals()
    profile = workdir.Profile(folder, **config.profile)
    clock, bad = goodput.Clock(folder, start), skips.Skips(feed, config.max_skips)
    running: list[jax.Array] = []
    who = f"process {jax.process_index()} of {jax.process_count()}"
    with (
        watchdog.Watchdog(config.watchdog_s, who) as watch,
        workdir.Progress(start, config.steps, config.batch) as progress,
    ):
        workdir.say(watchdog.describe(config.watchdog_s))
        for number in range(start + 1, last + 1):
            watch.beat(number)
            seams.at("step")
            profile.at(number)
            saves.check()  # a write that failed in the background ends the run here
            # While one step runs, the next batch is fetched; no further ahead, so that
            # time spent here with the device idle is what the data cost.
            if len(running) > 1:
                running.pop(0).block_until_ready()
            began = time.monotonic()
            local = next(batches)
            if all(loss.is_ready() for loss in running):  # pyright: ignore
                clock.add("data", progress.waited(time.monotonic() - began))
            batch = sharding.to_global(local, mesh)
            with jax.transfer_guard("disallow"):
                state, values = step(state, batch)
            running.append(values["loss"])
            bad.add(number, values["skipped"], saves.latest)
            if number % config.log_every == 0 or number in (start + 1, config.steps):
                values = {k: float(v) for k, v in jax.device_get(values).items()}
                if number == start + 1:
                    clock.started()
                values |= progress.report(number, values["loss"]) | clock.mark(number)
                writer.write(number, values | metrics.repeats(batch))
                bad.report(saves.latest)
            done = number == config.steps
            if stop and (done or number % stop.every == 0):
                with watch.allow(f"the validation of step {number}"), clock.of("eval"):
                    state, values = stop.measure(state, done)
                writer.write(number, values)
                done = done or stop.over(state)
            asked = signals.agreed(number)
            every = config.checkpoint.every  # 0: at the end only
            if done or asked or (every and number % every == 0):
                running[-1].block_until_ready()  # training, not saving
                with watch.allow(f"the save of step {number}"), clock.of("save"):
                    saves.save(number, state)
                    if asked:
                        saves.wait()
            if asked:
                raise workdir.Preempted(f"stopped by a signal; saved step {number}")
            if done:
                break
            if config.eval.every and number % config.eval.every == 0:
                with watch.allow(f"the evaluation of step {number}"), clock.of("eval"):
                    progress.note(evaluate(folder, number, *evaluator(state.params)))
        profile.close()
        with watch.allow("the last save"), clock.of("save"):
            saves.wait()
        signals.close()  # all is saved: from here on SIGTERM may simply end the process
        with watch.allow("the last evaluation"), clock.of("eval"):
            table = evaluate(folder, number, *evaluator(state.params))
    clock.mark(number)
    workdir.say(f"{table}\n{goodput.describe(folder)}")
    files = "config.json metrics.jsonl tensorboard/ checkpoints/ eval/"
    workdir.say(f"in {folder}: {files}")
    return state


def make_evaluator(
    config: Any,
    mesh: Mesh,
    task: tasks.Task,
    readers: list[pipeline.Reader],
    data_dir: pathlib.Path | None,
    constants: Any,
) -> Callable[[Any], tuple[dict, str]]:
    """Returns params -> {split: retrieval result} over `config.eval.splits`, table."""
    embedded = galleries.make(config, mesh, task, readers, data_dir, constants)

    def run(params: Any) -> tuple[dict, str]:
        results = {k: retrieval.run(*places) for k, places in embedded(params).items()}
        lines = retrieval.table(results), *datasets.cautions(config)
        return results, "\n".join(lines)

    return run


def evaluate(folder: pathlib.Path, step: int, results: dict, text: str) -> str:
    """Writes eval/<step>.json and hands the text on."""
    seams.at("eval")
    workdir.write_json(folder / "eval" / f"{step}.json", results)
    return text


def count(params: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(params))
