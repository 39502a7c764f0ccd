# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where arrays live: one mesh with axes `data` and `fsdp`, and one rule by shape.

The batch is split over both axes, parameters and optimiser moments over `fsdp`.
Everything is jit + NamedSharding; the compiler places the collectives.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH_AXES = ("data", "fsdp")
MIN_FSDP_SIZE = 2**16  # smaller arrays are cheaper replicated than gathered


def start_processes(
    coordinator: str | None = None,
    count: int | None = None,
    number: int | None = None,
    detect: bool = False,
    heartbeat_s: int = 60,
    join_s: int = 300,
) -> None:
    """Joins a job of several processes, where there is one; else does nothing.

    Args:
      coordinator: host:port of process 0, with
      count: the processes of the job and
      number: the number of this one; or
      detect: TPU pods and SLURM steps, which tell JAX all three.
      heartbeat_s: a process that is silent for so long, in seconds, is dead: JAX
        then ends all others.
      join_s: seconds that each process waits for the others to join.

    Raises:
      OSError: a process has not joined in time; the message names it.
      ValueError: some of the first three without the others, or nothing to detect.
    """
    given = [x is not None for x in (coordinator, count, number)]
    if any(given) and not all(given):
        raise ValueError(
            f"got coordinator={coordinator}, num_processes={count},"
            f" process_id={number}; allowed: all three or none"
        )
    limits: dict[str, Any] = {"heartbeat_timeout_seconds": heartbeat_s}
    limits["initialization_timeout"] = join_s
    if coordinator is not None:
        try:
            jax.distributed.initialize(coordinator, count, number, **limits)
        except RuntimeError as error:
            raise OSError(
                f"process {number} of {count}: not all processes have joined at"
                f" {coordinator} within {join_s} s: {error}"
            ) from error
    elif detect:
        try:
            jax.distributed.initialize(**limits)
        except ValueError as error:
            raise ValueError(
                "--distributed: no TPU pod, SLURM step or other cluster that JAX knows"
                f" ({error}); give --coordinator, --num_processes, --process_id"
            ) from error


def make_mesh(
    data: int = -1, fsdp: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """Lays devices, by default all of the job, on a (data, fsdp) grid.

    Where the devices are of several slices (TPU pods, groups of GPUs with a network of
    their own), `data` goes across slices and `fsdp` stays within one: parameters are
    gathered over the fast network only.

    Args:
      data: devices along the batch axis; -1 takes all that `fsdp` leaves.
      fsdp: devices over which parameters are split as well.
      devices: for tests and partial jobs.

    Raises:
      ValueError: the two do not multiply to the number of devices, or fsdp does not
        divide those of a slice.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if fsdp < 1 or (data < 1 and data != -1):
        raise ValueError(
            f"config.mesh: got data={data}, fsdp={fsdp};"
            " allowed: fsdp >= 1, data >= 1 or -1 (the rest)"
        )
    if data == -1:
        data = max(count // fsdp, 1)
    if data * fsdp != count:
        raise ValueError(
            f"config.mesh: data={data} x fsdp={fsdp} needs {data * fsdp} devices,"
            f" this job has {count}; data=-1 takes what fsdp leaves"
        )
    # Auto axes: the default, Explicit, makes plain sharded products and Linen's
    # Embed raise.
    auto = (AxisType.Auto,) * 2
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return jax.make_mesh((data, fsdp), BATCH_AXES, axis_types=auto, devices=devices)
    if count % slices or (count // slices) % fsdp:
        raise ValueError(
            f"config.mesh: got fsdp={fsdp};"
            f" allowed: a divisor of the {count // slices} devices of a slice"
            f" ({slices} slices), because parameters are not split across slices"
        )
    grid = mesh_utils.create_hybrid_device_mesh(
        (count // slices // fsdp, fsdp),
        (slices, 1),
        devices,
        allow_split_physical_axes=True,
    )
    return Mesh(grid, BATCH_AXES, axis_types=auto)


def check(config: Any, mesh: Mesh) -> None:
    """Raises ValueError for numbers in `config` that cannot be trained with."""
    for key in ("steps", "batch", "log_every", "max_skips"):
        if config[key] < 1:
            raise ValueError(f"config.{key}: got {config[key]}; allowed: 1 or more")
    if config.batch % mesh.size:
        raise ValueError(
            f"config.batch: got {config.batch}; "
            f"allowed: a multiple of {mesh.size} devices"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis over all devices, the rest whole."""
    return NamedSharding(mesh, P(BATCH_AXES))


def fsdp_spec(shape: tuple[int, ...], axis_size: int) -> P:
    """Splits the largest dimension that `axis_size` divides, else replicates.

    Among equal dimensions the last one is taken. Arrays under MIN_FSDP_SIZE
    elements stay whole.
    """
    if axis_size == 1 or int(np.prod(shape)) < MIN_FSDP_SIZE:
        return P()
    divisible = [(n, i) for i, n in enumerate(shape) if n % axis_size == 0]
    if not divisible:
        return P()
    _, axis = max(divisible)
    return P(*("fsdp" if i == axis else None for i in range(axis + 1)))


def state_shardings(abstract: Any, mesh: Mesh) -> Any:
    """NamedSharding for every leaf of an abstract (eval_shape) state."""
    size = mesh.shape["fsdp"]
    return jax.tree.map(
        lambda x: NamedSharding(mesh, fsdp_spec(x.shape, size)), abstract
    )


def on_whole(function: Callable, mesh: Mesh) -> Callable:
    """`function(params, ...)` with all of every parameter on each device.

    What is split over `fsdp` is gathered where it is used, its gradient is split again.
    Left alone, the compiler multiplies by the parts of a matrix and gathers the
    activations of the global batch for that (seen in compiled programs).
    """
    if mesh.shape["fsdp"] == 1:
        return function

    @jax.custom_vjp
    def whole(x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, replicated(mesh))

    def backward(_: None, grad: jax.Array) -> tuple[jax.Array]:
        split = NamedSharding(mesh, fsdp_spec(grad.shape, mesh.shape["fsdp"]))
        return (jax.lax.with_sharding_constraint(grad, split),)

    whole.defvjp(lambda x: (whole(x), None), backward)
    return lambda params, *args: function(jax.tree.map(whole, params), *args)


def place(constants: Any, mesh: Mesh) -> Any:
    """Copies host arrays to the devices, once: see `constant_shardings`."""
    return jax.tree.map(
        lambda x, s: jax.make_array_from_callback(x.shape, s, lambda at: x[at]),
        constants,
        constant_shardings(constants, mesh),
    )


def constant_shardings(constants: Any, mesh: Mesh) -> Any:
    """Rows over all devices for what lies in a dict named `rows`, the rest whole.

    Raises:
      ValueError: rows that the devices do not divide.
    """

    def rule(path: tuple[Any, ...], x: Any) -> NamedSharding:
        names = [getattr(key, "key", None) for key in path]
        if "rows" not in names:
            return replicated(mesh)
        if x.shape[0] % mesh.size:
            raise ValueError(
                f"constants {'/'.join(map(str, names))}: got {x.shape[0]} rows;"
                f" allowed: a multiple of {mesh.size} devices"
            )
        return batch_sharding(mesh)

    return jax.tree_util.tree_map_with_path(rule, constants)


def to_global(batch: Any, mesh: Mesh) -> Any:
    """Assembles each process's host rows into arrays of the global batch."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
        batch,
    )
