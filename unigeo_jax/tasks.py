# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is optimised: each objective is one function that returns a Task.

A new objective is a new function here; `train.fit` stays as it is.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from unigeo_jax import microbatch
from unigeo_jax.losses import contrastive as contrastive_loss
from unigeo_jax.losses import ring, tiled
from unigeo_jax.model import GeoModel
from unigeo_jax.nn import layers
from unigeo_jax.types import Batch

PLAIN_BYTES = 2**26
GATHERED_BYTES = 2**29


class Task(NamedTuple):
    """The four functions that training needs.

    `constants` is what towers share by all places (modalities/__init__.py), {} where
    none has any: {tower: pytree}.

    init: (key, batch, constants) -> params; reads the shapes of the last two only.
    loss_fn: (params, batch, key, constants) -> (scalar loss, {name: scalar}); traced
      under jit; without a key that of evaluation: no dropout.
    project: params -> params, applied after every update (bounds on temperatures).
    embed: (params, x, constants) -> float32 (m, b, d) unit vectors (of a student: as
      its `output` says), no augmentation, no dropout.
    """

    init: Callable[..., Any]
    loss_fn: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    project: Callable[[Any], Any]
    embed: Callable[..., jax.Array]


def get(name: str) -> Callable[[Any, Mesh], Task]:
    """The objective that `config.task` names.

    Raises:
      ValueError: no function here is named so.
    """
    known = {"contrastive": contrastive, "distillation": distillation}
    if name not in known:
        raise ValueError(f"config.task: got {name!r}; allowed: {', '.join(known)}")
    return known[name]


def compute_dtype(name: str) -> jnp.dtype:
    """'auto' is bfloat16 on accelerators and float32 on CPU."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in ("float32", "bfloat16"):
        raise ValueError(
            f"config.dtype: got {name!r}; allowed: auto, float32, bfloat16"
        )
    return jnp.dtype(name)


def contrastive(config: Any, mesh: Mesh) -> Task:
    """All pairs of the towers of `config.towers`, contrasted over the global batch."""
    microbatch.check(config.microbatch, config.batch, mesh.size)
    dtype, names = compute_dtype(config.dtype), tuple(config.towers)
    model = build_model(config, dtype, mesh)
    weights_mm = pair_weights(names, config.loss)
    tau_range = (config.loss.tau_min, config.loss.tau_max)
    contrast = loss_impl(config, weights_mm, mesh, dtype.itemsize)

    def apply(params: Any, constants: Any, *args: Any, **options: Any) -> Any:
        if config.share_image_towers:
            params = params | {"street": params["aerial"]}
        variables = {"params": params, "constants": constants or {}}
        return model.apply(variables, *args, **options)

    def init(key: jax.Array, batch: Batch, constants: Any = None) -> Any:
        params = first_params(model, key, batch["x"], constants or {})
        return without_street(params) if config.share_image_towers else params

    def loss_fn(
        params: Any, batch: Batch, key: jax.Array | None, constants: Any = None
    ) -> tuple[jax.Array, dict]:
        def embed_train(name: str) -> jax.Array:
            def tower(x: Any, rows_b: jax.Array) -> jax.Array:
                with microbatch.dropout_by_row(rows_b):
                    rngs = {} if key is None else {"dropout": key}
                    options = {"method": "embed", "rngs": rngs}
                    return apply(params, constants, name, x, bool(rngs), **options)

            size = config.microbatch
            return microbatch.embed(tower, batch["x"][name], microbatch=size, mesh=mesh)

        z_mbd = jnp.stack([embed_train(name) for name in names])
        here_mb = jnp.stack([batch["here"][name] for name in names])
        tau_mm = apply(params, {}, method="tau_mm")
        bias_mm = apply(params, {}, method="bias_mm")
        # Without the mask a place twice in a batch still is one place.
        cell_b2 = batch["cell" if config.loss.same_cell_mask else "index"]
        loss, aux = contrast(
            z_mbd.astype(dtype),
            here_mb,
            cell_b2,
            weights_mm,
            tau_mm,
            kind=config.loss.kind,
            bias_mm=bias_mm,
            beta=config.loss.beta,
            tau_range=tau_range,
        )
        shared = {"temperature": tau_mm, "bias": bias_mm}
        return loss, _named(names, weights_mm, aux["pair_loss_mm"], shared)

    def project(params: Any) -> Any:
        low, high = np.log(np.float32(tau_range[0])), np.log(np.float32(tau_range[1]))
        return params | {"log_tau": jnp.clip(params["log_tau"], low, high)}

    def embed(params: Any, x: Any, constants: Any = None) -> jax.Array:
        return apply(params, constants, x, train=False)

    return Task(init, loss_fn, project, embed)


def distillation(config: Any, mesh: Mesh) -> Task:
    """A student of coordinates, the one tower `coords`, learns given vectors.

    batch["x"]: `coords` float32 (b, 2) in degrees, `target` float32 (b, d). Loss: mean
    squared error in units of the targets' standard deviation in each dimension, plus
    1 - cosine; of the vector without its log-norm where the student has one.

    Differs from MobCLIP: how its surrogate was trained was not published.
    """
    model = build_model(config, compute_dtype(config.dtype))
    output = config.towers.coords.net.get("output", "raw")
    norms = 1 if output == "unit+norm" else 0

    def init(key: jax.Array, batch: Batch, constants: Any = None) -> Any:
        del constants
        return first_params(model, key, {"coords": batch["x"]["coords"]}, {})

    def loss_fn(
        params: Any, batch: Batch, key: jax.Array | None, constants: Any = None
    ) -> tuple[jax.Array, dict]:
        del key, constants
        latlon_b2, target_bd = batch["x"]["coords"], batch["x"]["target"]
        variables = {"params": params}
        z_bd = jnp.asarray(
            model.apply(variables, "coords", latlon_b2, True, method="raw")
        )
        scale_d = params["coords"]["target_scale"]
        squared = jnp.mean(jnp.square((z_bd - target_bd) / scale_d[None]))
        vectors = (x_bd[:, : x_bd.shape[1] - norms] for x_bd in (z_bd, target_bd))
        unit_bd, wanted_bd = map(layers.l2_normalise, vectors)
        cosine = jnp.mean(jnp.sum(unit_bd * wanted_bd, axis=-1))
        return squared + 1.0 - cosine, {"squared": squared, "cosine": cosine}

    def embed(params: Any, x: Any, constants: Any = None) -> jax.Array:
        del constants
        return coordinates(config)(params, x["coords"])[None]

    return Task(init, loss_fn, lambda params: params, embed)


def coordinates(config: Any) -> Callable[[Any, jax.Array], jax.Array]:
    """(params, float32 (b, 2) degrees) -> float32 (b, d), as users get them.

    Unit vectors of the tower `coords`; of a student what its `output` says.
    """
    model = build_model(config, compute_dtype(config.dtype))
    method = "raw" if config.task == "distillation" else "embed"

    def embed(params: Any, latlon_b2: jax.Array) -> jax.Array:
        z_bd = model.apply({"params": params}, "coords", latlon_b2, method=method)
        return jnp.asarray(z_bd)

    return embed


def raw(
    config: Any, name: str, params: Any, x: Any, constants: Any = None
) -> jax.Array:
    """Vectors of one tower before normalisation, float32 (1, b, d); as Task.embed."""
    model = build_model(config, compute_dtype(config.dtype))
    if config.get("share_image_towers", False):
        params = params | {"street": params["aerial"]}
    variables = {"params": params, "constants": constants or {}}
    z_bd = model.apply(variables, name, x[name], method="raw")
    return jnp.asarray(z_bd, jnp.float32)[None]


def first_params(model: GeoModel, key: jax.Array, x: Any, constants: Any) -> dict:
    """Draws the parameters; of `x` and `constants` only the shapes matter."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), constants)
    variables = {"constants": zeros}
    _, made = model.apply(variables, x, rngs={"params": key}, mutable=["params"])
    return dict(made["params"])


def without_street(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a model whose street views go through the aerial tower.

    Raises:
      ValueError: one of the two is no tower here, or they differ in shape.
    """
    rest = {name: value for name, value in params.items() if name != "street"}
    shapes = [
        jax.tree.map(jnp.shape, params.get(name)) for name in ("aerial", "street")
    ]
    if None in shapes or shapes[0] != shapes[1]:
        raise ValueError(
            "config.share_image_towers: got True; allowed: with towers aerial and"
            " street of the same net options and numbers of pixels"
        )
    return rest


def build_model(config: Any, dtype: jnp.dtype, mesh: Mesh | None = None) -> GeoModel:
    """The GeoModel that `config.towers` describes."""
    towers = tuple(
        (name, tower.module or name, tower.net.to_dict())
        for name, tower in config.towers.items()
    )
    if config.task == "distillation":
        return GeoModel(towers=towers, dim=config.dim, dtype=dtype)
    return GeoModel(
        towers=towers,
        dim=config.dim,
        dtype=dtype,
        init_tau=config.loss.init_tau,
        init_bias=config.loss.init_bias if config.loss.kind == "sigmoid" else None,
        fixed_tau_mm=fixed_temperatures(
            tuple(config.towers), config.loss.get("fixed_tau", {})
        ),
        mesh=mesh,
    )


def loss_impl(
    config: Any, weights_mm: np.ndarray, mesh: Mesh, itemsize: int
) -> Callable[..., tuple[jax.Array, dict]]:
    """The implementation of the loss that `config.loss.impl` names; all are equal.

    auto, by what a device would hold:
      plain  while the logits of all pairs, float32, take at most PLAIN_BYTES;
      ring   if the gathered embeddings and their float32 gradient take more than
             GATHERED_BYTES, and there are devices to pass blocks between;
      tiled  else.

    Raises:
      ValueError: unknown name.
    """

    def gather(x: jax.Array) -> jax.Array:
        """The global batch on every device; stacking makes it one collective."""
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P()))

    options = {"mesh": mesh, "tile": config.loss.tile}
    known = {
        "plain": functools.partial(contrastive_loss.loss, gather=gather),
        "tiled": functools.partial(tiled.loss, **options),
        "ring": functools.partial(ring.loss, **options),
    }
    name, batch = config.loss.impl, config.batch
    if name == "auto":
        pairs = np.count_nonzero(np.triu(weights_mm + weights_mm.T))
        gathered = len(weights_mm) * batch * config.dim * (itemsize + 4)
        if 4 * pairs * batch**2 // mesh.size <= PLAIN_BYTES:
            name = "plain"
        else:
            name = "ring" if mesh.size > 1 and gathered > GATHERED_BYTES else "tiled"
    if name not in known:
        raise ValueError(
            f"config.loss.impl: got {name!r}; allowed: auto, {', '.join(known)}"
        )
    return known[name]


def pair_weights(names: tuple[str, ...], loss: Any) -> np.ndarray:
    """The (m, m) weight matrix that `config.loss.pairs` names.

    Raises:
      ValueError: unknown value, or a pivot that is no tower.
    """
    kind, _, pivot = loss.pairs.partition(":")
    if kind == "all_to_all" and not pivot:
        return contrastive_loss.all_to_all(names, include_self=loss.include_self)
    if kind == "pivot" and pivot:
        if loss.include_self:
            raise ValueError(
                "config.loss.include_self: got True with a pivot; allowed: all_to_all"
            )
        return contrastive_loss.pivot(names, pivot)
    raise ValueError(
        f"config.loss.pairs: got {loss.pairs!r};"
        f" allowed: all_to_all, pivot:<{'|'.join(names)}>"
    )


def fixed_temperatures(names: tuple[str, ...], fixed_tau: Any) -> tuple:
    """Symmetric (m, m) of `{"<a>-<b>": tau}`, 0 where tau is learned; () if all are.

    Raises:
      ValueError: a pair that is none of two towers, or a temperature not above 0.
    """
    fixed_mm = np.zeros((len(names),) * 2)
    for pair, tau in fixed_tau.items():
        a, _, b = pair.partition("-")
        if a not in names or b not in names or not tau > 0:
            raise ValueError(
                f"config.loss.fixed_tau: got {pair!r}: {tau}; allowed: <a>-<b> of"
                f" {', '.join(names)}, and a temperature above 0"
            )
        at = names.index(a), names.index(b)
        fixed_mm[at] = fixed_mm[at[::-1]] = tau
    return tuple(map(tuple, fixed_mm.tolist())) if fixed_tau else ()


def _named(
    names: tuple[str, ...],
    weights_mm: np.ndarray,
    pair_loss_mm: jax.Array,
    shared: dict[str, jax.Array | None],
) -> dict[str, jax.Array]:
    """Names loss/<a>-<b> by ordered pair, and by unordered pair what both share."""
    out = {}
    for a, query in enumerate(names):
        for b, key in enumerate(names):
            if weights_mm[a, b]:
                out[f"loss/{query}-{key}"] = pair_loss_mm[a, b]
            if a <= b and (weights_mm[a, b] or weights_mm[b, a]):
                for name, value_mm in shared.items():
                    if value_mm is not None:
                        out[f"{name}/{query}-{key}"] = value_mm[a, b]
    return out
