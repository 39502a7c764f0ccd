# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the frozen patches of an image tower tell of chips: their class, their pixels.

A chip is cut into squares as large as the tower's input; the vectors of their patches,
before pooling, are laid side by side again. The class of a chip is read from their mean
by a logistic probe; the class of every pixel by a head on the patches, enlarged to
pixels: a linear one, or a light one of a 3 x 3 convolution before it.

Letters: `n` chips, `h` rows and `w` columns of patches, `d` features, `y` classes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from unigeo_jax.evals import folds, logistic, statistics
from unigeo_jax.evals.chips import IGNORED, Chips

Tokens = Callable[[np.ndarray], np.ndarray]  # uint8 (n, s, s, 3) -> (n, h, w, d)
STEPS, BATCH, RATE = 400, 8, 3e-3


def lay(image: np.ndarray, size: int, tokens: Tokens, batch: int = 256) -> np.ndarray:
    """Vectors of the patches of whole chips, mirrored at their edge: (n, h, w, d)."""
    n, height, width, _ = image.shape
    pad = [(0, 0), (0, -height % size), (0, -width % size), (0, 0)]
    image = np.pad(image, pad, mode="symmetric")
    rows, columns = image.shape[1] // size, image.shape[2] // size
    squares = image.reshape(n, rows, size, columns, size, 3).swapaxes(2, 3)
    squares = squares.reshape(-1, size, size, 3)
    found = []
    for start in range(0, len(squares), batch):
        part = squares[start : start + batch]
        short = batch - len(part)  # one shape, so one compilation
        part = np.pad(part, [(0, short), (0, 0), (0, 0), (0, 0)])
        found.append(np.asarray(tokens(part))[: batch - short])
    z = np.concatenate(found)
    _, h, w, d = z.shape
    z = z.reshape(n, rows, columns, h, w, d).swapaxes(2, 3)
    z = z.reshape(n, rows * h, columns * w, d)
    # Patches wholly outside the chip say nothing.
    return z[:, : -(-height * h // size), : -(-width * w // size)]


def colours(patch: int) -> Tokens:
    """The baseline that needs no tower: mean and deviation of a patch's colours."""

    def tokens(image: np.ndarray) -> np.ndarray:
        n, height, width, c = image.shape
        shape = (n, height // patch, patch, width // patch, patch, c)
        cut = image.reshape(shape).astype(np.float32) / 255
        return np.concatenate([cut.mean((2, 4)), cut.std((2, 4))], -1)

    return tokens


def classify(tokens: Mapping[str, np.ndarray], chips: Mapping[str, Chips]) -> dict:
    """Accuracy and macro-F1 on the test chips; the penalty is chosen on the valid."""
    x_nd = np.concatenate([z.mean((1, 2)) for z in tokens.values()])
    label_n = np.concatenate([chips[split].label for split in tokens])
    _, label_n = np.unique(label_n, return_inverse=True)
    part_n = np.repeat(np.arange(len(tokens)), [len(z) for z in tokens.values()])
    inner_n = np.array([1, 0, -1], np.int8)[part_n]  # train, valid, test
    split = folds.Folds("given", 0, np.where(part_n == 2, 0, -1), inner_n[None])
    got_n, _ = logistic.logistic(x_nd, label_n, split)
    test = part_n == 2
    return {
        "accuracy": statistics.accuracy(label_n[test], got_n[test]),
        "macro_f1": statistics.macro_f1(label_n[test], got_n[test]),
        "n": int(test.sum()),
    }


class Head(nn.Module):
    """Patches to the logits of pixels; `hidden` 0 is linear."""

    classes: int
    hidden: int
    size: tuple[int, int]

    @nn.compact
    def __call__(self, x_nhwd: jax.Array) -> jax.Array:
        if self.hidden:
            x_nhwd = nn.gelu(nn.Conv(self.hidden, (3, 3), name="mix")(x_nhwd))
        z_nhwy = nn.Dense(self.classes, name="out")(x_nhwd)
        shape = (len(z_nhwy), *self.size, self.classes)
        return jax.image.resize(z_nhwy, shape, "bilinear")


def segment(
    tokens: Mapping[str, np.ndarray],
    chips: Mapping[str, Chips],
    hidden: int = 0,
    seed: int = 0,
) -> dict:
    """Trains a head on the training chips; mean IoU and accuracy of test pixels.

    Of the weights at eight moments those are kept that do best on the valid chips.
    """
    mean_d = tokens["train"].mean((0, 1, 2))
    scale_d = tokens["train"].std((0, 1, 2)) + 1e-6
    x = {s: ((z - mean_d) / scale_d).astype(np.float32) for s, z in tokens.items()}
    labels = [c.label[c.label != IGNORED] for c in chips.values()]
    classes = int(max(label.max() for label in labels)) + 1
    head = Head(classes, hidden, chips["train"].label.shape[1:])
    params = head.init(jax.random.key(seed), x["train"][:1])
    optimiser = optax.adamw(optax.cosine_decay_schedule(RATE, STEPS), weight_decay=1e-3)
    state = optimiser.init(params)
    apply = jax.jit(head.apply)

    def predict(params: Any, split: str) -> np.ndarray:
        steps = range(0, len(x[split]), BATCH)
        logits: list[Any] = [apply(params, x[split][i : i + BATCH]) for i in steps]
        return np.concatenate([np.asarray(z).argmax(-1) for z in logits])

    rng = np.random.default_rng(seed)
    best = (-1.0, params)
    for number in range(1, STEPS + 1):
        rows = rng.integers(len(x["train"]), size=BATCH)
        batch = (x["train"][rows], chips["train"].label[rows])
        params, state = _step(head, optimiser, params, state, batch)
        if number % (STEPS // 8) == 0:
            score = overlap(chips["valid"].label, predict(params, "valid"), classes)
            best = max(best, (score["miou"], params), key=lambda pair: pair[0])
    got = predict(best[1], "test")
    return overlap(chips["test"].label, got, classes) | {"n": len(got)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(head: Head, optimiser: Any, params: Any, state: Any, batch: Any) -> Any:
    x_nhwd, label = batch

    def loss(params: Any) -> jax.Array:
        logits: Any = head.apply(params, x_nhwd)
        known = label != IGNORED
        each = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.where(known, label, 0)
        )
        return jnp.sum(each * known) / jnp.maximum(jnp.sum(known), 1)

    updates, state = optimiser.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def overlap(label: np.ndarray, got: np.ndarray, classes: int) -> dict[str, float]:
    """Mean over the classes of intersection over union, and accuracy, of pixels."""
    known = label != IGNORED
    label, got = label[known], got[known]
    table = np.bincount(label * classes + got, minlength=classes**2)
    table = table.reshape(classes, classes)
    both = np.diag(table)
    union = table.sum(0) + table.sum(1) - both
    there = union > 0
    return {
        "miou": float(np.mean(both[there] / union[there])),
        "accuracy": float(both.sum() / max(table.sum(), 1)),
    }


def majority(chips: Mapping[str, Chips]) -> dict[str, float]:
    """Always the commonest class of the training labels."""
    train, test = (chips[s].label.reshape(-1) for s in ("train", "test"))
    train, test = train[train != IGNORED], test[test != IGNORED]
    most = np.bincount(train).argmax()
    classes = int(max(train.max(), test.max())) + 1
    return overlap(test, np.full_like(test, most), classes)
