# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A trained workdir as a model folder that needs no Flax and no dataset.

One program a tower (jax.export: any number of rows, CPU, CUDA and TPU) takes the
weights, which lie beside it once, as safetensors. Everything computes in float32 at
the highest precision of matmuls, whatever the run computed in.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax import export

import unigeo_jax
from unigeo_jax import (
    bundles,
    cards,
    domains,
    fidelity,
    modalities,
    onnx_graph,
    trained,
    workdir,
)
from unigeo_jax.data import datasets, tokenizer
from unigeo_jax.nn import layers

FORMATS = ("jax", "safetensors", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")
WEIGHTS = "model.safetensors"
COORDINATES = ("atlas", "coords", "student")  # modality files that take degrees


def run(
    folder: pathlib.Path,
    out: pathlib.Path,
    formats: Sequence[str] = FORMATS,
    data_dir: pathlib.Path | None = None,
    name: str = "",
    licence: str = "other",
) -> dict[str, Any]:
    """Write the newest checkpoint of the run in `folder` to `out`; return its config.

    `out` appears whole, by a rename, and must not be there before. Formats: jax is the
    programs, which need the weights (safetensors), onnx the coordinate encoders.

    Raises:
      ValueError: no such run or format, or `out` is there already.
    """
    check(out, formats)
    run = trained.restore(folder, data_dir)
    config, params, step = run.config, run.params, run.step
    about = describe(folder, config, step, name, licence)
    with whole(out) as part:
        places(part, folder, config, data_dir, about)
        towers(part, config, params, run.constants, formats, about)
        domain(part, folder, about)
        if about["training_data"].startswith(("earth", "us_places")):
            shutil.copyfile(cards.DATA_CARD, part / "DATA_CARD.md")
        found = cards.scores(folder, step)
        if scored := cards.downstream(found):
            text = json.dumps(scored, indent=1) + "\n"
            (part / cards.SCORES).write_text(text, encoding="utf-8")
        about["files"] = hashes(part)
        finish(part, about, cards.write(about, found))
    return about


def check(out: pathlib.Path, formats: Sequence[str]) -> None:
    """Raise ValueError for a format that is none, or an `out` that is there."""
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ValueError(f"--format: got {unknown}; allowed: {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: is there already; allowed: a new folder")


@contextlib.contextmanager
def whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes `out` at the end, or goes with an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
    try:
        yield part
        part.chmod(0o755)
        for path in part.iterdir():  # safetensors writes for its owner alone
            path.chmod(0o644)
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def describe(
    folder: pathlib.Path, config: Any, step: int, name: str, licence: str
) -> dict[str, Any]:
    """What config.json says but for towers and files."""
    about = workdir.read_about(folder)
    return {
        "library": "unigeo_jax",
        "format_version": bundles.FORMAT,
        "package_version": unigeo_jax.__version__,
        "model_id": name or config.name,
        "licence": licence,
        "dim": config.dim,
        "step": step,
        "training_data": cards.training_data(config.data),
        "commit": about.get("commit"),
        "versions": about.get("versions"),
        "weights": WEIGHTS,
        "training": json.loads(config.to_json()),
    }


def towers(
    part: pathlib.Path,
    config: Any,
    params: Mapping[str, Any],
    constants: Mapping[str, Any],
    formats: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Write weights and programs, and enter each tower, or why it is missing."""
    arrays, about["towers"], about["left_out"] = {}, {}, {}
    for name, tower in config.towers.items():
        shared = config.get("share_image_towers", False) and name == "street"
        of_tower = {"params": params["aerial" if shared else name]}
        if constants.get(name):
            of_tower["constants"] = constants[name]
        weights = {f"{name}.{k}": v for k, v in flatten(of_tower).items()}
        if drawn(tower):
            about["left_out"][name] = "it draws neighbours, which needs the graph"
            continue
        function, spec = embedder(config, name, of_tower)
        if "rows" in of_tower.get("constants", {}):
            nodes = len(of_tower["constants"]["edges_n"])
            function, weights = tabulated(name, function, weights, nodes)
        entry = {"module": tower.module or name, "dim": config.dim}
        data = json.loads(json.dumps(as_given(tower)))
        entry |= {"data": data, "weights": sorted(weights)}
        entry |= {"input": jax.tree.map(_leaf, spec), "program": f"{name}.jax"}
        about["towers"][name] = entry
        programs(part, name, function, weights, spec, formats, about)
        if vocabulary := _vocabulary(tower.data):
            entry["vocabulary"] = f"{name}.vocabulary"
            shutil.copyfile(vocabulary, part / entry["vocabulary"])
        arrays |= weights
    safetensors.numpy.save_file(arrays, part / WEIGHTS, {"format": "np"})


def programs(
    part: pathlib.Path,
    name: str,
    function: Callable,
    weights: Mapping[str, Any],
    spec: Any,
    formats: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Write a tower's program and, of coordinates, its ONNX file, if asked for.

    Enters the ONNX file and what 127 stands for in int8, unless that is there already.
    """
    entry = about["towers"][name]
    entry.pop("onnx", None)
    if "jax" in formats:
        (part / entry["program"]).write_bytes(program(function, weights, spec))
    if "onnx" in formats and entry["module"] in COORDINATES:
        entry["onnx"] = f"{name}.onnx"
        with_weights = functools.partial(function, weights)
        onnx_graph.write(part / entry["onnx"], with_weights, about, spec.shape[0])
    if name == "coords" and "int8_scale" not in about:
        kept = about["places"]
        known = safetensors.numpy.load_file(part / kept) if kept else None
        latlon_n2, embed = bundles.sample(known), jax.jit(function)
        x = np.pad(latlon_n2, ((0, 0), (0, spec.shape[0] - 2)))  # of unknown times
        parts = [embed(weights, x[i : i + 4096]) for i in range(0, len(x), 4096)]
        about["int8_scale"] = bundles.int8_scale(np.concatenate(parts))


def as_given(tower: Any) -> dict[str, Any]:
    """A tower's options of reading, for what a user gives: nothing is left to do."""
    data = tower.data.to_dict()
    data.pop("stored", None)
    return data | ({"on_device": False} if "on_device" in data else {})


def embedder(
    config: Any, name: str, variables: Any
) -> tuple[Callable[[Mapping[str, Any], Any], jax.Array], Any]:
    """(weights by flat name, x) -> float32 (b, d), and one example of x, zeros.

    Unit vectors; of a distilled student what its `output` says.
    """
    tower = config.towers[name]
    module = modalities.get(tower.module or name)
    net = module.Encoder(**{"dim": config.dim, "dtype": jnp.float32, **tower.net})
    data = as_given(tower)
    if "fanout" in data:
        data["fanout"] = ()  # the whole graph is at hand: nothing is drawn
    structure = jax.tree.structure(variables)
    keys = list(flatten(variables))

    def embed(weights: Mapping[str, Any], x: Any) -> jax.Array:
        leaves = [weights[f"{name}.{key}"] for key in keys]
        with jax.default_matmul_precision("highest"):
            z_bd = net.apply(jax.tree.unflatten(structure, leaves), x, False)
        z_bd = jnp.asarray(z_bd)
        if config.task == "distillation":
            return z_bd.astype(jnp.float32)
        return layers.l2_normalise(z_bd)

    return embed, module.spec(**data)


def tabulated(
    name: str, function: Callable, weights: Mapping[str, Any], nodes: int
) -> tuple[Callable, dict[str, np.ndarray]]:
    """The same tower and weights, as a table of the vectors of all nodes of its graph.

    The graph does not change, so propagation is done once, here: its sparse product
    has no portable program. A node beyond the graph gives NaN.
    """
    table_nd = jax.jit(function)(weights, {"node": np.arange(nodes, dtype=np.int32)})
    return look_up(name), {f"{name}.nodes": np.asarray(table_nd)}


def look_up(name: str) -> Callable[[Mapping[str, Any], Any], jax.Array]:
    """(weights, {"node"}) -> rows of the table that `tabulated` made."""

    def take(weights: Mapping[str, Any], x: Any) -> jax.Array:
        return jnp.take(weights[f"{name}.nodes"], x["node"], axis=0, mode="fill")

    return take


def drawn(tower: Any) -> bool:
    """Whether a tower of a graph attends over neighbours that a sampler draws."""
    if not tower.data.get("fanout"):
        return False
    return tower.net.kind != "lightgcn" or not tower.data.get("whole", True)


def program(function: Callable, weights: Mapping[str, Any], spec: Any) -> bytes:
    """Serialise (weights, x) -> (b, d) with a symbolic number of rows."""
    (rows,) = export.symbolic_shape("b")
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape), a.dtype), spec)
    held = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()}
    # A program names the lines that made it: by their files, not by folders of here.
    with _option("jax_hlo_source_file_canonicalization_regex", ".*/"):
        exported = export.export(jax.jit(function), platforms=PLATFORMS)(held, x)
    return bytes(exported.serialize())


@contextlib.contextmanager
def _option(name: str, value: Any) -> Iterator[None]:
    """An option of jax that has no context of its own, set for a while."""
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Arrays by the dotted path to them, in the order of jax.tree."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in found
    }


def places(
    part: pathlib.Path,
    folder: pathlib.Path,
    config: Any,
    data_dir: pathlib.Path | None,
    about: dict[str, Any],
) -> None:
    """Keep where the training places lie, if known: the run's own, or its dataset's."""
    about["places"], path = None, folder / trained.PLACES
    if not (config.data.name or path.exists()):
        return
    try:
        if not path.exists():
            made = datasets.find(config.data.name, data_dir)
            path = made / f"index-{config.data.split}.npz"
        with np.load(path, allow_pickle=False) as index:
            found = {k: index[k].astype(np.float32) for k in ("lat", "lon")}
    except (OSError, ValueError, KeyError):
        return
    about["places"] = "places.safetensors"
    safetensors.numpy.save_file(found, part / about["places"])


def domain(part: pathlib.Path, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
    """Keep where the run knows its way: its own domain, or one around its places.

    That reaches twice as far as all but a hundredth of the places are from another.
    """
    if (folder / "domain.npz").exists():
        shutil.copy(folder / "domain.npz", part)
    elif about["places"]:
        known = safetensors.numpy.load_file(part / about["places"])
        lat, lon = known["lat"], known["lon"]
        if len(lat) > 1:
            reach = 2 * float(np.quantile(fidelity.to_others_km(lat, lon), 0.99))
            domains.Domain.around(lat, lon, reach).write(part / "domain.npz")


def finish(part: pathlib.Path, about: Mapping[str, Any], card: str) -> None:
    """Add the card and, last, config.json."""
    (part / "README.md").write_text(card, encoding="utf-8")
    text = json.dumps(about, indent=1) + "\n"
    (part / "config.json").write_text(text, encoding="utf-8")


def hashes(part: pathlib.Path) -> dict[str, dict[str, Any]]:
    """{file: {"sha256", "bytes"}} of a folder."""
    out = {}
    for path in sorted(part.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        out[path.name] = {"sha256": digest, "bytes": path.stat().st_size}
    return out


def _leaf(zeros: np.ndarray) -> dict[str, Any]:
    return {"dtype": str(zeros.dtype), "shape": list(zeros.shape)}


def _vocabulary(data: Any) -> pathlib.Path | None:
    if "vocab" not in data:
        return None
    return pathlib.Path(data.vocab) if data.vocab else tokenizer.VOCABULARY
