# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tiled and ring against the golden numbers and the readable loss, 1 to 8 devices."""

import json
import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests import xla
from unigeo_jax.losses import contrastive, ring, tiled

NAMES = ("aerial", "street", "dsm", "text", "coords")
GOLDEN_FILE = Path(__file__).parents[1] / "golden" / "infonce.json"
GOLDEN = json.loads(GOLDEN_FILE.read_text())
METHODS = {"plain": contrastive.loss, "tiled": tiled.loss, "ring": ring.loss}
each_method = pytest.mark.parametrize("name", ["tiled", "ring"])


def some_devices(count):
    """A mesh of the first `count` fake devices, both axes in use where they can be."""
    shape = (count // 2, 2) if count % 2 == 0 else (count, 1)
    kinds = (AxisType.Auto,) * 2
    devices = jax.devices()[:count]
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=kinds, devices=devices)


def program(name, weights_mm, *, devices=1, quick=True, **options):
    """Compiled ((loss, aux), grads of z, tau and bias) of one method."""
    if name != "plain":
        options["mesh"] = some_devices(devices) if devices > 1 else None

    def scalar(z_mbd, tau_mm, bias_mm, here_mb, cell_b):
        return METHODS[name](
            z_mbd, here_mb, cell_b, weights_mm, tau_mm, bias_mm=bias_mm, **options
        )

    run = jax.value_and_grad(scalar, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    level = None if quick else {"xla_backend_optimization_level": 3}
    return jax.jit(run, compiler_options=level)


def random_batch(seed=0, m=5, b=48, d=16, missing=0.3, cells=6, tau=(0.03, 0.5)):
    """Vectors that share a part by place, absent entries, shared cells.

    They are of unit length but for rounding to a grid, on which the products of two
    vectors are exact in float32 in any order: tests see what a loss does with them.
    """
    rng = np.random.default_rng(seed)
    z_mbd = rng.normal(size=(m, b, d)) + rng.normal(size=(1, b, d))
    z_mbd /= np.linalg.norm(z_mbd, axis=-1, keepdims=True)
    tau_mm = np.float32(rng.uniform(*tau, (m, m)))
    here_mb = rng.random((m, b)) >= missing
    cell_b2 = rng.integers(0, cells, (b, 2)).astype(np.int32)
    return np.float32(np.round(64 * z_mbd) / 64), tau_mm, None, here_mb, cell_b2


def readable(weights_mm, args, **options):
    """What the readable loss gives in float64: the truth."""
    with jax.enable_x64(True):
        wide = [
            x.astype(np.float64) if x is not None and x.dtype == np.float32 else x
            for x in args
        ]
        return jax.tree.map(np.asarray, program("plain", weights_mm, **options)(*wide))


def assert_equal_to(expected, got):
    """Distances relative to the length of what is expected."""
    tolerance = 1e-6 if got[0][0].dtype == np.float32 else 1e-13
    # Slopes by temperature are small differences of large sums.
    factors = 1, 1, 1, 1, 2, 2
    leaves = jax.tree.leaves(expected), jax.tree.leaves(got)
    for a, b, factor in zip(*leaves, factors[: len(leaves[0])], strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= factor * tolerance * np.linalg.norm(a)


def numbers(table):
    """A golden table, where null means 0."""
    return np.array([[0 if x is None else x for x in row] for row in table], np.float64)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["name"])
@pytest.mark.parametrize(
    ("name", "devices", "dtype"),
    [
        ("tiled", 2, "float64"),
        ("ring", 6, "float32"),
    ],
)
def test_golden_values_and_gradients_are_reproduced(case, name, devices, dtype):
    weights_mm = np.zeros((5, 5))
    table = np.ones((5, 5)) if case["weights"] == "ones" else GOLDEN[case["weights"]]
    for m, n in case["pairs"]:
        weights_mm[m, n] = table[m][n]
    options = {"tau_range": tuple(case["tau_clip"])} if case["tau_clip"] else {}
    tolerance = GOLDEN["tolerance"]
    with jax.enable_x64(dtype == "float64"):
        here_mb = np.array(GOLDEN[case["presence"]], bool)
        (value, aux), (grad_z, grad_tau_mm, _) = program(
            name, weights_mm, devices=devices, beta=case["beta"], tile=2, **options
        )(
            np.array(GOLDEN["z"], dtype),
            numbers(GOLDEN[case["tau"]]).astype(dtype),
            None,
            here_mb,
            np.array(GOLDEN[case["cells"]], np.int32),
        )
        assert value.dtype == grad_z.dtype == dtype
        close = partial(
            np.testing.assert_allclose,
            rtol=tolerance["float32_rel"] if dtype == "float32" else 0,
            atol=tolerance["float64_abs"] if dtype == "float64" else 0,
        )
        close(value, case["loss"])
        close(aux["pair_loss_mm"], numbers(case["pair_loss"]))
        np.testing.assert_array_equal(aux["pair_rows_mm"], numbers(case["pair_rows"]))
        atol = tolerance[f"grad_{dtype}_abs"]
        np.testing.assert_allclose(grad_z, case["grad_z"], rtol=0, atol=atol)
        assert (np.asarray(grad_z)[~here_mb] == 0).all()
        expected = np.triu(numbers(case["grad_tau"]))
        np.testing.assert_allclose(grad_tau_mm, expected, rtol=0, atol=atol)


def weights(kind):
    rng = np.random.default_rng(3)
    if kind == "random":
        return rng.uniform(0.2, 2, (5, 5)) * (rng.random((5, 5)) < 0.6)
    if kind == "one_way":
        return np.outer(np.eye(5)[3], np.eye(5)[1])
    if kind == "pivot":
        return contrastive.pivot(NAMES, "text")
    return contrastive.all_to_all(NAMES, include_self=kind == "squared")


CASES = {
    "all to all": ("all", {}, {}),
    "pivot": ("pivot", {}, {}),
    "random weights": ("random", {}, {}),
    "one direction of one pair": ("one_way", {}, {}),
    "terms of one modality": ("squared", {}, {}),
    "nothing missing": ("all", {"missing": 0.0}, {}),
    "few cells": ("all", {"cells": 2}, {}),
    "scale 100": ("all", {"tau": (0.01, 0.01)}, {}),
    "hardness": ("random", {}, {"beta": 0.7}),
    "sigmoid": ("random", {"tau": (0.1, 0.1)}, {"kind": "sigmoid"}),
}


@pytest.mark.parametrize("case", CASES)
def test_all_ways_agree_on_one_two_and_eight_devices(case):
    kind, batch, options = CASES[case]
    args = random_batch(1, **batch)
    if "kind" in options:
        bias_mm = np.random.default_rng(0).normal(-3, 1, (5, 5)).astype(np.float32)
        args = *args[:2], bias_mm, *args[3:]
    expected = readable(weights(kind), args, **options)
    # 48 places: one tile of all, tiles of 12 that fit, tiles of 5 that do not.
    ways = [("tiled", 2, 5), ("ring", 8, 5)]
    if case == "all to all":
        ways += [("tiled", 1, 1024), ("tiled", 8, 4), ("ring", 2, 12)]
    for name, devices, tile in ways:
        run = program(name, weights(kind), devices=devices, tile=tile, **options)
        assert_equal_to(expected, run(*args))


def test_two_processes_of_four_devices_agree_too(tmp_path):
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(8)
    batch = {"z": z_mbd, "tau": tau_mm, "here": here_mb, "cell": cell_b2}
    np.savez(tmp_path / "batch.npz", weights=weights("random"), **batch)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{s.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": xla.flags(4)}
    root, script = (
        Path(__file__).parents[2],
        Path(__file__).with_name("two_processes.py"),
    )
    environment["PYTHONPATH"] = str(root)
    files = [str(tmp_path / name) for name in ("batch.npz", "out.npz")]
    command = [sys.executable, str(script), coordinator]
    jobs = [
        subprocess.Popen([*command, number, *files], env=environment, cwd=tmp_path)
        for number in "01"
    ]
    assert [job.wait(timeout=240) for job in jobs] == [0, 0]
    args = z_mbd, tau_mm, None, here_mb, cell_b2
    expected = readable(weights("random"), args)
    with np.load(tmp_path / "out.npz") as out:
        for name in METHODS:
            value, pair_loss, pair_rows, grad_z, grad_tau = (
                out[f"{name}{leaf}"] for leaf in range(5)
            )
            aux = {"pair_loss_mm": pair_loss, "pair_rows_mm": pair_rows}
            assert_equal_to(expected, ((value, aux), (grad_z, grad_tau, None)))


@each_method
def test_in_float64_nothing_is_left_of_the_differences(name):
    with jax.enable_x64(True):
        args = list(random_batch(7))
        args[:2] = (x.astype(np.float64) for x in args[:2])
        expected = readable(weights("random"), args, beta=0.7)
        run = program(name, weights("random"), beta=0.7, devices=4, tile=7)
        assert_equal_to(expected, run(*args))


@each_method
@pytest.mark.parametrize("devices", [1, 8])
def test_opposite_vectors_at_scale_100_neither_overflow_nor_vanish(name, devices):
    """Logits of one tile differ by 200: a shift shared by rows would lose some."""
    signs_mb = np.random.default_rng(0).choice([-1.0, 1.0], (2, 32)).astype(np.float32)
    z_mbd = np.stack([signs_mb, np.zeros_like(signs_mb)], -1)
    args = z_mbd, np.full((2, 2), np.float32(0.01)), None
    args = *args, np.ones((2, 32), bool), np.arange(32, dtype=np.int32)
    weights_mm = contrastive.all_to_all(NAMES[:2])
    expected = readable(weights_mm, args)
    got = program(name, weights_mm, devices=devices, tile=3)(*args)
    assert expected[0][0] > 50 and all(np.isfinite(x).all() for x in got[1][:2])
    assert_equal_to(expected, got)


@each_method
@pytest.mark.parametrize("kind", ["infonce", "sigmoid"])
def test_what_absent_entries_hold_changes_nothing_be_it_nan(name, kind):
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(2)
    bias_mm = np.float32(np.full((5, 5), -2)) if kind == "sigmoid" else None
    run = program(name, weights("squared"), devices=2, tile=5, kind=kind)
    expected = None
    for filler in (0.0, np.nan, np.inf):
        filled_mbd = np.where(here_mb[:, :, None], z_mbd, np.float32(filler))
        result = run(filled_mbd, tau_mm, bias_mm, here_mb, cell_b2)
        grad_z = np.asarray(result[1][0])
        assert (grad_z[~here_mb] == 0).all() and (grad_z[here_mb] != 0).any()
        expected = expected or result
        jax.tree.map(np.testing.assert_array_equal, result, expected)


@each_method
def test_a_batch_without_negatives_or_without_a_modality_costs_nothing(name):
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(3)
    run = program(name, weights("all"), devices=2, tile=5)
    (value, _), grads = run(z_mbd, tau_mm, None, here_mb, np.zeros_like(cell_b2))
    assert value == 0 and all((np.asarray(x) == 0).all() for x in grads[:2])
    (value, _), grads = run(z_mbd, tau_mm, None, np.zeros_like(here_mb), cell_b2)
    assert value == 0 and all((np.asarray(x) == 0).all() for x in grads[:2])


@each_method
def test_gradients_follow_the_losses_of_single_pairs_too(name):
    """The rule is of the pair losses, so any sum of them has its gradient."""
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(4, m=3)
    mix_mm = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)

    def grad(method, **options):
        def mixed(z_mbd, tau_mm):
            weights_mm = contrastive.all_to_all(NAMES[:3])
            args = z_mbd, here_mb, cell_b2, weights_mm, tau_mm
            return (method(*args, **options)[1]["pair_loss_mm"] * mix_mm).sum()

        return jax.jit(jax.grad(mixed, argnums=(0, 1)))(z_mbd, tau_mm)

    expected = grad(contrastive.loss)
    got = grad(METHODS[name], mesh=some_devices(4), tile=4)
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=3e-6 * abs(a).max())


@each_method
def test_bfloat16_embeddings_change_the_loss_by_their_rounding_only(name):
    z_mbd, *rest = random_batch(5, missing=0.0, cells=100)
    z_mbd = z_mbd * np.float32(0.99)  # off the grid, which bfloat16 holds exactly
    exact = program("plain", weights("all"))(z_mbd, *rest)
    low_mbd = jnp.asarray(z_mbd, jnp.bfloat16)
    low = program(name, weights("all"), devices=8, tile=6)(low_mbd, *rest)
    assert low[0][0].dtype == low[1][1].dtype == jnp.float32
    assert low[1][0].dtype == jnp.bfloat16
    assert 0 < abs(low[0][0] - exact[0][0]) < 2e-3 * exact[0][0]
    grad, grad_low = exact[1][0], low[1][0].astype(jnp.float32)
    assert abs(grad_low - grad).max() < 0.03 * abs(grad).max()


@each_method
def test_no_logit_matrix_is_ever_whole(name):
    b, tile = 1024, 128
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(b=b, d=8)
    run = program(name, weights("all"), tile=tile, quick=False)
    compiled = run.lower(z_mbd, tau_mm, None, here_mb, cell_b2).compile()
    plain = program("plain", weights("all"), quick=False)
    plain = plain.lower(z_mbd, tau_mm, None, here_mb, cell_b2).compile()
    assert not re.search(
        rf"f32\[({b},{b}|{tile},{b}|{b},{tile})[\],]", compiled.as_text()
    )
    temporary = compiled.memory_analysis().temp_size_in_bytes
    assert 20 * temporary < plain.memory_analysis().temp_size_in_bytes
    assert temporary < 4 * b * b / 2


def collectives(name, m=5, b=64, d=16):
    """{kind: element counts of its results} in the program for eight devices."""
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch(m=m, b=b, d=d)
    run = program(name, weights("all"), devices=8, tile=4)
    text = run.lower(z_mbd, tau_mm, None, here_mb, cell_b2).compile().as_text()
    found = {}
    for shapes, kind in re.findall(r"= (\S+|\(.*?\)) ([a-z-]+?)(?:-start)?\(", text):
        if kind in ("all-gather", "reduce-scatter", "all-to-all", "collective-permute"):
            sizes = [
                int(np.prod([int(n) for n in dims.split(",") if n]))
                for dims in re.findall(r"\w+\[([\d,]*)\]", shapes)
            ]
            found.setdefault(kind, []).append(max(sizes))
    return found


def test_tiled_gathers_and_scatters_the_embeddings_once():
    found = collectives("tiled")
    whole = 5 * 64 * 16
    assert found["all-gather"].count(whole) == 1 and len(found["all-gather"]) <= 4
    assert found["reduce-scatter"] == [whole // 8]
    assert found.keys() == {"all-gather", "reduce-scatter"}


def test_ring_gathers_nothing_and_never_holds_more_than_a_block():
    found = collectives("ring")
    assert found.keys() == {"collective-permute"}
    assert max(found["collective-permute"]) == 5 * 64 * 16 // 8


@each_method
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell_b": np.ones((48, 3), np.int32)}, "cell_b has shape"),
        ({"weights_mm": np.zeros((5, 5))}, "all zero"),
        ({"kind": "softmax"}, "kind is 'softmax', allowed: infonce, sigmoid"),
        ({"kind": "sigmoid"}, r"bias_mm has shape None, allowed for sigmoid: \(5, 5\)"),
        ({"bias_mm": np.ones((5, 5))}, "allowed for infonce: None"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"tile": 0}, "tiles of 0"),
        ({"devices": 5}, "48 places, 5 devices"),
    ],
)
def test_arguments_that_disagree_are_errors_that_name_them(name, change, message):
    z_mbd, tau_mm, _, here_mb, cell_b2 = random_batch()
    args = {"z_mbd": z_mbd, "here_mb": here_mb, "cell_b": cell_b2, "tau_mm": tau_mm}
    args |= {"weights_mm": weights("all")} | change
    if "devices" in args:
        args["mesh"] = some_devices(args.pop("devices"))
    with pytest.raises(ValueError, match=message):
        METHODS[name](**args)
