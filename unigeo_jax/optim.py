# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW or Muon with warm-up and cosine, a rate per tower, frozen towers and leaves."""

from typing import Any

import jax
import optax
import optax.contrib

FROZEN_LEAVES = ("frequencies",)  # random Fourier features: drawn once, never trained
NO_DECAY = ("log_tau", "logit_bias", "registers", "bias", "scale")


def schedule(lr: float, steps: int, warmup: float) -> optax.Schedule:
    """Linear warm-up over the fraction `warmup` of `steps`, then cosine to zero."""
    ramp = max(round(steps * warmup), 1)
    return optax.warmup_cosine_decay_schedule(0.0, lr, ramp, max(steps, ramp + 1))


def _names(path: tuple[Any, ...]) -> list[str]:
    return [str(getattr(key, "key", key)) for key in path]


def labels(params: Any, frozen_towers: frozenset[str]) -> Any:
    """'frozen' or 'train' for every leaf, by tower and by leaf name."""

    def label(path: tuple[Any, ...], _: Any) -> str:
        names = _names(path)
        frozen = names[0] in frozen_towers or names[-1] in FROZEN_LEAVES
        return "frozen" if frozen else "train"

    return jax.tree_util.tree_map_with_path(label, params)


def frozen_towers(config: Any) -> frozenset[str]:
    return frozenset(name for name, tower in config.towers.items() if tower.freeze)


def stop_frozen(params: Any, towers: frozenset[str]) -> Any:
    """`params` with no gradient into frozen towers and leaves."""
    return jax.tree.map(
        lambda x, label: jax.lax.stop_gradient(x) if label == "frozen" else x,
        params,
        labels(params, towers),
    )


def decay_mask(params: Any) -> Any:
    """True where weight decay applies: matrices that are no register or temperature."""

    def decays(path: tuple[Any, ...], x: Any) -> bool:
        return x.ndim >= 2 and _names(path)[-1] not in NO_DECAY

    return jax.tree_util.tree_map_with_path(decays, params)


def scale_by_tower(rates: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of each tower by its relative learning rate."""

    def init(params: Any) -> Any:
        del params
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        scaled = jax.tree_util.tree_map_with_path(
            lambda path, u: u * rates.get(_names(path)[0], 1.0), updates
        )
        return scaled, state

    return optax.GradientTransformation(init, update)


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
      config: the whole config; reads `optim` and each tower's `lr` and `freeze`.
      params: pytree whose first level is tower names and `log_tau`.
      steps: length of the schedule.

    Raises:
      ValueError: unknown `config.optim.name`.
    """
    o = config.optim
    rates = {name: float(tower.lr) for name, tower in config.towers.items()}
    frozen = frozen_towers(config)
    train = optax.chain(
        optax.clip_by_global_norm(o.clip) if o.clip else optax.identity(),
        direction(o),
        optax.add_decayed_weights(o.weight_decay, mask=decay_mask),
        scale_by_tower(rates),
        optax.scale_by_learning_rate(schedule(o.lr, steps, o.warmup)),
    )
    return optax.partition(
        {"train": train, "frozen": optax.set_to_zero()}, labels(params, frozen)
    )
