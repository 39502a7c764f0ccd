# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""NaFlex: pictures of any aspect as patch slots, in the reading and in the towers."""

import jax
import numpy as np
import pytest

from unigeo_jax.data import patches
from unigeo_jax.modalities import aerial, street

NET = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 2, "positions": 4}


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def slots_of(images, slots=24, patch=4):
    read = [patches.cut(image, patch, slots) for image in images]
    return {key: np.stack([r[key] for r in read]) for key in ("patches", "grid")}


@pytest.mark.parametrize(
    ("height", "width", "slots", "expected"),
    [
        (256, 256, 256, (16, 16)),
        (100, 400, 256, (8, 32)),
        (16, 96, 256, (6, 36)),
        (480, 640, 256, (14, 18)),
        (1, 5000, 64, (1, 64)),
    ],
)
def test_a_picture_fills_the_slots_at_its_aspect(height, width, slots, expected):
    rows, columns = patches.grid(height, width, 16, slots)
    assert (rows, columns) == expected and rows * columns <= slots
    assert patches.grid(width, height, 16, slots) == (columns, rows)


def test_patches_go_row_by_row_and_hold_row_column_channel():
    image = picture(8, 12)
    got = patches.cut(image, 4, 10)
    np.testing.assert_array_equal(got["grid"], [2, 3])
    second_row_first = got["patches"][3].reshape(4, 4, 3)
    np.testing.assert_array_equal(second_row_first, image[4:8, :4])
    assert not got["patches"][6:].any()


def test_aerial_keeps_its_aspect_and_the_margin_out():
    record = {"aerial": picture(36, 68)}
    got = aerial.read(record, None, shift=2, naflex=32, patch=4)
    spec = aerial.spec(naflex=32, patch=4)
    assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in spec.items()}
    np.testing.assert_array_equal(got["grid"], [4, 8])
    one = aerial.resize(record["aerial"][2:-2, 2:-2], 16, 32)
    np.testing.assert_array_equal(got["patches"], patches.cut(one, 4, 32)["patches"])
    grids = {
        tuple(
            aerial.read(
                record, np.random.default_rng(s), naflex=32, patch=4, symmetry=True
            )["grid"]
        )
        for s in range(20)
    }
    assert grids == {(4, 8), (8, 4)}  # a turned picture is an upright one
    assert aerial.read({}, None, naflex=32) is None


def test_street_views_fill_their_slots_and_leave_the_rest_empty():
    stack = picture(48, 96)
    got = street.read({"street": stack}, None, views=4, naflex=24, patch=8)
    assert got["patches"].shape == (4, 24, 192) and got["mask"].tolist() == [
        *(True, True, True),
        False,
    ]
    np.testing.assert_array_equal(got["grid"], [[2, 12]] * 3 + [[0, 0]])
    expected = patches.cut(stack[16:32], 8, 24)["patches"]
    np.testing.assert_array_equal(got["patches"][1], expected)
    assert not got["patches"][3].any()


@pytest.mark.parametrize(("pool", "registers"), [("map", 0), ("mean", 2), ("cls", 1)])
def test_a_picture_among_others_is_encoded_as_alone_whatever_fills_its_slots(
    draw, pool, registers
):
    encoder = aerial.Encoder(pool=pool, registers=registers, **NET)
    x = slots_of([picture(8, 40), picture(16, 24, 1), picture(4, 4, 2)])
    variables = draw(encoder, x)
    apply = jax.jit(encoder.apply)
    together = apply(variables, x)
    x["patches"][0, 20:] = 255
    x["patches"][2, 1:] = 77
    np.testing.assert_array_equal(apply(variables, x), together)
    alone = apply(variables, slots_of([picture(8, 40)], slots=20))
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_the_grid_of_a_fixed_tower_gives_what_the_fixed_tower_gives(draw):
    images = np.stack([picture(16, 16), picture(16, 16, 1)])
    net = {key: value for key, value in NET.items() if key != "positions"}
    fixed, flexible = aerial.Encoder(**net), aerial.Encoder(**NET)
    variables = draw(fixed, images)
    params = dict(variables["params"])
    kernel = params["embedding"]["kernel"]
    params["embedding"] = params["embedding"] | {"kernel": kernel.reshape(48, 16)}
    params["pos_embedding"] = params["pos_embedding"].reshape(4, 4, 16)
    out = jax.jit(flexible.apply)({"params": params}, slots_of(images))
    np.testing.assert_allclose(out, jax.jit(fixed.apply)(variables, images), atol=1e-5)


def test_a_street_view_that_is_not_there_has_no_influence_and_no_gradient(draw):
    encoder = street.Encoder(**NET)
    x = slots_of([picture(8, 40), picture(16, 24, 1)])
    x = {key: value[None] for key, value in x.items()} | {"mask": [[True, False]]}
    x["mask"] = np.array(x["mask"])
    x["grid"][0, 1] = 0
    variables = draw(encoder, x)
    loss = jax.jit(jax.value_and_grad(lambda v, x: encoder.apply(v, x).sum()))
    value, grads = loss(variables, x)
    x["patches"][0, 1] = 200
    other, other_grads = loss(variables, x)
    assert value == other and np.isfinite(value)
    jax.tree.map(np.testing.assert_array_equal, grads, other_grads)
