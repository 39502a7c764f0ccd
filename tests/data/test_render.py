# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The rendered street view, on worlds whose picture is known beforehand."""

import dataclasses

import numpy as np
import pytest

from unigeo_jax.data.datasets import earth_render

ROWS, COLUMNS = 360, 720  # half a degree a pixel
CAMERA = dataclasses.replace(earth_render.Camera(), near_km=40.0, far_km=700.0)
GREEN = (90, 160, 60)
NONE = np.zeros((1, 2), int)


def world(lats, hills=(), water=False):
    """A flat green world, or sea, with hills at given (lat, lon, metres)."""
    height_m = np.zeros((ROWS, COLUMNS), np.int16)
    for lat, lon, metres in hills:
        row, col = int((90 - lat) * 2), int((lon + 180) * 2) % COLUMNS
        height_m[row - 1 : row + 1, [col - 1, col]] = metres
    colour = np.full((ROWS, COLUMNS, 3), GREEN, np.uint8)
    wet = np.full((ROWS, COLUMNS), water) & (height_m == 0)
    return earth_render.Scene(height_m, colour, wet, lats, CAMERA)


def skyline(picture):
    """Rows from the top down to the first one that is not sky, for each column."""
    blank = world([0.25], water=True).render([0.25], [0.25], NONE, [0])[0]
    sky = (picture == blank[:, :1]).all(-1)[: CAMERA.rows // 2]
    return sky.cumprod(0).sum(0)


@pytest.mark.parametrize(
    ("north", "east", "azimuth"),
    [(3, 0, 0), (0, 3, 90), (-3, 0, 180), (0, -3, -90), (2.2, 2.2, 45)],
)
@pytest.mark.parametrize(
    ("lat", "lon"), [(0.25, 20.25), (-30.25, 179.75), (60.25, -179.75)]
)
def test_a_mountain_is_seen_in_its_direction(lat, lon, north, east, azimuth):
    east = east / np.cos(np.deg2rad(lat))
    scene = world([lat], [(lat + north, lon + east, 6000)])
    top = skyline(scene.render([lat], [lon], NONE, [0])[0])
    seen = np.exp(1j * np.deg2rad(CAMERA.azimuth_deg()[top < top.max()]))
    assert 0 < len(seen) < 30
    turn = np.angle(seen.mean() * np.exp(-1j * np.deg2rad(azimuth)), deg=True)
    assert abs(turn) < 8


def test_a_flat_sea_has_a_level_horizon_and_looks_like_water():
    picture = world([10.25], water=True).render([10.25], [5.25], NONE, [0])[0]
    assert (picture == picture[:, :1]).all()
    upper, lower = picture[: CAMERA.rows // 2, 0], picture[CAMERA.rows // 2 :, 0]
    assert (np.diff(upper.astype(int).sum(1)) > 0).all()  # sky pales to the horizon
    near = lower[-1].astype(int)
    assert near[2] > near[1] > near[0]
    assert np.abs(near - earth_render.WATER).max() < 0.45 * 255


def test_land_keeps_the_colour_of_the_image_and_fades_with_distance():
    picture = world([10.25]).render([10.25], [5.25], NONE, [0])[0].astype(int)
    lower = picture[CAMERA.rows // 2 :]
    assert (lower[..., 1] > lower[..., 2]).all()
    to_haze = np.abs(lower - earth_render.HAZE).sum((1, 2))
    assert to_haze[-1] > to_haze[0]


def test_a_near_hill_hides_a_far_higher_one_behind_it():
    lat, lon = 0.25, 0.25
    both = world([lat], [(lat + 1.5, lon, 6000), (lat + 4, lon, 7000)])
    near = world([lat], [(lat + 1.5, lon, 6000)])
    columns = skyline(near.render([lat], [lon], NONE, [0])[0])
    hidden = columns == columns.min()
    a, b = (s.render([lat], [lon], NONE, [0])[0][:, hidden] for s in (both, near))
    np.testing.assert_array_equal(a, b)


def test_a_view_does_not_depend_on_the_others_of_its_chunk():
    rng = np.random.default_rng(0)
    hills = [(rng.uniform(-5, 5), rng.uniform(-5, 5), 4000) for _ in range(12)]
    lat_i, lon_i = np.array([-2.25, 0.25, 3.25]), np.array([1.25, -4.25, 0.25])
    scene = world(lat_i, hills)
    jitter_i2, heading_i = np.array([[0, 0], [1, -1], [-1, 1]]), np.array([0, 1, -1])
    together = scene.render(lat_i, lon_i, jitter_i2, heading_i)
    for i in range(3):
        row = slice(i, i + 1)
        alone = scene.render(lat_i[row], lon_i[row], jitter_i2[row], heading_i[row])
        np.testing.assert_array_equal(alone[0], together[i])


def test_a_heading_turns_the_picture_and_a_shift_moves_the_eye():
    hills = [(2.25, 1.25, 4000), (-1.75, 2.25, 3000)]
    scene = world([0.25, 0.75], hills)
    straight = scene.render([0.25], [0.25], NONE, [0])[0]
    turned = scene.render([0.25], [0.25], NONE, [5])[0]
    np.testing.assert_array_equal(turned, np.roll(straight, 5, axis=1))
    moved = scene.render([0.25], [0.25], np.array([[0, 1]]), [0])
    there = scene.render([0.25], [0.75], NONE, [0])
    np.testing.assert_array_equal(moved, there)
    assert (moved[0] != straight).any()


def test_jitters_stay_within_the_camera_s_bounds_and_leave_the_first_view_alone():
    seed_i = np.random.default_rng(0).integers(0, 2**63, 500)
    shift, heading = earth_render.jitters(seed_i, CAMERA)
    assert not shift[:, 0].any() and not heading[:, 0].any()
    assert set(np.unique(shift[:, 1:])) == {-1, 0, 1}
    assert set(np.unique(heading[:, 1:])) == {-1, 0, 1}
    again, _ = earth_render.jitters(seed_i[:3], CAMERA)
    np.testing.assert_array_equal(again, shift[:3])
