# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The rendered street view: rays cast over real heights, coloured by the real image.

No package holds photographs taken on streets, so this modality is computed and is
always called 'rendered'. It holds nothing that the aerial image and the heights of
the surroundings do not hold already.

Letters: `i` views, `a` azimuths, `k` steps along a ray, `r` rows of the picture.
"""

import dataclasses

import numpy as np

from unigeo_jax.data import splits

SKY_LOW, SKY_HIGH = (205, 221, 235), (86, 140, 208)
WATER, HAZE = (38, 92, 158), (198, 214, 228)


@dataclasses.dataclass(frozen=True)
class Camera:
    """How the view is taken. Distances in km, heights in m, angles in degrees.

    Rays are straight over a flat Earth: without curvature, the exaggerated relief of
    the whole radius stays in view. Rows are spaced evenly in the tangent of the angle.
    """

    azimuths: int = 96  # columns; north is in the centre, east to its right
    rows: int = 16
    steps: int = 50  # geometric from `near_km` to `far_km`
    near_km: float = 3.5
    far_km: float = 150.0
    exaggeration: float = 15.0  # of all heights, the eye's too
    field_deg: float = 45.0  # above and below the horizon
    eye_m: float = 600.0  # above ground
    haze_km: float = 90.0
    views: int = 3
    jitter_px: int = 1  # eye: whole pixels of the height map, each way
    jitter_columns: int = 1  # heading: whole columns, each way
    gamma: float = 0.75  # lifts the dark colours of the image
    sun_azimuth_deg: float = 135.0
    sun_height_deg: float = 45.0

    def distances(self) -> np.ndarray:
        """Distance of each step in km: (k,)."""
        return np.geomspace(self.near_km, self.far_km, self.steps)

    def azimuth_deg(self) -> np.ndarray:
        """Azimuth of each column, clockwise from north: (a,), -180 ... 180."""
        return (np.arange(self.azimuths) + 0.5) / self.azimuths * 360.0 - 180.0


def shade(height_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Lambert shading of a height map (row 0 north, plate carree), 0.35 ... 1.3."""
    rows, columns = height_m.shape
    lat = np.deg2rad(90.0 - (np.arange(rows) + 0.5) * 180.0 / rows)
    pixel_m = 2 * np.pi * splits.EARTH_RADIUS_KM * 1000 / columns
    scale = np.float32(camera.exaggeration / (2 * pixel_m))
    south = np.empty_like(height_m, np.float32)
    south[1:-1] = height_m[2:] - height_m[:-2]
    south[0] = south[-1] = 0
    east = (np.roll(height_m, -1, 1) - np.roll(height_m, 1, 1)).astype(np.float32)
    east *= scale / np.maximum(np.cos(lat), 0.1)[:, None].astype(np.float32)
    south *= scale
    sun_height = np.deg2rad(camera.sun_height_deg)
    sun_azimuth = np.deg2rad(camera.sun_azimuth_deg)
    to_east = np.float32(np.cos(sun_height) * np.sin(sun_azimuth))
    to_south = np.float32(-np.cos(sun_height) * np.cos(sun_azimuth))
    light = np.float32(np.sin(sun_height)) - to_east * east - to_south * south
    light /= np.sqrt(1 + east * east + south * south)
    return np.clip(light / np.float32(np.sin(sun_height)), 0.35, 1.3)


class Scene:
    """A world of heights and colours to cast rays over.

    Args:
      height_m: int16 (rows, columns), the whole Earth, row 0 north, 2 columns a row.
      colour: uint8 (rows, columns, 3) on the same grid.
      water: bool (rows, columns): painted as water instead of its colour.
      lats: latitudes of the places to come; rays are worked out once for each.
    """

    def __init__(self, height_m, colour, water, lats, camera: Camera) -> None:
        self.camera, self.lats = camera, np.unique(np.asarray(lats, np.float64))
        rows, columns = height_m.shape
        offset_lka = self._offsets(rows, columns)
        reach = int(np.abs(offset_lka[1]).max()) + camera.jitter_px + 1
        up = int(np.abs(offset_lka[0]).max()) + camera.jitter_px + 1
        self._up, self._reach, self._shape = up, reach, (rows, columns)
        self._width = columns + 2 * reach
        offset = offset_lka[0] * self._width + offset_lka[1]
        self._offset = offset.astype(np.int32).reshape(len(self.lats), -1)

        blurred = np.maximum(height_m, 0).astype(np.float32)
        blurred = (blurred + np.roll(blurred, 1, 1)) / 2  # means of 2 x 2 pixels:
        blurred[1:] = (blurred[1:] + blurred[:-1]) / 2  # softens steps of 28 m
        lifted = 255 * (np.arange(256) / 255) ** camera.gamma
        lit = lifted.astype(np.float32)[colour] * shade(blurred, camera)[..., None]
        lit[water] = WATER
        packed = np.zeros((rows, columns, 4), np.uint8)
        packed[..., :3] = np.clip(lit, 0, 255)
        self._colour = self._pad(packed.view(np.uint32)[..., 0])
        self._height = self._pad(np.where(water, 0, blurred).astype(np.int16))

    def _pad(self, image: np.ndarray) -> np.ndarray:
        """Repeat rows at the poles and wrap columns, so that no ray leaves the map."""
        image = np.pad(image, ((self._up, self._up), (0, 0)), mode="edge")
        pad = ((0, 0), (self._reach, self._reach))
        return np.pad(image, pad, mode="wrap").reshape(-1)

    def _offsets(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns from an eye to each step of its rays, int32 (lat, k, a)."""
        lat = np.deg2rad(self.lats)[:, None, None]
        far = (self.camera.distances() / splits.EARTH_RADIUS_KM)[None, :, None]
        azimuth = np.deg2rad(self.camera.azimuth_deg())[None, None, :]
        sin_lat = np.sin(lat) * np.cos(far) + np.cos(lat) * np.sin(far) * np.cos(
            azimuth
        )
        turn = np.arctan2(
            np.sin(azimuth) * np.sin(far) * np.cos(lat),
            np.cos(far) - np.sin(lat) * sin_lat,
        )
        north = (np.arcsin(np.clip(sin_lat, -1, 1)) - lat) * (rows / np.pi)
        east = turn * (columns / (2 * np.pi))
        return -np.rint(north).astype(np.int32), np.rint(east).astype(np.int32)

    def _starts(self, lat_i, lon_i, jitter_i2) -> np.ndarray:
        rows, columns = self._shape
        row_i = np.floor((90.0 - np.asarray(lat_i)) / 180.0 * rows).astype(np.int64)
        col_i = np.floor(splits.wrap_lon(lon_i) / 360.0 * columns + columns / 2)
        col_i = col_i.astype(np.int64) % columns
        row_i, col_i = row_i + jitter_i2[:, 0], col_i + jitter_i2[:, 1]
        row_i = np.clip(row_i, 0, rows - 1)
        return ((row_i + self._up) * self._width + col_i + self._reach).astype(np.int32)

    def _first_hits(self, start_i, ray_i) -> np.ndarray:
        """First step that fills each row from the bottom up: uint8 (r, i, a).

        A row is filled where the highest angle so far along the ray reaches its
        centre; `steps` means that nothing does: sky.
        """
        camera = self.camera
        half = np.float32(camera.rows / 2)
        gain_k = camera.exaggeration / (camera.distances() * 1000)
        gain_k = (gain_k / np.tan(np.deg2rad(camera.field_deg))).astype(
            np.float32
        ) * half
        eye_i = self._height[start_i] + np.float32(camera.eye_m)
        shape = (len(start_i), camera.azimuths)
        level, highest = np.empty(shape, np.int8), np.full(shape, -1, np.int8)
        hit = np.zeros((camera.rows, *shape), np.uint8)
        rise, below = np.empty(shape, np.float32), np.empty(shape, bool)
        offset_lka = self._offset.reshape(len(self.lats), camera.steps, camera.azimuths)
        for step in range(camera.steps):
            at = start_i[:, None] + offset_lka[ray_i, step]
            np.subtract(self._height[at], eye_i[:, None], out=rise)
            rise *= gain_k[step]
            rise += half + np.float32(0.5)
            np.clip(rise, 0, camera.rows, out=rise)
            np.copyto(level, rise, casting="unsafe")
            np.maximum(highest, level, out=highest)
            for row in range(camera.rows):
                np.less_equal(highest, np.int8(row), out=below)
                np.add(hit[row], below.view(np.uint8), out=hit[row])
        return hit

    def render(self, lat_i, lon_i, jitter_i2, heading_i) -> np.ndarray:
        """Take one view a place: uint8 (i, rows, azimuths, 3).

        Args:
          lat_i, lon_i: degrees; every latitude must be among `lats`.
          jitter_i2: int (i, 2), rows (south) and columns (east) the eye is moved.
          heading_i: int (i,), columns the picture is turned to the right.
        """
        camera = self.camera
        ray_i = np.searchsorted(self.lats, np.asarray(lat_i, np.float64))
        start_i = self._starts(lat_i, lon_i, np.asarray(jitter_i2))
        hit = self._first_hits(start_i, ray_i)
        hit_ira = hit.transpose(1, 0, 2)[:, ::-1]
        sky_ira = hit_ira == camera.steps
        step_ira = np.minimum(hit_ira, camera.steps - 1).astype(np.int32)
        ray = ray_i[:, None, None] * self._offset.shape[1]
        ray = ray + step_ira * camera.azimuths + np.arange(camera.azimuths)
        seen = self._colour[start_i[:, None, None] + self._offset.reshape(-1)[ray]]
        rgb = seen.view(np.uint8).reshape(*seen.shape, 4)[..., :3].astype(np.uint16)
        clear_k = np.exp(-camera.distances() / camera.haze_km) * 256
        clear = clear_k.astype(np.uint16)[step_ira][..., None]
        rgb = (rgb * clear + np.array(HAZE, np.uint16) * (256 - clear)) >> 8
        height_r = np.linspace(1, 0, camera.rows // 2).clip(0, 1)
        height_r = np.concatenate([height_r, np.zeros(camera.rows - len(height_r))])
        sky = np.outer(height_r, SKY_HIGH) + np.outer(1 - height_r, SKY_LOW)
        sky_r1c = sky.astype(np.uint16)[:, None]
        pictures = np.where(sky_ira[..., None], sky_r1c, rgb).astype(np.uint8)
        column_ia = (np.arange(camera.azimuths) - np.asarray(heading_i)[:, None]) % (
            camera.azimuths
        )
        return np.take_along_axis(pictures, column_ia[:, None, :, None], axis=2)


def jitters(seed_i, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Draw the eye shifts (i, views, 2) and headings (i, views) of each place.

    `seed_i` are 64-bit hashes of the places. The first view of each is not moved.
    """
    seed_i = np.asarray(seed_i, np.uint64)
    draws = np.empty((len(seed_i), camera.views, 3), np.int64)
    spans = np.array([camera.jitter_px] * 2 + [camera.jitter_columns])
    for view in range(camera.views):
        for axis, span in enumerate(spans):
            shift = np.uint64(8 * (view * 3 + axis) % 56)
            byte_i = ((seed_i >> shift) & np.uint64(255)).astype(np.int64)
            draws[:, view, axis] = byte_i * (2 * span + 1) // 256 - span
    draws[:, 0] = 0
    return draws[..., :2], draws[..., 2]
