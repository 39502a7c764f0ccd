# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of coordinates that comes with the package.

GeoCLIP's location encoder is distilled in two: what varies slowly becomes a map, in
principal components, a byte each; the rest, whose waves are shorter than a map of the
Earth can hold, a small network over hash grids, which keep what there is where people
live. Maps of what is seen from above (imagery, night lights, vegetation, land cover)
stand beside, and spherical harmonics. A vector is a fixed rotation of these parts, each
scaled to a variance of its own (modalities/atlas.py).

Why rotated: a probe standardises every number, which would raise the least component to
the height of the first. After a rotation all numbers vary alike, so standardising
leaves the lengths, by which a penalty tells what is likely, as they were set here.

No label goes in: the bundle's rasters and tables of heights, weather, people and texts
are not read. Of its tables only positions are, of named places, ZIP areas and land, to
draw the points over which components are found. Letters: `n` points or pixels, `c`
channels, `t` pixels of tiles, `r` rows of tiles.
"""

import math
import pathlib
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import scipy.ndimage

from unigeo_jax import distill, trained, workdir
from unigeo_jax.data import splits
from unigeo_jax.data.datasets import earth_crops, us_zips
from unigeo_jax.modalities import atlas

STEPS_A_DEVIATION = 32  # of a byte: four standard deviations fit
WATER = 0  # land cover
CHUNK = 8192  # pixels of a map at a time


class Teacher(Protocol):
    """GeoCLIP's location encoder: evals/peers.py says what it gives."""

    def embed(self, lat: Any, lon: Any, capsules: tuple[int, ...]) -> np.ndarray: ...


class Plan(NamedTuple):
    """One map: what it is of, and how fine.

    capsules: of GeoCLIP, or () for what is seen from above, standardised. degrees: a
    pixel. blur: standard deviation of a Gaussian in degrees, of what is seen. channels:
    principal components that are kept. weight: deviation of what is seen.
    """

    degrees: float
    channels: int
    capsules: tuple[int, ...]
    blur: float
    weight: float


class Level(NamedTuple):
    """A map as modalities/atlas.py keeps it, and what one step of each channel is."""

    tiles_tc: np.ndarray
    index_rc: np.ndarray
    step_c: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        kept = len(self.tiles_tc) // atlas.TILE**2
        return (*self.index_rc.shape, kept, len(self.step_c))


def run(out: pathlib.Path, config: Any, teacher: Teacher) -> None:
    """Makes the workdir `out`, for launch/evaluate.py and launch/export.py.

    The fine network is trained in `out`/fine, where the same command resumes. The
    places that are kept are those over which components are found. Raises ValueError:
    an `out` of another config, a map that tiles do not cover.
    """
    at_n2 = draw_points(config.points, config.seed)
    fine = fit_fine(out / "fine", config, teacher)
    plans = [Plan(**plan) for plan in config.levels]
    levels = [build_level(plan, at_n2, teacher) for plan in plans]
    params = assemble(fine, plans, levels, at_n2, config)
    with config.unlocked():
        config.towers.coords.net.maps = tuple(level.shape for level in levels)
        config.towers.coords.net.turns = factors(len(params["bias"]))
        config.towers.coords.net.fine_channels = config.fine.channels
        config.dim = len(params["bias"])
    trained.write(out, config, params, config.steps)
    np.savez(out / trained.PLACES, lat=at_n2[:, 0], lon=at_n2[:, 1])
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    workdir.say(f"in {out}: config.json checkpoints/; {count:,} numbers")


def draw_points(count: int, seed: int) -> np.ndarray:
    """Two thirds near named places and US ZIP areas, 1 to 50 km off, a third on land.

    Returns float32 (n, 2) [lat, lon] in degrees.
    """
    rng = np.random.default_rng((seed, 2))
    places, zips = earth_crops.table("places.npz"), us_zips.zips()
    land = earth_crops.table("anchors.npz")
    lived = [np.concatenate([places[k], zips[k]]) for k in ("lat", "lon")]
    at = rng.integers(len(lived[0]), size=count * 2 // 3)
    on = rng.integers(len(land["lat"]), size=count - len(at))
    lat, lon = (
        np.concatenate([there[at], land[key][on]]).astype(float)
        for there, key in zip(lived, ("lat", "lon"), strict=True)
    )
    km = np.exp(rng.uniform(0.0, np.log(50.0), count))
    angle = rng.uniform(0, 2 * np.pi, count)
    degrees = np.rad2deg(km / splits.EARTH_RADIUS_KM)
    lat = np.clip(lat + degrees * np.cos(angle), -90, 90)
    narrow = np.maximum(np.cos(np.deg2rad(lat)), 1e-3)
    lon = splits.wrap_lon(lon + degrees * np.sin(angle) / narrow)
    return np.stack([lat, lon], 1).astype(np.float32)


def fit_fine(folder: pathlib.Path, config: Any, teacher: Teacher) -> Any:
    """Trains the network for GeoCLIP's finest capsule; returns its parameters.

    Its targets are principal components, weighed by their variance. One point in a
    hundred is only measured.
    """
    fine, net = config.fine, config.towers.coords.net
    at_n2 = draw_points(fine.points, config.seed + 1)

    def taught(rows: slice) -> np.ndarray:
        return teacher.embed(at_n2[rows, 0], at_n2[rows, 1], (fine.capsule,))

    axis_cc, spread_c = principal(taught(slice(config.points)), fine.channels)
    target_nc = np.empty((len(at_n2), fine.channels), np.float32)
    for begin in range(0, len(at_n2), CHUNK):
        rows = slice(begin, begin + CHUNK)
        target_nc[rows] = taught(rows) @ axis_cc
    held_n = np.arange(len(at_n2)) % 100 == 0
    drawn_n = np.zeros(len(at_n2), bool)
    lesson = distill.Lesson(at_n2[:, 0], at_n2[:, 1], target_nc, held_n, drawn_n)
    alone = config.copy_and_resolve_references()
    with alone.unlocked():
        alone.name, alone.dim = f"{config.name}-fine", fine.channels
        alone.towers.coords.module = "student"
        alone.towers.coords.net = {
            "grids": net.grids,
            "widths": tuple(net.widths),
            "output": "raw",
        }
    size = np.sqrt(np.square(spread_c).mean())
    start = {"target_scale": np.full(fine.channels, size, np.float32)}
    return distill.fit(folder, alone, lesson, start)["coords"]


def to_bytes(fine: Any, grids: int) -> dict[str, Any]:
    """A trained fine network as modalities/atlas.py keeps it.

    Entries of hash grids in steps of their channel's deviation, for which the first
    layer makes up.
    """
    found = {k: v for k, v in fine.items() if k.startswith("hidden")}
    steps = []
    for name in (f"grid_{number}" for number in range(grids)):
        table_ec = fine[name]["table"]
        steps.append(table_ec.std(0) / STEPS_A_DEVIATION)
        byte_ec = np.clip(np.rint(table_ec / steps[-1]), -127, 127).astype(np.int8)
        found[name] = {"table": byte_ec}
    first = found["hidden_0"]
    kernel_cw = first["kernel"] * np.concatenate(steps)[:, None]
    found["hidden_0"] = first | {"kernel": kernel_cw}
    return found | {
        "fine_head": {"kernel": fine["head"]["kernel"] * fine["target_scale"]}
    }


def build_level(plan: Plan, at_n2: np.ndarray, teacher: Teacher) -> Level:
    """One map: principal components over the points of what is planned."""
    index_rc, pixel_t2 = tiles(plan.degrees)
    if plan.capsules:
        capsules = tuple(plan.capsules)
        found_nc, scale_c = (
            teacher.embed(at_n2[:, 0], at_n2[:, 1], capsules),
            np.ones(1),
        )
    else:
        map_hwc = seen(plan.degrees, plan.blur)
        found_nc = map_hwc[earth_crops.pixel(*at_n2.T, *map_hwc.shape[:2])]
        scale_c = np.maximum(found_nc.std(0), 1e-6)
    mean_c = found_nc.mean(0)
    axis_cc, spread_c = principal((found_nc - mean_c) / scale_c, plan.channels)
    step_c = spread_c / STEPS_A_DEVIATION
    turn_cc = (axis_cc / np.broadcast_to(scale_c, mean_c.shape)[:, None]) / step_c
    parts = []
    for first in range(0, len(pixel_t2), CHUNK):
        lat_t, lon_t = pixel_t2[first : first + CHUNK].T
        if plan.capsules:
            value_tc = teacher.embed(lat_t, lon_t, capsules)
        else:
            value_tc = map_hwc[earth_crops.pixel(lat_t, lon_t, *map_hwc.shape[:2])]
        parts.append(np.clip(np.rint((value_tc - mean_c) @ turn_cc), -127, 127))
    tiles_tc = np.concatenate(parts).astype(np.int8)
    sea_t = open_sea(pixel_t2, plan.degrees)
    tiles_tc[sea_t] = 0  # the mean of the points
    return Level(tiles_tc, index_rc, step_c.astype(np.float32))


def tiles(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Which tiles hold land: numbers int32 (r, c), and the centres of pixels (t, 2).

    Tile 0 is the open sea, wherever there is no land. Raises ValueError: pixels of
    `degrees` do not fill tiles.
    """
    sides = [(atlas.NORTH - atlas.SOUTH) / degrees, 360 / degrees, 6 / degrees]
    if any(abs(x - round(x)) > 1e-9 for x in sides) or any(
        round(x) % atlas.TILE for x in sides[:2]
    ):
        raise ValueError(
            f"config.levels: degrees={degrees}; allowed: such as 0.125, 0.25, 0.5, 1, 3"
        )
    rows, columns = (round(x) // atlas.TILE for x in sides[:2])
    cover = earth_crops.raster("landcover.png")
    first, last = (
        round((90 - edge) / 180 * len(cover)) for edge in (atlas.NORTH, atlas.SOUTH)
    )
    land_rc = mean_over(cover[first:last] != WATER, rows, columns) > 1e-9
    index_rc = np.where(land_rc, np.cumsum(land_rc).reshape(land_rc.shape), 0)
    row_t, column_t = (np.append(0, x) for x in np.nonzero(land_rc))
    inside = np.arange(atlas.TILE)
    row, column = np.broadcast_arrays(
        row_t[:, None, None] * atlas.TILE + inside[:, None],
        column_t[:, None, None] * atlas.TILE + inside,
    )
    lat = atlas.NORTH - (row.ravel() + 0.5) * degrees
    lon = (column.ravel() + 0.5) * degrees - 180
    return index_rc.astype(np.int32), np.stack([lat, lon], 1)


def open_sea(pixel_t2: np.ndarray, degrees: float) -> np.ndarray:
    """Pixels of tile 0, and of the edges: all longitudes meet at a pole."""
    edge = atlas.NORTH - degrees, atlas.SOUTH + degrees
    sea_t = (pixel_t2[:, 0] > edge[0]) | (pixel_t2[:, 0] < edge[1])
    sea_t[: atlas.TILE**2] = True
    return sea_t


def seen(degrees: float, blur: float) -> np.ndarray:
    """What is seen from above, means over pixels: float32 (height, width, 24).

    Colours and their roughness (imagery), logarithm of night lights, greatest and least
    vegetation index, shares of 17 land covers.
    """
    height, width = round(180 / degrees), round(360 / degrees)
    image = earth_crops.raster("blue_marble.jpg").astype(np.float32) / 255
    grey = image.mean(-1)
    layers = [mean_over(image[..., c], height, width) for c in range(3)]
    variance = mean_over(grey**2, height, width) - mean_over(grey, height, width) ** 2
    layers.append(np.sqrt(np.maximum(variance, 0)))
    night = earth_crops.raster("black_marble.jpg")[..., 0].astype(np.float32)
    layers.append(mean_over(np.log1p(night), height, width))
    for name in ("ndvi_max.png", "ndvi_min.png"):
        layers.append(mean_over(earth_crops.raster(name) / 255.0, height, width))
    cover = earth_crops.raster("landcover.png")
    for kind in range(earth_crops.LAND_COVER_CLASSES):
        layers.append(mean_over(cover == kind, height, width))
    if blur:
        mode: Any = ("nearest", "wrap")
        layers = [
            scipy.ndimage.gaussian_filter(layer, blur / degrees, mode=mode)
            for layer in layers
        ]
    return np.stack(layers, -1).astype(np.float32)


def mean_over(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over the pixels of another raster, split pixels by their shares."""
    for axis, count in ((0, height), (1, width)):
        total = np.cumsum(image, axis, dtype=np.float64)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis)
        edge = np.linspace(0, image.shape[axis], count + 1)
        below = np.minimum(np.floor(edge).astype(int), image.shape[axis] - 1)
        part = (edge - below).reshape((-1, 1) if axis == 0 else (1, -1))
        at = total.take(below, axis) * (1 - part) + total.take(below + 1, axis) * part
        image = np.diff(at, axis=axis) * (count / image.shape[axis])
    return image.astype(np.float32)


def principal(x_nc: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes of greatest variance, (c, count), and the deviations along them."""
    x_nc = x_nc.astype(np.float64) - x_nc.mean(0)
    value_c, axis_cc = np.linalg.eigh(x_nc.T @ x_nc / len(x_nc))
    kept = slice(None, -count - 1, -1)
    return axis_cc[:, kept], np.sqrt(np.maximum(value_c[kept], 1e-12))


def assemble(
    fine: Any,
    plans: list[Plan],
    levels: list[Level],
    at_n2: np.ndarray,
    config: Any,
) -> dict[str, Any]:
    """The parameters of atlas.Encoder.

    The fine network's head gives principal components. What is known is scaled part by
    part (all of GeoCLIP is one part, the harmonics and each other map are one) to the
    variances config asks for, bytes by their steps too, and turned by one rotation.
    Numbers of the vector have mean 0 over the points.
    """
    net, fine = config.towers.coords.net, jax.tree.map(np.asarray, fine)
    params = {f"tiles_{i}": level.tiles_tc for i, level in enumerate(levels)}
    params |= {f"index_{i}": level.index_rc for i, level in enumerate(levels)}
    params |= to_bytes(fine, len(net.grids))
    sizes = [net.levels**2 - 1, config.fine.channels]
    sizes += [len(level.step_c) for level in levels]
    dim, around = sum(sizes), factors(sum(sizes))
    known = net.to_dict() | {"fine_channels": sizes[1], "turns": around}
    known["maps"] = tuple(level.shape for level in levels)
    module = atlas.Encoder(dim, **known)
    steps = [np.ones(sum(sizes[:2])), *(level.step_c for level in levels)]
    scale_d, still = np.concatenate(steps), [np.eye(n) for n in around]
    params |= {"scale": scale_d, "turn_0": still[0], "turn_1": still[1]}
    params["bias"] = np.zeros(dim)
    as_is_nd = np.asarray(jax.jit(module.apply)({"params": params}, at_n2), np.float64)
    weights = [config.weight, config.geoclip_weight]
    weights += [plan.weight for plan in plans]
    of_map = [1 if plan.capsules else 2 + i for i, plan in enumerate(plans)]
    part_d = np.repeat([0, 1, *of_map], sizes)
    variance_d = as_is_nd.var(0)
    size_d = np.ones(dim)
    for part in np.unique(part_d):
        mine = part_d == part
        size_d[mine] = weights[part] / np.sqrt(variance_d[mine].sum())
    size_d *= np.sqrt(dim)
    turns = [orthogonal(n, config.seed + 4) for n in around]
    bias_d = -(as_is_nd.mean(0) * size_d) @ np.kron(*turns)
    found = {"scale": scale_d * size_d, "bias": bias_d}
    found |= {"turn_0": turns[0], "turn_1": turns[1]}
    return params | {k: v.astype(np.float32) for k, v in found.items()}


def factors(dim: int) -> tuple[int, int]:
    """p and q nearest to each other with p q = dim, p <= q."""
    p = next(n for n in range(math.isqrt(dim), 0, -1) if dim % n == 0)
    return p, dim // p


def orthogonal(n: int, seed: int) -> np.ndarray:
    """An orthogonal matrix, all of whose entries are of one size where one is known.

    Then all numbers of a rotated vector vary alike, exactly: a Hadamard matrix
    of Paley (n - 1 a prime, 3 over a multiple of 4) or Sylvester (a power of 2).
    """
    half, q = [[1.0]], n - 1
    if n & (n - 1) == 0:
        for _ in range(n.bit_length() - 1):
            half = np.kron([[1, 1], [1, -1]], half)
        return np.asarray(half) / np.sqrt(n)
    if q % 4 == 3 and all(q % d for d in range(2, math.isqrt(q) + 1)):
        squares = {k * k % q for k in range(1, q)}
        residue = np.array([0, *(1 if k in squares else -1 for k in range(1, q))])
        whole = np.ones((n, n))
        whole[1:, 0] = -1
        whole[1:, 1:] = residue[np.subtract.outer(np.arange(q), np.arange(q)) % q]
        whole[1:, 1:] += np.eye(q)
        return whole / np.sqrt(n)
    draw_nn = np.random.default_rng((seed, n)).normal(size=(n, n))
    return np.linalg.qr(draw_nn)[0]
