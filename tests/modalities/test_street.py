# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Street views: a set whose order and padding do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigeo_jax.modalities import street

TOWER = {"patch": (16, 8), "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2}


def stack(views=3):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (views * 16, 96, 3)).astype(np.uint8)


def test_evaluation_takes_the_first_views_in_order():
    got = street.read({"street": stack()}, None, views=2)
    np.testing.assert_array_equal(got["image"], stack()[:32].reshape(2, 16, 96, 3))
    np.testing.assert_array_equal(got["mask"], [True, True])
    got = street.read({"street": stack()}, None, views=5)
    np.testing.assert_array_equal(got["mask"], [True, True, True, False, False])
    assert not got["image"][3:].any()


def test_training_keeps_a_uniform_number_of_views_and_each_view_equally_often():
    native = stack().reshape(3, 16, 96, 3)
    numbers, seen = np.zeros(4), np.zeros(3)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        got = street.read({"street": stack()}, rng, views=3, jitter=0)
        kept = got["image"][got["mask"]]
        assert not got["image"][~got["mask"]].any()
        found = [int(np.flatnonzero((native == v).all((1, 2, 3)))[0]) for v in kept]
        assert len(set(found)) == len(found)
        numbers[len(found)] += 1
        seen[found] += 1
    assert numbers[0] == 0 and (np.abs(numbers[1:] - 200) < 50).all()
    assert (np.abs(seen - 400) < 60).all()


def test_all_views_of_a_place_get_the_same_colour_jitter():
    grey = {"street": np.full((48, 96, 3), 127, np.uint8)}
    for seed in range(20):
        got = street.read(grey, np.random.default_rng(seed), views=3, jitter=0.2)
        levels = got["image"][got["mask"]].reshape(-1, 3)
        assert (levels == levels[0]).all()


def test_resizing_happens_only_where_sizes_differ():
    got = street.read({"street": stack()}, None, views=1, height=32, width=192)
    assert got["image"].shape == (1, 32, 192, 3)
    assert (
        got["image"].shape == street.spec(views=1, height=32, width=192)["image"].shape
    )


def test_a_place_without_views_is_absent_and_a_broken_stack_is_an_error():
    assert street.read({}, None) is None
    with pytest.raises(ValueError, match=r"40 rows .* views of 16 rows .place 7"):
        street.read({"street": stack()[:40], "place": 7}, None)


@pytest.fixture
def encoder_and_x(draw):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 4, 16, 24, 3)).astype(np.uint8)
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    x = {"image": jnp.asarray(image), "mask": jnp.asarray(mask)}
    encoder = street.Encoder(dim=16, **TOWER)
    return encoder, draw(encoder, x), x


def test_the_pool_is_the_masked_mean_of_unit_vectors(encoder_and_x):
    encoder, variables, x = encoder_and_x
    apply = jax.jit(encoder.apply)
    got = np.asarray(apply(variables, x))
    for row, mask in enumerate(np.asarray(x["mask"])):
        expected = np.zeros(16)
        for view in np.flatnonzero(mask):
            image = x["image"][row, view][None, None]
            alone = apply(variables, {"image": image, "mask": jnp.ones((1, 1), bool)})[
                0
            ]
            np.testing.assert_allclose(jnp.linalg.norm(alone), 1, atol=1e-5)
            expected += np.asarray(alone) / mask.sum()
        np.testing.assert_allclose(got[row], expected, atol=1e-5)


def test_order_of_views_and_what_empty_slots_hold_do_not_matter(encoder_and_x):
    encoder, variables, x = encoder_and_x
    apply = jax.jit(encoder.apply)
    expected = apply(variables, x)
    order = np.array([2, 0, 3, 1])
    turned = {name: value[:, order] for name, value in x.items()}
    np.testing.assert_allclose(apply(variables, turned), expected, atol=1e-5)
    mask = np.asarray(x["mask"])[..., None, None, None]
    noisy = {**x, "image": jnp.asarray(np.where(mask, x["image"], 99).astype(np.uint8))}
    np.testing.assert_array_equal(apply(variables, noisy), expected)


def test_empty_slots_give_no_gradient_even_if_they_hold_nan():
    y = jnp.asarray([[[1.0, 2.0], [jnp.nan, jnp.nan]]])
    mask = jnp.asarray([[True, False]])
    grad = jax.grad(lambda y: street.pool_views(y, mask).sum())(jnp.nan_to_num(y))
    assert not grad[0, 1].any() and grad[0, 0].any()
    np.testing.assert_allclose(
        street.pool_views(y, mask), np.array([[1, 2]]) / 5**0.5, atol=1e-6
    )
