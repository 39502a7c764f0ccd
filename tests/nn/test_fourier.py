# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordinate features against golden numbers, and the encoder's invariances."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.nn import fourier, layers, pointwise

GOLDEN = Path(__file__).parents[1] / "golden" / "equal_earth.json"
SMALL = {"sigmas": (1.0, 4.0, 16.0), "frequencies": 8, "heads": 4, "mlp_ratio": 2}
PLACES = np.array(
    [[40.7, -73.9], [48.8, 2.3], [-33.8, 151.2], [0, 0], [64.1, -21.9]], np.float32
)


def golden():
    data = json.loads(GOLDEN.read_text())
    latlon = np.array([[p["lat"], p["lon"]] for p in data["points"]])
    xy = np.array([[p["x"], p["y"]] for p in data["points"]])
    return data, latlon, xy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_projection_meets_the_golden_tolerance(dtype):
    data, latlon, xy = golden()
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(fourier.project_equal_earth)(jnp.asarray(latlon, dtype))
        assert got.dtype == dtype
    np.testing.assert_allclose(got, xy, rtol=0, atol=data["tolerance"][f"{dtype}_abs"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tokens_meet_the_golden_tolerance_at_every_scale(dtype):
    data, latlon, _ = golden()
    place = {p["name"]: row for p, row in zip(data["points"], latlon, strict=True)}
    rows = data["fourier"]["points"]
    latlon = np.array([place[row["name"]] for row in rows])
    expected = np.array([row["tokens"] for row in rows])
    frequencies = np.array(data["fourier"]["B"])
    with jax.enable_x64(dtype == "float64"):
        xy = fourier.project_equal_earth(jnp.asarray(latlon, dtype))
        got = fourier.fourier_tokens(xy, jnp.asarray(frequencies, dtype))
    error = np.abs(np.asarray(got) - expected).max(axis=(0, 2))
    if dtype == "float64":
        assert error.max() <= data["tolerance"]["tokens_float64_abs"]
    else:
        assert (error <= data["tolerance"]["tokens_float32_abs_by_scale"]).all()


def encoder(**options):
    module = fourier.LatLonEncoder(**{"depth": 2, "registers": 2, **SMALL, **options})
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.asarray(PLACES))
    rng = np.random.default_rng(0)
    leaves = [0.3 * rng.normal(size=a.shape) for a in jax.tree.leaves(shapes)]
    leaves = [leaf.astype(np.float32) for leaf in leaves]
    variables = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    scale = np.asarray(module.sigmas, np.float32).reshape(-1, 1, 1) / 0.3
    variables["params"]["frequencies"] *= scale
    return module, variables


@pytest.mark.parametrize("projection", ["equal_earth", "sphere"])
def test_the_embedding_of_a_place_does_not_depend_on_its_batch(projection):
    module, variables = encoder(projection=projection)
    together = jax.jit(module.apply)(variables, jnp.asarray(PLACES))
    for row, place in enumerate(PLACES):
        alone = jax.jit(module.apply)(variables, jnp.asarray(place[None]))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    order = np.array([3, 1, 4, 0, 2])
    permuted = jax.jit(module.apply)(variables, jnp.asarray(PLACES[order]))
    np.testing.assert_allclose(permuted, together[order], atol=1e-5)


def test_the_encoder_equals_its_description_step_by_step():
    module, variables = encoder()
    params = variables["params"]
    xy = fourier.project_equal_earth(jnp.asarray(PLACES))
    turns = np.einsum("bi,kfi->bkf", xy, params["frequencies"])
    tokens = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], -1)
    front = np.broadcast_to(params["registers"], (5, 2, 16))
    x = jnp.asarray(np.concatenate([front, tokens], axis=1))
    for i in range(2):
        block = layers.Encoder1DBlock(4, 2, pointwise.gelu_erf, 1e-5)
        block_params = {"params": params["Transformer"][f"encoderblock_{i}"]}
        x = jax.jit(block.apply)(block_params, x)
    expected = x[:, 2:].mean(axis=1)
    got = jax.jit(module.apply)(variables, jnp.asarray(PLACES))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert set(params["Transformer"]) == {"encoderblock_0", "encoderblock_1"}


def test_concat_gives_every_scale_weights_of_its_own():
    averaged, variables = encoder()
    module, more = encoder(pool="concat", dim=6)
    params = {**variables["params"], "head": more["params"]["head"]}
    tokens = fourier.LatLonEncoder(depth=2, registers=2, pool="concat", **SMALL)
    tokens_bkw = np.asarray(jax.jit(tokens.apply)(variables, PLACES)).reshape(5, -1, 16)
    mean_bw = jax.jit(averaged.apply)(variables, PLACES)
    np.testing.assert_allclose(tokens_bkw.mean(axis=1), mean_bw, atol=1e-5)
    kernel_kwd = params["head"]["kernel"].reshape(-1, 16, 6)
    assert len(kernel_kwd) == len(module.sigmas) > 1
    expected = np.einsum("bkw,kwd->bd", tokens_bkw, kernel_kwd) + params["head"]["bias"]
    got = jax.jit(module.apply)({"params": params}, PLACES)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_depth_zero_is_the_mean_of_fixed_tokens_without_a_trainable_parameter():
    module, variables = encoder(depth=0)
    assert set(variables["params"]) == {"frequencies"}
    parts = fourier.split_points(jnp.asarray(PLACES), "equal_earth")
    frequencies = variables["params"]["frequencies"]
    tokens = fourier.fourier_tokens(parts[0], frequencies, rest_bi=parts[1])
    got = jax.jit(module.apply)(variables, jnp.asarray(PLACES))
    np.testing.assert_allclose(got, tokens.mean(axis=1), atol=1e-6)


def test_no_gradient_reaches_the_frequencies_but_all_other_leaves_get_one():
    module, variables = encoder()
    loss = lambda v: jnp.square(module.apply(v, jnp.asarray(PLACES))[:, :3]).sum()  # noqa: E731
    grads = jax.jit(jax.grad(loss))(variables)["params"]
    assert not grads.pop("frequencies").any()
    # The key bias shifts all logits of a row alike, so its gradient is rounding only.
    flat = jax.tree_util.tree_flatten_with_path(grads)[0]
    zero = [p for p, leaf in flat if not leaf.any()]
    assert zero == []


def test_frequencies_of_equal_sigmas_are_drawn_independently_with_their_spread():
    module = fourier.FourierTokens((16.0,) * 5, 4096)
    leaf = jax.jit(module.init)(jax.random.key(0), jnp.asarray(PLACES))["params"][
        "frequencies"
    ]
    assert leaf.shape == (5, 4096, 2) and leaf.dtype == jnp.float32
    flat = np.asarray(leaf).reshape(5, -1)
    np.testing.assert_allclose(flat.std(axis=1), 16.0, rtol=0.05)
    assert np.abs(np.corrcoef(flat) - np.eye(5)).max() < 0.05


def test_sphere_is_continuous_at_the_date_line_and_the_poles_where_the_plane_is_cut():
    east, west = [[45.0, 180.0]], [[45.0, -180.0]]
    pole = [[90.0, 0.0]], [[90.0, 137.0]]
    for a, b in ((east, west), pole):
        a, b = jnp.asarray(a), jnp.asarray(b)
        gap = jnp.abs(fourier.unit_sphere(a) - fourier.unit_sphere(b)).max()
        assert float(gap) < 2e-7
        plane = fourier.project_equal_earth(a) - fourier.project_equal_earth(b)
        assert float(jnp.abs(plane).max()) > 0.1
    module, variables = encoder(projection="sphere", sigmas=(1.0, 16.0, 256.0))
    assert variables["params"]["frequencies"].shape == (3, 8, 3)
    got = [jax.jit(module.apply)(variables, jnp.asarray(p)) for p in (east, west)]
    np.testing.assert_allclose(*got, atol=1e-3)


@pytest.mark.parametrize("projection", ["equal_earth", "sphere"])
def test_both_projections_lose_half_of_the_kernel_at_the_same_distance(projection):
    # sigma 16: 202 km. On the equator's middle the plane's scale is not isotropic, so
    # the mean over directions is compared with the equal-area mean.
    km = np.pi * 6371.0088 / 180
    ring = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    centre = np.array([[38.0, 10.0]])
    step = 202.0 / km * np.stack([np.sin(ring), np.cos(ring)], 1)
    step[:, 1] /= np.cos(np.radians(38.0))
    places = jnp.asarray(np.concatenate([centre, centre + step]), jnp.float32)
    module = fourier.FourierTokens((16.0,), 20_000, projection)
    variables = jax.jit(module.init)(jax.random.key(0), places)
    tokens = np.asarray(module.apply(variables, places))[:, 0]
    kernel = tokens[1:] @ tokens[0] / 20_000
    assert abs(kernel.mean() - 0.5) < 0.03


def test_phases_are_exact_under_jit_at_the_finest_scale():
    rng = np.random.default_rng(0)
    xy = rng.uniform(-1, 1, (64, 2)).astype(np.float32)
    frequencies = (16384 * rng.normal(size=(1, 32, 2))).astype(np.float32)
    turns = np.einsum("bi,kfi->bkf", xy.astype(np.float64), frequencies)
    expected = np.concatenate(
        [np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], -1
    )
    got = jax.jit(fourier.fourier_tokens)(jnp.asarray(xy), jnp.asarray(frequencies))
    # One float32 rounding of 6e4 turns is 4e-3 turns: 2.5e-2 in a token.
    np.testing.assert_allclose(got, expected, atol=4e-2)


@pytest.mark.parametrize("projection", ["equal_earth", "sphere"])
def test_float32_features_of_a_thousand_turns_are_those_of_float64(projection):
    rng = np.random.default_rng(0)
    latlon = rng.uniform([-90, -180], [90, 180], (500, 2)).astype(np.float32)
    latlon[:4] = [[90, 7], [-90, -180], [0, 180], [51.5, -180]]
    upper, lower = jax.jit(fourier.split_points, static_argnums=1)(latlon, projection)
    whole = {"sphere": fourier.unit_sphere, "equal_earth": fourier.project_equal_earth}
    with jax.enable_x64(True):
        wanted = np.asarray(whole[projection](jnp.asarray(latlon, jnp.float64)))
    both = np.asarray(upper, np.float64) + np.asarray(lower, np.float64)
    assert np.abs(both - wanted).max() < 2e-9
    frequencies = rng.normal(0, 400, (1, 64, wanted.shape[1])).astype(np.float32)
    turns = np.einsum("bi,kfi->bkf", wanted, frequencies.astype(np.float64))
    tokens = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], -1)
    got = jax.jit(fourier.fourier_tokens)(upper, frequencies, rest_bi=lower)
    np.testing.assert_allclose(got, tokens, atol=2e-5)


def test_scan_gives_the_same_embedding():
    module, variables = encoder()
    scan = fourier.LatLonEncoder(depth=2, registers=2, scan=True, **SMALL)
    got = jax.jit(scan.apply)(layers.stack_blocks(variables), jnp.asarray(PLACES))
    np.testing.assert_allclose(got, jax.jit(module.apply)(variables, PLACES), atol=1e-5)


def test_an_unknown_projection_is_an_error():
    with pytest.raises(ValueError, match="'mercator', allowed: equal_earth, sphere"):
        encoder(projection="mercator")
    with pytest.raises(ValueError, match="'max', allowed: mean, concat"):
        encoder(pool="max")


def test_sines_by_a_series_are_those_of_the_library():
    turns = np.concatenate([np.linspace(-3, 3, 20_001), [1e4 + 0.125, -777.75]])
    got = jax.jit(fourier.sine_of_turns)(jnp.asarray(turns, jnp.float32))
    wanted = np.sin(2 * np.pi * turns.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(got, wanted, atol=4e-7)


def test_fast_tokens_are_the_tokens():
    points = jnp.asarray(PLACES / 100)
    frequencies_kfi = jax.random.normal(jax.random.key(0), (3, 8, 2)) * 100
    np.testing.assert_allclose(
        fourier.fourier_tokens(points, frequencies_kfi, fast=True),
        fourier.fourier_tokens(points, frequencies_kfi),
        atol=1e-6,
    )
