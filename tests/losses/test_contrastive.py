# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The readable InfoNCE against the golden numbers and a plain triple loop."""

import json
import math
import re
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax.losses import contrastive

NAMES = ("aerial", "street", "dsm", "text", "coords")
THREE = NAMES[:3]
GOLDEN_FILE = Path(__file__).parents[1] / "golden" / "infonce.json"
GOLDEN = json.loads(GOLDEN_FILE.read_text())
each_case = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["name"])
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
float32_close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def numbers(table):
    """A golden table, where null means 0."""
    return np.array([[0 if x is None else x for x in row] for row in table], np.float64)


def golden_inputs(case, dtype):
    z_mbd = np.array(GOLDEN["z"], dtype)
    here_mb = np.array(GOLDEN[case["presence"]], bool)
    cell_b = np.array(GOLDEN[case["cells"]], np.int32)
    weights_mm = np.zeros((5, 5))
    table = np.ones((5, 5)) if case["weights"] == "ones" else GOLDEN[case["weights"]]
    for m, n in case["pairs"]:
        weights_mm[m, n] = table[m][n]
    return z_mbd, here_mb, cell_b, weights_mm, numbers(GOLDEN[case["tau"]])


@lru_cache
def compiled(weights_bytes, shape, **options):
    """One program for all batches of the same weights, which are static."""
    weights_mm = np.frombuffer(weights_bytes).reshape(shape)

    def scalar(z_mbd, tau_mm, here_mb, cell_b):
        return contrastive.loss(z_mbd, here_mb, cell_b, weights_mm, tau_mm, **options)

    run = jax.value_and_grad(scalar, argnums=(0, 1), has_aux=True)
    return jax.jit(run)


def value_and_grads(z_mbd, here_mb, cell_b, weights_mm, tau_mm, **options):
    """((loss, aux), (grad_z, grad_tau)) at the precision of z."""
    run = compiled(weights_mm.tobytes(), weights_mm.shape, **options)
    return run(z_mbd, jnp.asarray(tau_mm, z_mbd.dtype), here_mb, cell_b)


@each_case
@each_dtype
def test_golden_values_and_gradients_are_reproduced(case, dtype):
    tolerance = GOLDEN["tolerance"]
    close = partial(
        np.testing.assert_allclose,
        rtol=tolerance["float32_rel"] if dtype == "float32" else 0,
        atol=tolerance["float64_abs"] if dtype == "float64" else 0,
    )
    grad_close = partial(
        np.testing.assert_allclose, rtol=0, atol=tolerance[f"grad_{dtype}_abs"]
    )
    options = {"tau_range": tuple(case["tau_clip"])} if case["tau_clip"] else {}
    with jax.enable_x64(dtype == "float64"):
        z_mbd, here_mb, cell_b, weights_mm, tau_mm = golden_inputs(case, dtype)
        (value, aux), (grad_z, grad_tau_mm) = value_and_grads(
            z_mbd, here_mb, cell_b, weights_mm, tau_mm, beta=case["beta"], **options
        )
        assert value.dtype == dtype
        close(value, case["loss"])
        close(aux["pair_loss_mm"], numbers(case["pair_loss"]))
        np.testing.assert_array_equal(aux["pair_rows_mm"], numbers(case["pair_rows"]))

        grad_close(grad_z, case["grad_z"])
        assert (np.asarray(grad_z)[~here_mb] == 0).all()
        # The shared temperature's gradient is on or above the diagonal, and only there.
        grad_close(np.asarray(grad_tau_mm), np.triu(numbers(case["grad_tau"])))

        (grad_x,) = jax.vjp(
            lambda x_mbd: x_mbd / jnp.linalg.norm(x_mbd, axis=-1, keepdims=True), z_mbd
        )[1](grad_z)
        grad_close(grad_x, case["grad_z_through_normalisation"])


def loop_loss(z, here, cell, weights, tau, beta=0.0):
    """The definition of the module docstring, one row at a time, in float64."""
    z, tau = np.asarray(z, np.float64), np.clip(np.asarray(tau, np.float64), 0.01, 1)
    total = weight_sum = 0.0
    pair_loss, pair_rows = np.zeros((2, *weights.shape))
    for m, n in zip(*np.nonzero(weights), strict=True):
        terms = []
        for i in range(z.shape[1]):
            if not (here[m, i] and here[n, i]):
                continue
            logit = z[n] @ z[m, i] / tau[min(m, n), max(m, n)]
            keys = [j for j in range(z.shape[1]) if here[n, j]]
            negatives = [j for j in keys if np.any(cell[j] != cell[i])]
            mean = np.mean([math.exp(beta * logit[j]) for j in negatives] or [1])
            hard = sum(math.exp((1 + beta) * logit[j]) / mean for j in negatives)
            terms.append(math.log(math.exp(logit[i]) + hard) - logit[i])
        if terms:
            pair_loss[m, n], pair_rows[m, n] = np.mean(terms), len(terms)
            total += weights[m, n] * np.mean(terms)
            weight_sum += weights[m, n]
    return total / weight_sum, pair_loss, pair_rows


def random_batch(seed=0, m=3, b=24, d=16, missing=0.3):
    """Unit vectors that share a part by place, absent entries, shared cells."""
    rng = np.random.default_rng(seed)
    z_mbd = rng.normal(size=(m, b, d)) + rng.normal(size=(1, b, d))
    z_mbd /= np.linalg.norm(z_mbd, axis=-1, keepdims=True)
    here_mb = rng.random((m, b)) >= missing
    cell_b2 = rng.integers(0, 4, (b, 2)).astype(np.int32)
    tau_mm = rng.uniform(0.05, 0.5, (m, m))
    return z_mbd.astype(np.float32), here_mb, cell_b2, (tau_mm + tau_mm.T) / 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beta", [0.0, 0.7])
@each_dtype
def test_random_batches_agree_with_a_plain_loop(seed, beta, dtype):
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed, m=4)
    rng = np.random.default_rng(7)
    weights_mm = rng.uniform(0.2, 2, (4, 4)) * (rng.random((4, 4)) < 0.7)
    assert (np.diag(weights_mm) > 0).any()
    args = z_mbd, here_mb, cell_b2, weights_mm, tau_mm
    expected, pair_loss, pair_rows = loop_loss(*args, beta)
    assert len(np.unique(cell_b2, axis=0)) < len(cell_b2)
    tolerance = {"rtol": 1e-12 if dtype == "float64" else 1e-5, "atol": 1e-12}
    with jax.enable_x64(dtype == "float64"):
        args = z_mbd.astype(dtype), *args[1:]
        (value, aux), _ = value_and_grads(*args, beta=beta)
        np.testing.assert_allclose(value, expected, **tolerance)
        np.testing.assert_allclose(aux["pair_loss_mm"], pair_loss, **tolerance)
        np.testing.assert_array_equal(aux["pair_rows_mm"], pair_rows)


def test_gradient_agrees_with_differences_of_the_plain_loop():
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=5, m=3, b=7, d=4)
    weights_mm = contrastive.all_to_all(THREE, include_self=True)
    rng = np.random.default_rng(0)
    dz_mbd, dtau_mm = rng.normal(size=z_mbd.shape), rng.normal(size=(3, 3))
    dtau_mm = dtau_mm + dtau_mm.T
    z_mbd, step = z_mbd.astype(np.float64), 1e-5

    def moved(e):
        z, tau = z_mbd + e * dz_mbd, tau_mm + e * dtau_mm
        return loop_loss(z, here_mb, cell_b2, weights_mm, tau)[0]

    with jax.enable_x64(True):
        _, slope = jax.jvp(
            lambda z, tau: contrastive.loss(z, here_mb, cell_b2, weights_mm, tau)[0],
            (jnp.asarray(z_mbd), jnp.asarray(tau_mm)),
            (jnp.asarray(dz_mbd), jnp.asarray(dtau_mm)),
        )
    np.testing.assert_allclose(slope, (moved(step) - moved(-step)) / (2 * step))


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_what_absent_entries_hold_changes_nothing_be_it_nan(beta):
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=1)
    weights_mm = contrastive.all_to_all(THREE, include_self=True)
    expected = None
    for filler in (0.0, np.nan, np.inf, 1e30):
        filled_mbd = np.where(here_mb[:, :, None], z_mbd, np.float32(filler))
        result = value_and_grads(
            filled_mbd, here_mb, cell_b2, weights_mm, tau_mm, beta=beta
        )
        grad_z = np.asarray(result[1][0])
        assert (grad_z[~here_mb] == 0).all() and (grad_z[here_mb] != 0).any()
        expected = expected or result
        jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_a_modality_that_no_place_has_leaves_the_mean():
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=2)
    here_mb[1] = False
    weights_mm = contrastive.all_to_all(THREE)
    without_mm = contrastive.subset(weights_mm, THREE, ["aerial", "dsm"])
    (some, _), _ = value_and_grads(z_mbd, here_mb, cell_b2, weights_mm, tau_mm)
    (same, _), _ = value_and_grads(z_mbd, here_mb, cell_b2, without_mm, tau_mm)
    np.testing.assert_allclose(some, same, rtol=1e-6)

    here_mb[:] = False
    (value, _), grads = value_and_grads(z_mbd, here_mb, cell_b2, weights_mm, tau_mm)
    assert value == 0
    assert all((np.asarray(grad) == 0).all() for grad in grads)


def test_places_of_one_cell_are_not_each_others_negatives():
    z_mbd, here_mb, _, tau_mm = random_batch(seed=3, missing=0)
    weights_mm = contrastive.all_to_all(THREE)
    one_cell_b2 = np.full((24, 2), 9, np.int32)
    args = z_mbd, here_mb, one_cell_b2, weights_mm, tau_mm
    (value, aux), grads = value_and_grads(*args)
    assert value == 0
    np.testing.assert_array_equal(aux["pair_rows_mm"], 24 * weights_mm)
    assert all((np.asarray(grad) == 0).all() for grad in grads)
    # One place elsewhere, told apart by either word of the id, repels all others.
    for low_word in (0, 1):
        cell_b2 = one_cell_b2.copy()
        cell_b2[0, low_word] = 8
        args = z_mbd, here_mb, cell_b2, weights_mm, tau_mm
        expected, _, _ = loop_loss(*args)
        (value, _), _ = value_and_grads(*args)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert value > 0


@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
def test_uniform_embeddings_cost_the_log_of_the_batch(tau):
    z_mbd = np.broadcast_to(np.float32([0.6, 0.8]), (3, 17, 2))
    here_mb, cell_b = np.ones((3, 17), bool), np.arange(17, dtype=np.int32)
    weights_mm, tau_mm = contrastive.all_to_all(THREE), np.full((3, 3), tau)
    (value, _), _ = value_and_grads(z_mbd, here_mb, cell_b, weights_mm, tau_mm)
    np.testing.assert_allclose(value, math.log(17), rtol=1e-5)


def test_the_sharpest_temperature_neither_overflows_nor_underflows():
    """At scale 100 logits differ by 200; a shared shift would lose the small ones."""
    z_mbd = np.zeros((2, 4, 2), np.float32)
    z_mbd[0, :, 0], z_mbd[1, :, 0] = [1, 1, -1, -1], [-1, 1, -1, 1]
    here_mb, weights_mm = np.ones((2, 4), bool), contrastive.all_to_all(THREE[:2])
    cell_b2 = np.arange(8, dtype=np.int32).reshape(4, 2)
    args = z_mbd, here_mb, cell_b2, weights_mm, np.full((2, 2), 0.01)
    (value, _), grads = value_and_grads(*args)
    expected, _, _ = loop_loss(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert expected > 90
    assert all(np.isfinite(grad).all() for grad in grads)


def test_the_order_of_the_batch_does_not_matter():
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=6)
    weights_mm = contrastive.all_to_all(THREE)
    order = np.random.default_rng(0).permutation(z_mbd.shape[1])
    args = z_mbd, here_mb, cell_b2, weights_mm, tau_mm
    outer, (grad_z, grad_tau) = value_and_grads(*args)
    shuffled = value_and_grads(
        z_mbd[:, order], here_mb[:, order], cell_b2[order], weights_mm, tau_mm
    )
    jax.tree.map(float32_close, (outer, (grad_z[:, order], grad_tau)), shuffled)


def test_cells_given_as_one_word_or_two_are_the_same_cells():
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=7)
    weights_mm = contrastive.all_to_all(THREE)
    values = [
        value_and_grads(z_mbd, here_mb, cells, weights_mm, tau_mm)[0][0]
        for cells in (cell_b2, 4 * cell_b2[:, 0] + cell_b2[:, 1])
    ]
    assert values[0] == values[1]


def count_products(weights_mm):
    """How many (b, g) products the traced loss holds, backward pass left out."""
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=8, m=5)
    program = jax.make_jaxpr(
        lambda z: contrastive.loss(z, here_mb, cell_b2, weights_mm, tau_mm)[0]
    )(z_mbd)
    return len(re.findall(r":f32\[24,24\] = dot_general", str(program)))


def test_one_product_serves_both_directions_and_unasked_pairs_are_not_computed():
    assert count_products(contrastive.all_to_all(NAMES)) == 10
    assert count_products(contrastive.all_to_all(NAMES, include_self=True)) == 15
    assert count_products(contrastive.pivot(NAMES, "coords")) == 4
    assert count_products(np.outer(np.eye(5)[3], np.eye(5)[1])) == 1


def test_weights_hold_the_pairs_they_are_named_for():
    assert contrastive.all_to_all(NAMES).sum() == 20
    assert contrastive.all_to_all(NAMES, include_self=True).sum() == 25
    pivot_mm = contrastive.pivot(NAMES, "text")
    assert pivot_mm.sum() == 8 and pivot_mm[3].sum() == pivot_mm[:, 3].sum() == 4
    kept_mm = contrastive.subset(pivot_mm, NAMES, ["text", "coords", "dsm"])
    assert np.argwhere(kept_mm).tolist() == [[2, 3], [3, 2], [3, 4], [4, 3]]


def test_an_unknown_modality_is_named_with_what_is_allowed():
    message = r"'sonar', allowed: \['aerial', 'street'\]"
    with pytest.raises(ValueError, match=message):
        contrastive.pivot(NAMES[:2], "sonar")
    with pytest.raises(ValueError, match=message):
        contrastive.subset(np.ones((2, 2)), NAMES[:2], ["aerial", "sonar"])


def test_a_temperature_on_its_bound_still_learns_and_one_outside_does_not():
    z_mbd, here_mb, cell_b2, _ = random_batch(seed=9)
    weights_mm = contrastive.all_to_all(THREE)

    @jax.jit
    @jax.grad
    def slope(log_tau):
        tau_mm = jnp.full((3, 3), jnp.exp(log_tau))
        return contrastive.loss(z_mbd, here_mb, cell_b2, weights_mm, tau_mm)[0]

    bounds = np.log(np.float32([0.01, 1.0]))
    for bound, beyond in zip(bounds, np.float32([-0.1, 0.1]), strict=True):
        assert slope(bound) != 0 and slope(bound + beyond) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_mbd": np.ones((3, 24))}, "z_mbd must be"),
        ({"here_mb": np.ones((3, 23), bool)}, "here_mb has shape"),
        ({"cell_b": np.ones((24, 3), np.int32)}, "cell_b has shape"),
        ({"weights_mm": np.ones((4, 4))}, "weights_mm has shape"),
        ({"tau_mm": np.ones(3)}, "tau_mm has shape"),
        ({"weights_mm": np.zeros((3, 3))}, "all zero"),
        ({"weights_mm": -np.ones((3, 3))}, "finite and >= 0"),
    ],
)
def test_arguments_that_disagree_are_errors_that_name_them(change, message):
    z_mbd, here_mb, cell_b2, tau_mm = random_batch()
    args = {"z_mbd": z_mbd, "here_mb": here_mb, "cell_b": cell_b2, "tau_mm": tau_mm}
    args |= {"weights_mm": contrastive.all_to_all(THREE)} | change
    with pytest.raises(ValueError, match=message):
        contrastive.loss(**args)


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_eight_devices_agree_with_one_and_gather_at_most_four_times(mesh, beta):
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=10, m=4, b=48)
    weights_mm = contrastive.all_to_all(NAMES[:4])
    one = value_and_grads(z_mbd, here_mb, cell_b2, weights_mm, tau_mm, beta=beta)
    gathered = []

    def gather(x):
        gathered.append(x.shape)
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P()))

    axes = ("data", "fsdp")
    split = NamedSharding(mesh, P(None, axes)), NamedSharding(mesh, P(axes))
    z_mbd, here_mb, cell_b2 = map(
        jax.device_put, (z_mbd, here_mb, cell_b2), (split[0], *split)
    )
    assert z_mbd.addressable_shards[7].data.shape == (4, 6, 16)
    args = z_mbd, jnp.asarray(tau_mm, jnp.float32), here_mb, cell_b2
    run = compiled(weights_mm.tobytes(), (4, 4), beta=beta, gather=gather)
    program = run.lower(*args).compile()
    jax.tree.map(float32_close, one, program(*args))

    assert gathered == [(4, 48, 16), (4, 48), (48, 2)]
    names = re.findall(r" ([a-z-]+?)(?:-start)?\(", program.as_text())
    assert 1 <= names.count("all-gather") <= 4
    # A (b, g) matrix that changed hands would show as one of these.
    assert names.count("all-to-all") == names.count("collective-permute") == 0


def test_bfloat16_keys_change_the_loss_by_their_rounding_only():
    z_mbd, here_mb, cell_b2, tau_mm = random_batch(seed=12)
    args = z_mbd, here_mb, cell_b2, contrastive.all_to_all(THREE), tau_mm

    def lower(x):
        return x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x

    (exact, _), (grad_exact, _) = value_and_grads(*args)
    (low, _), (grad_low, _) = value_and_grads(*args, gather=lower)
    assert low.dtype == grad_low.dtype == jnp.float32
    assert 0 < abs(low - exact) < 2e-3 * exact
    assert abs(grad_low - grad_exact).max() < 0.02 * abs(grad_exact).max()
