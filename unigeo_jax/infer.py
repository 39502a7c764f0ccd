# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An exported model: `load(path).embed(lat=, lon=)`. Imports jax and numpy only.

A program is compiled once for each bucket of sizes; its rows are split over the local
devices. Letters: `n` places, `d` embedding, `q` queries, `k` hits.
"""

import functools
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax import export
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from unigeo_jax import bundles, coordinates, indices
from unigeo_jax.nn import fixed

BUCKETS = (1, 8, 64, 512, 4096)  # rows; features of the last stay in a CPU's cache
COORDS = "coords"
EARTH_KM = 6371.0088


def load(path: str | pathlib.Path) -> "Model":
    """Open a model folder, or a model that comes with the package by its name.

    The files are checked by hash, and one point is embedded, so that the first call is
    as fast as the others. Raises ValueError: no such model, a half-written or altered
    folder, or one of a later version.
    """
    folder = bundles.find(path)
    about = bundles.read_config(folder)
    bundles.check_hashes(folder, about, [about["weights"]])
    weights = bundles.read_safetensors(folder / about["weights"])
    wanted = {key for tower in about["towers"].values() for key in tower["weights"]}
    if missing := sorted(map(str, wanted - set(weights))):
        raise ValueError(
            f"model {folder}: {about['weights']} lacks {', '.join(missing[:5])};"
            " allowed: a folder that launch/export.py wrote"
        )
    model = Model(folder, about, weights)
    if COORDS in about["towers"]:
        shape = about["towers"][COORDS]["input"]["shape"]
        model._embed(COORDS, np.zeros((1, *shape), np.float32))
    return model


class Model:
    """An exported model.

    `info`: dim, towers, training data, version, commit, hash, whether it takes a time.
    """

    def __init__(
        self, folder: pathlib.Path, about: dict, weights: Mapping[str, np.ndarray]
    ) -> None:
        self._folder, self._about, self._weights = folder, about, weights
        self._devices = jax.local_devices()
        self._meshes: dict[int, Mesh] = {}
        self._run = functools.cache(self._compiled)
        self._domain = None
        if "domain.npz" in about["files"]:
            bundles.check_hashes(folder, about, ["domain.npz"])
            self._domain = bundles.read_domain(folder)
        self.info: dict[str, Any] = {
            key: about.get(key)
            for key in (
                *("model_id", "dim", "training_data", "package_version", "commit"),
                *("step", "licence"),
            )
        } | {
            "modalities": list(about["towers"]),
            "sha256": about["files"][about["weights"]]["sha256"],
        }
        tower = about["towers"].get(COORDS)
        self.info["time"] = bool(tower) and tower["input"]["shape"] == [4]
        student = about.get("training", {}).get("task") == "distillation"
        self.info["features"] = about["dim"] + (0 if student else fixed.DIM)

    def __deepcopy__(self, _: Any) -> "Model":
        return self  # nothing in it changes: scikit-learn clones a GeoEmbedder often

    def embed(
        self, *, lat: Any = None, lon: Any = None, time: Any = None, **values: Any
    ) -> np.ndarray:
        """Embed places by coordinates, or by one other modality: float32 (n, d).

        lat, lon: degrees, WGS 84, numbers or sequences of them; longitudes beyond 180
          wrap. time: of models that take one (info["time"]): ISO 8601 texts, dates or
          datetime64, one a place or one for all; year and month count. None, NaT and
          "" are an unknown time.
        Or one name of a tower with a value a place: `text=["..."]`, `aerial=` uint8
          (n, height, width, 3), or what the tower takes, as config.json says.

        Raises ValueError: NaN, out of range, text, nothing, or no such tower; it names
        the first row. Warns where lat and lon seem to be swapped, and of places far
        from all that the model was trained on.
        """
        given = {k: v for k, v in {"lat": lat, "lon": lon}.items() if v is not None}
        if (values and given) or len(values) > 1 or not (values or len(given) == 2):
            raise ValueError(
                f"embed: got {', '.join([*given, *values]) or 'nothing'}; allowed: lat="
                f" and lon=, or one of {', '.join(self._about['towers'])}"
            )
        if time is not None and not (given and self.info["time"]):
            raise ValueError(
                f"embed: got time= with info['time'] {self.info['time']}; allowed: with"
                " lat= and lon=, of a model that was trained with times"
            )
        if given:
            x = latlon_n2 = coordinates.degrees(lat, lon)
            self._warn_of_far(latlon_n2)
            if self.info["time"]:
                x = np.concatenate([x, coordinates.times(time, len(x))], axis=1)
            return self._embed(COORDS, x)
        ((name, value),) = values.items()
        return self._embed(name, self._inputs(name, value))

    def features(self, *, lat: Any, lon: Any, time: Any = None) -> np.ndarray:
        """What a model of a label should read: float32 (n, info["features"]).

        The vectors of `embed`, beside those of a contrastive run the fixed features of
        nn/fixed.py, which say where a place lies; a student's are as they are. Raises
        ValueError as `embed` does.
        """
        z_nd = self.embed(lat=lat, lon=lon, time=time)
        if self.info["features"] == self.info["dim"]:
            return z_nd
        return fixed.beside(z_nd, *coordinates.degrees(lat, lon).T)

    @functools.cached_property
    def int8_scale(self) -> float:
        """What 127 stands for where vectors are stored as int8: z = scale * int8 / 127.

        As config.json says; else found as an export does (bundles.int8_scale), over the
        training places, or over the sphere where they are unknown.
        """
        if self._about.get("int8_scale"):
            return self._about["int8_scale"]
        latlon_n2 = bundles.sample(bundles.read_places(self._folder, self._about))
        width = self._tower(COORDS)["input"]["shape"][0]  # a time is unknown: zeros
        x = np.pad(latlon_n2, ((0, 0), (0, width - 2)))
        return bundles.int8_scale(self._embed(COORDS, x))

    def similarity(self, a_nd: np.ndarray, b_nd: np.ndarray) -> np.ndarray:
        """Cosine similarity of all pairs, float32 (n, m)."""
        a_nd, b_nd = (np.atleast_2d(np.asarray(x, np.float32)) for x in (a_nd, b_nd))
        return unit(a_nd) @ unit(b_nd).T

    def save_index(self, path: str | pathlib.Path, z_nd: np.ndarray) -> pathlib.Path:
        """Write vectors for `search`: PATH, .npy, with the model's name in it.

        It comes by a rename: neither half an index nor one of another model's name is
        ever found.
        """
        about = {key: self.info[key] for key in ("model_id", "sha256")}
        return indices.write(pathlib.Path(path), unit(np.asarray(z_nd)), about)

    def search(
        self, z_qd: np.ndarray, index: str | pathlib.Path | np.ndarray, k: int = 10
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of an index by cosine, exact: rows int64, values (q, k).

        index: a path that `save_index` wrote, read memory-mapped, or vectors (n, d).
        Raises ValueError for an index of another model, or of another width.
        """
        stored = not isinstance(index, np.ndarray)
        rows_nd = indices.read(index, self.info["sha256"]) if stored else index
        z_qd = unit(np.atleast_2d(np.asarray(z_qd, np.float32)))
        if rows_nd.ndim != 2 or rows_nd.shape[1] != z_qd.shape[1] or k < 1:
            raise ValueError(
                f"search: index {rows_nd.shape}, queries {z_qd.shape}, k={k}; allowed:"
                " the same width, k of 1 or more"
            )
        best = np.empty((len(z_qd), 0), np.float32)
        at = np.empty((len(z_qd), 0), np.int64)
        step = 1 << 16
        for first in range(0, len(rows_nd), step):
            part = np.asarray(rows_nd[first : first + step], np.float32)
            scores = z_qd @ (part if stored else unit(part)).T
            numbers = np.broadcast_to(np.arange(len(part)) + first, scores.shape)
            best = np.concatenate([best, scores], axis=1)
            at = np.concatenate([at, numbers], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(best, order, axis=1)
            at = np.take_along_axis(at, order, axis=1)
        return at, best

    def explain(self, *, lat: Any, lon: Any, k: int = 5) -> dict[str, np.ndarray]:
        """The k nearest training places of each point: row, lat, lon and km, (n, k).

        An answer far from every training place is an extrapolation. Raises ValueError
        where the model was exported without its places.
        """
        places = bundles.read_places(self._folder, self._about)
        if places is None:
            raise ValueError(
                f"explain: model {self._folder} has no training places (training data"
                f" {self.info['training_data']}); allowed: a model exported with them"
            )
        known_n3 = _sphere(np.stack([places["lat"], places["lon"]], axis=1))
        k = min(k, len(known_n3))
        rows, km = [], []
        for part in _chunks(coordinates.degrees(lat, lon), 256):
            points = _sphere(part)
            near = np.argpartition(-(points @ known_n3.T), k - 1, axis=1)[:, :k]
            chord = np.linalg.norm(known_n3[near] - points[:, None], axis=-1)
            distance = 2 * EARTH_KM * np.arcsin(np.minimum(chord / 2, 1.0))
            order = np.argsort(distance, axis=1)
            rows.append(np.take_along_axis(near, order, axis=1))
            km.append(np.take_along_axis(distance, order, axis=1))
        row, away = np.concatenate(rows), np.concatenate(km)
        found = {"lat": places["lat"][row], "lon": places["lon"][row]}
        return {"row": row, **found, "km": away}

    def supported(self, *, lat: Any, lon: Any) -> np.ndarray:
        """Which places have a training place near: bool (n,); all, if not known."""
        latlon_n2 = coordinates.degrees(lat, lon)
        if self._domain is None:
            return np.ones(len(latlon_n2), bool)
        return bundles.inside(self._domain[0], latlon_n2)

    def _warn_of_far(self, latlon_n2: np.ndarray) -> None:
        if self._domain is None:
            return
        cells, km = self._domain
        far_n = ~bundles.inside(cells, latlon_n2)
        if far_n.any():
            lat, lon = latlon_n2[np.argmax(far_n)]
            warnings.warn(
                f"{far_n.sum()} of {len(far_n)} places lie over {km:.0f} km from every"
                f" training place, the first at lat={lat:.4f}, lon={lon:.4f}: vectors"
                " there are extrapolated; `explain` says how far they lie",
                stacklevel=3,
            )

    def _inputs(self, name: str, value: Any) -> Any:
        """What a tower takes: as it is where it fits, else read as in training."""
        tower = self._tower(name)
        spec = tower["input"]
        leaves = spec if isinstance(spec, dict) and "dtype" not in spec else {"": spec}
        arrays = value if isinstance(value, Mapping) else {"": value}
        if len(leaves) == 1 and "" in arrays:
            arrays = {next(iter(leaves)): arrays[""]}
        if set(arrays) == set(leaves):
            arrays = {k: np.asarray(v) for k, v in arrays.items()}
            if all(_fits(arrays[k], leaves[k]) for k in leaves):
                cast = {k: v.astype(leaves[k]["dtype"]) for k, v in arrays.items()}
                return cast.get("", cast)
        if isinstance(value, str | Mapping) or not len(value):
            raise ValueError(
                f"embed: {name} got {type(value).__name__}; allowed: one or more values"
                f" in a sequence, or arrays {spec} with one row a place"
            )
        from unigeo_jax import inputs

        names = [tower["vocabulary"]] if tower.get("vocabulary") else []
        bundles.check_hashes(self._folder, self._about, names)
        return inputs.read(name, tower, self._folder, value)

    def _tower(self, name: str) -> dict[str, Any]:
        towers = self._about["towers"]
        if name not in towers:
            raise ValueError(
                f"embed: no tower {name!r} in {self._folder}; allowed:"
                f" {', '.join(towers)}"
            )
        return towers[name]

    def _embed(self, name: str, x: Any) -> np.ndarray:
        """Every chunk is on its way before the first one is waited for."""
        call = self._run(name)
        rows = len(jax.tree.leaves(x)[0])
        step = BUCKETS[-1] * len(self._devices)
        out, running = np.empty((rows, self._tower(name)["dim"]), np.float32), []
        for first in range(0, rows, step):
            part = jax.tree.map(lambda a, f=first: a[f : f + step], x)
            running.append((first, min(step, rows - first), call(part)))
            if len(running) > 2:
                _keep(out, *running.pop(0))
        for done in running:
            _keep(out, *done)
        return out

    def _compiled(self, name: str) -> Any:
        """Read a program and return x -> (rows of a bucket, d), run on the devices."""
        tower = self._tower(name)
        bundles.check_hashes(self._folder, self._about, [tower["program"]])
        blob = bytearray((self._folder / tower["program"]).read_bytes())
        weights = {key: self._weights[key] for key in tower["weights"]}
        no = f"model {self._folder}: {tower['program']} is no program for"
        no += f" {self._about['weights']}"
        try:
            program = export.deserialize(blob)
            (held, _), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
            if {k: a.shape for k, a in held.items()} != jax.tree.map(np.shape, weights):
                raise ValueError("it takes weights of other names or shapes")
        except Exception as error:  # whatever its reader of a damaged file runs into
            raise ValueError(f"{no}: {error!r}") from error
        weights = jax.device_put(weights, self._devices[0])
        spread: dict[int, Any] = {}

        def one(x: Any) -> jax.Array:
            try:
                return single(weights, x)
            except RuntimeError as error:  # JAX's own, or of the bindings to XLA
                of_jax = isinstance(error, jax.errors.JaxRuntimeError)
                if of_jax and "StableHLO" not in str(error):
                    raise
                raise ValueError(f"{no}: {error}") from error  # read no sooner

        single = jax.jit(program.call)

        def call(x: Any) -> jax.Array:
            rows, count = len(jax.tree.leaves(x)[0]), len(self._devices)
            if rows <= BUCKETS[-1] or count == 1:
                size = next(b for b in BUCKETS if b >= rows)
                return one(_pad(x, size))
            if not spread:
                mesh = jax.make_mesh(
                    (count,), ("rows",), (AxisType.Auto,), devices=self._devices
                )
                specs = {"in_specs": (P(), P("rows")), "out_specs": P("rows")}
                mapped = jax.shard_map(
                    program.call, mesh=mesh, check_vma=False, **specs
                )
                whole = jax.sharding.NamedSharding(mesh, P())
                spread[0] = jax.jit(mapped)
                spread[1] = jax.device_put(weights, whole)
            return spread[0](spread[1], _pad(x, BUCKETS[-1] * count))

        return call


def unit(z_nd: np.ndarray) -> np.ndarray:
    """Rows divided by their norm; a row of zeros stays."""
    return z_nd / np.maximum(np.linalg.norm(z_nd, axis=1, keepdims=True), 1e-12)


def _keep(out: np.ndarray, first: int, rows: int, z: jax.Array) -> None:
    out[first : first + rows] = np.asarray(z)[:rows]


def _pad(x: Any, rows: int) -> Any:
    """Fill up to `rows` with the first row, which is always a valid one."""

    def fill(a: np.ndarray) -> np.ndarray:
        more = rows - len(a)
        return np.concatenate([a, np.repeat(a[:1], more, axis=0)]) if more else a

    return jax.tree.map(fill, x)


def _fits(array: np.ndarray, leaf: Mapping[str, Any]) -> bool:
    kinds = array.dtype.kind in "iu" and np.dtype(leaf["dtype"]).kind in "iu"
    same = array.dtype == np.dtype(leaf["dtype"])
    floats = array.dtype.kind == "f" and np.dtype(leaf["dtype"]).kind == "f"
    shape = array.ndim > 0 and len(array) > 0 and list(array.shape[1:]) == leaf["shape"]
    return shape and (kinds or same or floats)


def _sphere(latlon: np.ndarray) -> np.ndarray:
    lat, lon = np.deg2rad(latlon.astype(np.float64)).T
    flat = np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], axis=1)


def _chunks(x: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    for first in range(0, len(x), rows):
        yield x[first : first + rows]
