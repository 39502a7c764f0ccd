# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A trained run to a small encoder of coordinates alone, with a report of its fidelity.

Targets are the teacher's vectors at the places of its dataset; where the teacher is a
tower of coordinates, at drawn points as well. Two students are fitted: one that does
not see a tenth of the squares of `block_deg` degrees and is only measured, and the
one that is kept, which sees all (config.refit). Letters: `n` places, `d` dimensions.
"""

import functools
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from unigeo_jax import (
    domains,
    fidelity,
    galleries,
    sharding,
    tasks,
    train,
    trained,
    workdir,
)
from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import earth_crops
from unigeo_jax.evals import nodes
from unigeo_jax.modalities import student
from unigeo_jax.types import Batch

Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]
CHUNK = 4096  # coordinates a call: its features stay in a CPU's cache
NEAR_KM, FAR_KM = 1.0, 100.0  # how far drawn points lie from a place


class Lesson(NamedTuple):
    """What a student learns: targets at places, and which of these are held out.

    lat, lon: (n,) degrees. target_nd: float32. held_n: bool. drawn_n: bool, points
    that are no place of the dataset and are measured nowhere.
    """

    lat: np.ndarray
    lon: np.ndarray
    target_nd: np.ndarray
    held_n: np.ndarray
    drawn_n: np.ndarray


def run(
    teacher: pathlib.Path,
    out: pathlib.Path,
    config: Any,
    data_dir: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Distils the run in `teacher` into the workdir `out`; returns the report.

    `out` becomes a workdir with a tower named coords, and holds fidelity.json and
    domain.npz (see domains.py). The same command resumes.

    Raises:
      ValueError: a teacher without checkpoint, tower or vectors that config asks for,
        or an `out` of another config.
    """
    lesson, config, about = learn_from(teacher, config, data_dir)
    places = ~lesson.drawn_n
    domain = domains.Domain.around(
        lesson.lat[places], lesson.lon[places], km=float(config.domain_km)
    )
    first = out
    if lesson.held_n.any() and config.refit:
        first = out / "held_out"
    params = fit(first, config, lesson)
    found = measure(config, params, lesson)
    if first != out:
        workdir.say(f"{out}: the student that is kept, which sees every place")
        whole = lesson._replace(held_n=np.zeros_like(lesson.held_n))
        params = fit(out, config, whole)
        found["kept"] = measure(config, params, whole)["seen"]
    found["teacher"] = about
    if jax.process_index() == 0:
        domain.write(out / "domain.npz")
    workdir.write_json(out / "fidelity.json", found)
    workdir.say("\n".join((fidelity.table(found), *datasets.cautions(config))))
    workdir.say(f"in {out}: config.json checkpoints/ fidelity.json domain.npz")
    return found


def learn_from(
    folder: pathlib.Path, config: Any, data_dir: pathlib.Path | None
) -> tuple[Lesson, Any, dict[str, Any]]:
    """The lesson, the completed config and what is to be known of the teacher."""
    student.check({}, {**config.towers.coords.net, "output": config.output})
    about = workdir.read_about(folder)
    towers = tuple(about["config"].towers)
    names = towers if config.teacher == "fused" else (config.teacher,)
    if config.teacher not in ("fused", *towers):
        raise ValueError(
            f"config.teacher: got {config.teacher!r}; allowed: fused,"
            f" {', '.join(towers)}"
        )
    if config.points and names != ("coords",):
        raise ValueError(
            f"config.points: got {config.points} with teacher {config.teacher!r};"
            " allowed: 0, or teacher=coords, which alone has vectors at any point"
        )
    places, anywhere, step = teacher_vectors(folder, names, data_dir)
    z_nd = nodes.fuse(places, names)
    seen_n = np.any([places.here[name] for name in names], axis=0)
    lat, lon, z_nd = places.lat[seen_n], places.lon[seen_n], z_nd[seen_n]
    drawn_n = np.zeros(len(lat), bool)
    if config.points:
        far = draw_points(lat, lon, config.points, config.seed, config.domain_km)
        lat, lon = np.append(lat, far[0]), np.append(lon, far[1])
        z_nd = np.concatenate([z_nd, anywhere(*far)])
        drawn_n = np.arange(len(lat)) >= len(drawn_n)
    if not len(lat) or not np.isfinite(z_nd).all():
        raise ValueError(
            f"--workdir {folder}: {len(lat)} places have vectors of {names}, finite:"
            f" {bool(np.isfinite(z_nd).all())}; allowed: one or more, all finite"
        )
    target_nd = shape_targets(z_nd, config.output)
    held_n = held_out(lat, lon, config.held_out, config.block_deg)
    with config.unlocked():
        config.dim, config.data.name = target_nd.shape[1], about["config"].data.name
        config.towers.coords.net.output = config.output
        config.taught_by = names
        config.batch = fitting_batch(config, int(np.sum(~held_n)))
    taught = {"workdir": str(folder), "step": step, "commit": about.get("commit")}
    return Lesson(lat, lon, target_nd, held_n, drawn_n), config, taught


def teacher_vectors(
    folder: pathlib.Path, names: tuple[str, ...], data_dir: pathlib.Path | None
) -> tuple[nodes.Nodes, Embed, int]:
    """Vectors at every place of the teacher's dataset, and at any coordinates.

    Unit vectors of several towers; of one tower its vectors as they are, not
    normalised. The second, for coordinates, needs a tower of that name.
    """
    run = trained.restore(folder, data_dir)
    params, task, readers = run.params, run.task, run.readers
    config = galleries.of_all_places(run.config, data_dir)
    if len(names) == 1:
        task = task._replace(embed=functools.partial(tasks.raw, config, names[0]))
        readers = [reader for reader in readers if reader[0] in names]
    constants = sharding.place(run.constants, run.mesh)
    embed = galleries.make(config, run.mesh, task, readers, data_dir, constants)
    raw = functools.partial(tasks.raw, config, "coords")
    anywhere = in_chunks(lambda params, x: raw(params, {"coords": x})[0], params)
    return nodes.join(embed(params).values()), anywhere, run.step


def shape_targets(z_nd: np.ndarray, output: str) -> np.ndarray:
    """Vectors as the student is to give them: float32 (n, d), or d + 1 with norms."""
    if output == "raw":
        return z_nd.astype(np.float32)
    norm_n1 = np.maximum(np.linalg.norm(z_nd, axis=1, keepdims=True), 1e-12)
    parts = [z_nd / norm_n1, np.log(norm_n1)]
    return np.concatenate(parts[: 1 if output == "unit" else 2], 1).astype(np.float32)


def held_out(lat: np.ndarray, lon: np.ndarray, share: float, deg: int) -> np.ndarray:
    """Which places lie in the squares that are held out: bool (n,).

    Squares in the order of a hash, until `share` of the places is reached.
    """
    block_n = splits.block_ids(lat, lon, deg)
    blocks, inverse_n, counts = np.unique(
        block_n, return_inverse=True, return_counts=True
    )
    order = np.argsort(splits.hash64(f"distill:{block}" for block in blocks))
    before = np.cumsum(counts[order]) - counts[order]
    chosen = np.zeros(len(blocks), bool)
    chosen[order] = before < share * len(lat)
    return chosen[inverse_n] if not chosen.all() else np.zeros(len(lat), bool)


def draw_points(
    lat: np.ndarray, lon: np.ndarray, count: int, seed: int, reach_km: float
) -> tuple[np.ndarray, np.ndarray]:
    """Half around places, 1 to 100 km off, half on land within `reach_km` of one."""
    rng = np.random.default_rng((seed, 1))
    anchors = earth_crops.table("anchors.npz")
    near_n = domains.Domain.around(lat, lon, reach_km).inside(
        anchors["lat"], anchors["lon"]
    )
    land = np.flatnonzero(near_n)
    half = count // 2 if len(land) else 0
    at = rng.integers(len(lat), size=count - half)
    on = land[rng.integers(len(land), size=half)] if half else land[:0]
    at_lat = np.append(lat[at], anchors["lat"][on].astype(float))
    at_lon = np.append(lon[at], anchors["lon"][on].astype(float))
    km = np.exp(rng.uniform(np.log(NEAR_KM), np.log(FAR_KM), count))
    angle = rng.uniform(0, 2 * np.pi, count)
    degrees = np.rad2deg(km / splits.EARTH_RADIUS_KM)
    moved = np.clip(at_lat + degrees * np.cos(angle), -90, 90)
    narrow = np.maximum(np.cos(np.deg2rad(moved)), 1e-3)
    return moved, splits.wrap_lon(at_lon + degrees * np.sin(angle) / narrow)


def fitting_batch(config: Any, places: int) -> int:
    """config.batch, or all places where there are fewer."""
    batch = min(config.batch, places)
    mesh = sharding.make_mesh(**config.mesh)
    return max(batch // mesh.size, 1) * mesh.size


def fit(folder: pathlib.Path, config: Any, lesson: Lesson, start: Any = None) -> Any:
    """Trains, or resumes, a student of what is not held out; returns its parameters.

    start: parameters of the tower by name that are not drawn but given.
    """
    mesh = sharding.make_mesh(**config.mesh)
    sharding.check(config, mesh)
    workdir.check(folder, config)
    numbers = np.flatnonzero(~lesson.held_n)
    latlon_n2 = np.stack([lesson.lat, lesson.lon], 1).astype(np.float32)
    mean_d = lesson.target_nd[numbers].mean(0)
    scale_d = np.maximum(lesson.target_nd[numbers].std(0), 1e-6)

    def read(at: np.ndarray) -> Batch:
        x = {"coords": latlon_n2[at], "target": lesson.target_nd[at]}
        here = {"coords": np.ones(len(at), bool)}
        cell_b2 = np.zeros((len(at), 2), np.int32)
        return {"index": at.astype(np.int32), "cell": cell_b2, "here": here, "x": x}

    def feed(start: int) -> Iterator[Batch]:
        process, count = jax.process_index(), jax.process_count()
        for step in range(start, config.steps):
            at = step_rows(len(numbers), config.batch, step, config.seed)
            yield read(numbers[at[process::count]])

    def first(params: Any) -> Any:
        known = {"target_mean": mean_d, "target_scale": scale_d, **(start or {})}
        put = {
            k: jax.tree.map(
                lambda new, old: jax.device_put(new, old.sharding),
                *(v, params["coords"][k]),
            )
            for k, v in known.items()
        }
        return params | {"coords": params["coords"] | put}

    def evaluator(params: Any) -> tuple[dict, str]:
        found = measure(config, params, lesson)
        return found, fidelity.table(found)

    prepared = train.prepare(config, mesh, read(numbers[:1]))
    arrays = {"latlon": latlon_n2[numbers], "target": lesson.target_nd[numbers]}
    workdir.claim(folder, config, {"teacher": arrays})
    state = train.carry_on(config, folder, mesh, prepared, {}, feed, evaluator, first)
    return state.params


def step_rows(places: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Which places a step takes: (batch,). Every epoch is one permutation of them all.

    A pure function of (seed, step), so that a resumed run sees the same batches.
    """
    position = step * batch + np.arange(batch)
    epoch, slot = np.divmod(position, places)
    out = np.empty(batch, np.int64)
    for number in np.unique(epoch):
        here = epoch == number
        out[here] = _permutation(places, int(number), seed)[slot[here]]
    return out


@functools.lru_cache(maxsize=4)
def _permutation(places: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(places)


def measure(config: Any, params: Any, lesson: Lesson) -> dict[str, Any]:
    """Fidelity on places seen and held out, and by distance to the nearest seen."""
    embed = embedder(config, params)
    seen_n, held_n = ~lesson.held_n & ~lesson.drawn_n, lesson.held_n & ~lesson.drawn_n
    found = {"seen": fidelity.measure(*_at(lesson, seen_n, embed))}
    if held_n.any():
        spread = lesson.target_nd[seen_n]
        vectors = _at(lesson, held_n, embed)
        found["held_out"] = fidelity.measure(*vectors, spread)
        km_n = fidelity.nearest_km(
            *(lesson.lat[held_n], lesson.lon[held_n]),
            *(lesson.lat[seen_n], lesson.lon[seen_n]),
        )
        found["held_out_by_km"] = fidelity.by_distance(*vectors, km_n, spread)
    return found


def _at(
    lesson: Lesson, rows_n: np.ndarray, embed: Embed
) -> tuple[np.ndarray, np.ndarray]:
    return embed(lesson.lat[rows_n], lesson.lon[rows_n]), lesson.target_nd[rows_n]


def embedder(config: Any, params: Any) -> Embed:
    """(lat, lon) in degrees -> float32 (n, d), as tasks.coordinates gives them."""
    return in_chunks(tasks.coordinates(config), params)


def in_chunks(embed: Callable[[Any, jax.Array], jax.Array], params: Any) -> Embed:
    """(lat, lon) -> (n, d), CHUNK rows at a time, which fill up: one program."""
    compiled = jax.jit(embed)

    def place(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        latlon_n2 = np.stack([lat, lon], -1).astype(np.float32)
        parts = []
        for begin in range(0, max(len(latlon_n2), 1), CHUNK):
            rows = latlon_n2[begin : begin + CHUNK]
            filled = np.pad(rows, ((0, CHUNK - len(rows)), (0, 0)))
            parts.append(np.asarray(compiled(params, filled))[: len(rows)])
        return np.concatenate(parts)

    return place


def load(folder: pathlib.Path) -> Embed:
    """The student in `folder`: (lat, lon) in degrees -> float32 (n, d).

    It warns of points outside its domain, where it extrapolates; at once where the
    training places are unknown (surrogate.py), so that it can warn of no point.

    Raises:
      ValueError: the folder is no student, or, on a call, lat or lon are not in range.
    """
    config, params, *_ = trained.restore(folder)
    if config.task != "distillation":
        raise ValueError(f"{folder}: task {config.task}; allowed: a student's folder")
    embed, domain = embedder(config, params), None
    if (folder / "domain.npz").exists():
        domain = domains.Domain.read(folder / "domain.npz")
    elif not config.data.name:
        warnings.warn(
            f"student: where {folder} was trained is unknown: nothing will tell where"
            " it extrapolates",
            stacklevel=2,
        )

    def guarded(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
        datasets.check_places(lat, lon, "student")
        if domain is not None and not domain.inside(lat, lon).all():
            out_n = ~domain.inside(lat, lon)
            row = int(np.flatnonzero(out_n)[0])
            warnings.warn(
                f"student: {out_n.sum()} of {len(lat)} points lie over {domain.km:g} km"
                f" from any training place, the first at lat={lat[row]},"
                f" lon={lon[row]}: it extrapolates there",
                stacklevel=2,
            )
        return embed(lat, lon)

    return guarded
