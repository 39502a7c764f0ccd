# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoModel: towers by name, unit vectors, temperatures, the paper's sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from unigeo_jax import modalities, model

SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2}
TOWERS = (
    ("aerial", "aerial", {**SMALL, "patch": 16}),
    ("street", "street", {**SMALL, "patch": (16, 16)}),
    ("dsm", "dsm", {**SMALL, "patch": 12, "registers": 1}),
    ("text", "text", {**SMALL, "vocab_size": 50}),
    ("coords", "coords", {"frequencies": 8, "depth": 1, "heads": 2}),
)
NAMES = tuple(name for name, _, _ in TOWERS)
BLOCK = {"width": 768, "depth": 12, "heads": 12, "mlp_ratio": 4}


def batch(b=3, seed=0):
    rng = np.random.default_rng(seed)

    def noise(zeros):
        if zeros.dtype == bool:
            return np.ones((b, *zeros.shape), bool)
        return rng.integers(1, 50, (b, *zeros.shape)).astype(zeros.dtype)

    return {n: jax.tree.map(noise, modalities.get(m).spec()) for n, m, _ in TOWERS}


@pytest.fixture(scope="module")
def built():
    geo = model.GeoModel(TOWERS, dim=12)
    shapes = jax.eval_shape(geo.init, jax.random.key(0), batch())
    rng = np.random.default_rng(0)
    values = [
        (0.3 * rng.normal(size=a.shape)).astype(np.float32)
        for a in jax.tree.leaves(shapes)
    ]
    return geo, jax.tree.unflatten(jax.tree.structure(shapes), values)


def test_embeddings_are_float32_unit_vectors_in_the_order_of_the_towers(built):
    geo, variables = built
    x = batch()
    z_mbd = jax.jit(geo.apply)(variables, x)
    assert z_mbd.shape == (5, 3, 12) and z_mbd.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(z_mbd, axis=-1), 1, atol=1e-6)
    for row, name in enumerate(NAMES):
        embed = jax.jit(lambda v, x, n=name: geo.apply(v, n, x, method="embed"))
        np.testing.assert_allclose(embed(variables, x[name]), z_mbd[row], atol=1e-6)


def test_a_permuted_batch_gives_permuted_embeddings(built):
    geo, variables = built
    order = np.array([2, 0, 1])
    x = batch()
    apply = jax.jit(geo.apply)
    permuted = apply(variables, jax.tree.map(lambda a: a[order], x))
    np.testing.assert_allclose(permuted, apply(variables, x)[:, order], atol=1e-5)


def test_parameters_have_one_subtree_a_tower_and_one_temperature_a_pair(built):
    geo, _ = built
    shapes = jax.eval_shape(geo.init, jax.random.key(0), batch())
    params = shapes["params"]
    assert set(params) == {*NAMES, "log_tau"}
    assert params["log_tau"].shape == (15,) and params["log_tau"].dtype == jnp.float32
    assert not params["log_tau"].weak_type
    assert set(params["aerial"]) == {
        *("embedding", "pos_embedding", "Transformer", "MAPHead_0", "head")
    }


def test_temperatures_form_a_symmetric_matrix_in_the_order_of_pairs(built):
    geo, variables = built
    tau_mm = geo.apply(variables, method="tau_mm")
    np.testing.assert_array_equal(
        tau_mm, model.tau_matrix(variables["params"]["log_tau"])
    )
    log_tau = jnp.arange(15, dtype=jnp.float32) / 10
    tau_mm = np.asarray(model.tau_matrix(log_tau))
    np.testing.assert_array_equal(tau_mm, tau_mm.T)
    rows, columns = np.triu_indices(5)
    np.testing.assert_allclose(tau_mm[rows, columns], np.exp(log_tau), rtol=1e-6)
    pairs = model.pairs(NAMES)
    assert pairs[:2] == [("aerial", "aerial"), ("aerial", "street")]
    for position, (a, b) in enumerate(pairs):
        assert model.pair_index(NAMES, a, b) == position
        assert model.pair_index(NAMES, b, a) == position
        here = tau_mm[NAMES.index(a), NAMES.index(b)]
        assert math.isclose(here, math.exp(position / 10), rel_tol=1e-6)


def test_one_module_serves_two_names_and_every_tau_starts_at_seven_hundredths():
    coords = {"frequencies": 8, "depth": 0}
    geo = model.GeoModel((("near", "coords", coords), ("far", "coords", coords)), 16)
    x = {name: np.ones((2, 2), np.float32) for name in ("near", "far")}
    params = jax.jit(geo.init)(jax.random.key(0), x)["params"]
    tau_mm = model.tau_matrix(params["log_tau"])
    np.testing.assert_allclose(tau_mm, np.full((2, 2), 0.07), rtol=1e-6)
    gap = params["near"]["frequencies"] - params["far"]["frequencies"]
    assert float(jnp.abs(gap).max()) > 0.1


def test_zero_input_and_empty_text_give_finite_gradients(built):
    geo, variables = built
    x = jax.tree.map(np.zeros_like, batch())
    grads = jax.jit(jax.grad(lambda v: geo.apply(v, x).sum()))(variables)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(grads))


def test_unknown_and_illegal_names_are_errors(built):
    geo, variables = built
    with pytest.raises(ValueError, match=r"no tower 'sonar', allowed: \['aerial'"):
        geo.apply(variables, "sonar", np.zeros((1, 2)), method="embed")
    with pytest.raises(ValueError, match="no tower 'sonar'"):
        model.pair_index(NAMES, "aerial", "sonar")
    for names in (("embed",), ("dim",), ("a", "a"), ()):
        towers = [(name, "coords", {"frequencies": 8, "depth": 0}) for name in names]
        with pytest.raises(ValueError, match="towers:"):
            x = {name: np.zeros((1, 2), np.float32) for name in names}
            model.GeoModel(towers, 16).init(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("name", "net", "data", "trainable"),
    [
        ("aerial", {**BLOCK, "patch": 16}, {"size": 224}, 92_884_224),
        ("street", {**BLOCK, "patch": 16}, {"height": 224, "width": 224}, 92_884_224),
        ("dsm", {**BLOCK, "patch": 16, "registers": 4}, {"size": 224}, 85_407_744),
        (
            "text",
            {**BLOCK, "vocab_size": 256_000, "pool": "last", "mask_padding": False},
            {"length": 64},
            282_303_744,
        ),
        ("coords", {"depth": 12, "heads": 12, "registers": 4}, {}, 85_057_536),
        ("coords", {"depth": 12, "sigmas": (1, 16)}, {}, 85_057_536),
        ("coords", {"depth": 0}, {}, 0),
    ],
)
def test_size_b_has_the_published_number_of_parameters(name, net, data, trainable):
    module = modalities.get(name)
    x = jax.tree.map(lambda a: a[None], module.spec(**data))
    encoder = module.Encoder(dim=768, **net)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), x)["params"]
    sizes = {p: a.size for p, a in traverse_util.flatten_dict(shapes).items()}
    frozen = sizes.pop(("frequencies",), 0)
    assert sum(sizes.values()) == trainable
    if name == "coords":
        assert frozen == 768 * len(encoder.sigmas)
    scan = module.Encoder(dim=768, scan=True, **net)
    shapes = jax.eval_shape(scan.init, jax.random.key(0), x)["params"]
    assert sum(a.size for a in jax.tree.leaves(shapes)) == trainable + frozen
