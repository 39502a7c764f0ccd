# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW or Muon with warm-up and cosine; rates by tower and layer; what is frozen."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

# Random Fourier features, drawn once, and mean and scale of a student's targets.
FROZEN_LEAVES = ("frequencies", "target_mean", "target_scale")
# What turns the last layer's tokens into a tower's vector; `freeze_body` trains these.
HEAD = ("MAPHead_0", "head")
# What stands before the first block of a tower, by the names of nn/.
STEM = ("embedding", "pos_embedding", "cls", "registers", "Embed_0", "frequencies")
NO_DECAY = ("log_tau", "logit_bias", "registers", "bias", "scale")


TABLES = ("table",)  # one row a place of the data: decay would shrink rarely drawn ones


def schedule(
    lr: float, steps: int, warmup: float, shape: str = "cosine"
) -> optax.Schedule:
    """Linear warm-up over the fraction `warmup` of `steps`, then cosine to zero.

    `shape` "constant" keeps the rate after the warm-up, and from the first step
    without one. Raises ValueError for another name.
    """
    if shape == "constant":
        ramp = round(steps * warmup)
        return optax.warmup_constant_schedule(0.0 if ramp else lr, lr, ramp)
    if shape != "cosine":
        raise ValueError(
            f"config.optim.schedule: got {shape!r}; allowed: cosine, constant"
        )
    ramp = max(round(steps * warmup), 1)
    return optax.warmup_cosine_decay_schedule(0.0, lr, ramp, max(steps, ramp + 1))


def _names(path: tuple[Any, ...]) -> list[str]:
    return [str(getattr(key, "key", key)) for key in path]


Part = Literal["all", "body"]


def labels(params: Any, frozen: Mapping[str, Part]) -> Any:
    """'frozen' or 'train' for every leaf, by tower and by leaf name."""

    def label(path: tuple[Any, ...], _: Any) -> str:
        names = _names(path)
        part = frozen.get(names[0])
        held = part == "all" or (part == "body" and not set(HEAD) & set(names[1:]))
        return "frozen" if held or names[-1] in FROZEN_LEAVES else "train"

    return jax.tree_util.tree_map_with_path(label, params)


def frozen_parts(config: Any) -> dict[str, Part]:
    """What of which tower stays: `freeze`: all of it, `freeze_body`: all but HEAD."""
    out: dict[str, Part] = {}
    for name, tower in config.towers.items():
        if tower.freeze or tower.freeze_body:
            out[name] = "all" if tower.freeze else "body"
    return out


def stop_frozen(params: Any, frozen: Mapping[str, Part]) -> Any:
    """`params` with no gradient into what is frozen."""
    return jax.tree.map(
        lambda x, label: jax.lax.stop_gradient(x) if label == "frozen" else x,
        params,
        labels(params, frozen),
    )


def decay_mask(params: Any, tables: bool = False) -> Any:
    """True where weight decay applies: matrices that are no register or temperature.

    Nor a table of nodes, unless `tables`, as in MobCLIP's release.
    """
    spared = NO_DECAY if tables else NO_DECAY + TABLES

    def decays(path: tuple[Any, ...], x: Any) -> bool:
        return x.ndim >= 2 and _names(path)[-1] not in spared

    return jax.tree_util.tree_map_with_path(decays, params)


def relative_rates(config: Any, params: Any) -> dict[tuple[str, ...], Any]:
    """What each leaf's learning rate is multiplied by, of every leaf where it is not 1.

    `lr` of the tower, times layer_decay^(depth + 1) for what stands before its blocks,
    layer_decay^(depth - i) for block i, 1 for what follows (Clark et al. 2020, Bao et
    al. 2022). Blocks stacked by `scan` get an array along their leading axis.

    Raises:
      ValueError: layer_decay not in (0, 1], or of a tower that has no blocks.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    shapes = {tuple(_names(path)): x.shape for path, x in leaves}
    depths = {name: 0 for name in config.towers}
    for names, shape in shapes.items():
        for part in names[1:] if names[0] in depths else ():
            layer = shape[0] if part == "encoderblock" else 0
            if part.startswith("encoderblock_"):
                layer = int(part.removeprefix("encoderblock_")) + 1
            depths[names[0]] = max(depths[names[0]], layer)
    out = {}
    for names, shape in shapes.items():
        if names[0] in depths:
            tower, depth = config.towers[names[0]], depths[names[0]]
            _check_decay(names[0], tower.layer_decay, depth)
            rate = tower.lr * tower.layer_decay ** _below_the_top(names, shape, depth)
            if np.any(rate != 1.0):
                out[names] = rate
    return out


def _check_decay(name: str, decay: float, depth: int) -> None:
    if not 0.0 < decay <= 1.0:
        raise ValueError(
            f"config.towers.{name}.layer_decay: got {decay}, allowed: above 0, up to 1"
        )
    if decay != 1.0 and not depth:
        raise ValueError(
            f"config.towers.{name}.layer_decay: got {decay} for a tower without blocks"
            " `encoderblock`; allowed: 1"
        )


def _below_the_top(names: tuple[str, ...], shape: tuple[int, ...], depth: int) -> Any:
    """How many layers below the tower's output a leaf stands, 0 to depth + 1."""
    for part in names[1:]:
        if part == "encoderblock":  # the same rank as the leaf: nothing is promoted
            return (depth - np.arange(depth)).reshape(-1, *[1] * (len(shape) - 1))
        if part.startswith("encoderblock_"):
            return depth - int(part.removeprefix("encoderblock_"))
    return depth + 1 if names[1] in STEM else 0


def scale_by_rate(rates: dict[tuple[str, ...], Any]) -> optax.GradientTransformation:
    """Multiplies the update of each leaf by its relative learning rate."""

    def scale(path: tuple[Any, ...], update: Any) -> Any:
        rate = rates.get(tuple(_names(path)), 1.0)
        return (
            update * np.asarray(rate, update.dtype) if np.ndim(rate) else update * rate
        )

    return optax.stateless(
        lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates)
    )


class Spikes(NamedTuple):
    """Losses of the last steps that counted, how many, updates left out, the rest."""

    losses_w: jax.Array
    count: jax.Array
    spikes: jax.Array
    inner: Any


def without_spikes(
    tx: optax.GradientTransformation, window: int, factor: float
) -> optax.GradientTransformationExtraArgs:
    """Leaves out the update, moments included, of a step whose loss is a spike.

    A spike is more than `factor` standard deviations above the mean of the last
    `window` losses that were none. The loss is global: all devices decide alike.

    Raises:
      ValueError: window or factor that mean nothing.
    """
    if window < 2 or factor <= 0:
        raise ValueError(
            f"config.spike: got window={window}, factor={factor};"
            " allowed: window 0 (off) or 2 and more, factor above 0"
        )

    def init(params: Any) -> Spikes:
        zero = jnp.zeros((), jnp.int32)
        return Spikes(jnp.zeros(window), zero, zero, tx.init(params))

    def update(updates: Any, state: Any, params: Any = None, **known: Any) -> Any:
        loss = known["loss"]
        mean, deviation = jnp.mean(state.losses_w), jnp.std(state.losses_w)
        spike = (state.count >= window) & (loss > mean + factor * deviation)
        updates, inner = tx.update(updates, state.inner, params)
        updates = jax.tree.map(
            lambda x: jnp.where(spike, jnp.zeros_like(x), x), updates
        )
        inner = jax.tree.map(
            lambda new, old: jnp.where(spike, old, new), inner, state.inner
        )
        rolled_w = jnp.roll(state.losses_w, 1).at[0].set(loss)
        losses_w = jnp.where(spike, state.losses_w, rolled_w)
        count = state.count + jnp.where(spike, 0, 1)
        spikes = state.spikes + jnp.where(spike, 1, 0)
        return updates, Spikes(losses_w, count, spikes, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def counts(opt_state: Any) -> dict[str, jax.Array]:
    """`spikes`, how many updates were left out so far, where they are."""
    return {"spikes": opt_state.spikes} if isinstance(opt_state, Spikes) else {}


def direction(o: Any) -> optax.GradientTransformation:
    """Gradients to directions by the rule `config.optim.name`, before the rate."""
    if o.name == "adamw":
        return optax.scale_by_adam(b1=o.b1, b2=o.b2, eps=o.eps)
    if o.name != "muon":
        raise ValueError(f"config.optim.name: got {o.name!r}; allowed: adamw, muon")
    muon = optax.contrib.muon(
        1.0,
        eps=o.eps,
        adam_b1=o.b1,
        adam_b2=o.b2,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=matrices,
    )
    return optax.chain(muon, optax.scale(-1.0))  # its own rate of 1 has turned the sign


def matrices(params: Any) -> Any:
    """Which axes make a kernel a matrix (inputs, outputs); None for all other leaves.

    Embedding tables and vectors are none. A leading layer axis (scan) is a batch axis.
    """

    def axes(
        path: tuple[Any, ...], x: Any
    ) -> optax.contrib.MuonDimensionNumbers | None:
        names = _names(path)
        if names[-1] != "kernel":
            return None
        first = 1 if "encoderblock" in names else 0
        last = x.ndim - 1
        if names[-2] in ("query", "key", "value"):
            return optax.contrib.MuonDimensionNumbers(first, (last - 1, last))
        return optax.contrib.MuonDimensionNumbers(tuple(range(first, last)), last)

    return jax.tree_util.tree_map_with_path(axes, params)


def make(config: Any, params: Any, steps: int) -> optax.GradientTransformation:
    """Builds the optimiser of `config.optim` for `params` (arrays or shapes).

    Clipping by global norm sees trained leaves only. Frozen leaves keep no
    moments and get no update, weight decay included. `adamw`, or `muon`: the matrices
    of the networks get orthogonalised momentum (Jordan et al. 2024) at Adam's update
    size, RMS 0.2, everything else Adam with Nesterov momentum.

    Args:
      config: the whole config; reads `optim` and of each tower `lr`, `layer_decay`,
        `freeze` and `freeze_body`.
      params: pytree whose first level is tower names and `log_tau`.
      steps: length of the schedule.

    Raises:
      ValueError: unknown `config.optim.name`; layer_decay or freeze_body that does
        not fit a tower.
    """
    o = config.optim
    held = labels(params, frozen_parts(config))
    check_something_trains(config, held)
    train = optax.chain(
        optax.clip_by_global_norm(o.clip) if o.clip else optax.identity(),
        direction(o),
        optax.add_decayed_weights(
            o.weight_decay,
            mask=functools.partial(decay_mask, tables=o.get("decay_tables", False)),
        ),
        scale_by_rate(relative_rates(config, params)),
        optax.scale_by_learning_rate(
            schedule(o.lr, steps, o.warmup, o.get("schedule", "cosine"))
        ),
    )
    tx = optax.partition({"train": train, "frozen": optax.set_to_zero()}, held)
    spike = config.get("spike", {"window": 0})
    return without_spikes(tx, **spike) if spike["window"] else tx


def check_something_trains(config: Any, held: Any) -> None:
    """Raises ValueError where `freeze_body` leaves nothing of a tower to train."""
    for name, part in frozen_parts(config).items():
        if part == "body" and "train" not in jax.tree.leaves(held.get(name, {})):
            raise ValueError(
                f"config.towers.{name}.freeze_body: this tower has neither"
                f" {' nor '.join(HEAD)}; allowed: freeze, or a net with pool=map or"
                " a dim other than its width"
            )
