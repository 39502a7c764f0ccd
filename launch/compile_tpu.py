# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles the training step of a config for a TPU topology, on a machine without one.

python launch/compile_tpu.py --config=FILE.py[:arguments] --topology=v5e:4x4
    [--slices=N] [--out=FILE.json] [--config.KEY=VALUE]

Prints JSON, a chip and a step: bytes of memory (`hbm`), FLOPs and bytes of memory
traffic, collectives by kind (`dcn-...` between slices), a roofline in seconds from
published peak figures, and `fits`. mfu is 3 x the FLOPs of the forward pass's products
/ (peak x step_s), with no credit for recomputation.
Needs libtpu: pip install 'unigeo-jax[tpu]'.

Exit codes: 0 compiled, or does not fit (`fits` tells), 1 error, 2 usage.
"""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import sys

# Configs import each other as `configs.<name>`, from wherever the command is run.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging
from ml_collections import config_flags

from launch import errors

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "FILE.py[:arguments]", lock_config=True
)
TOPOLOGY = flags.DEFINE_string("topology", None, "CHIP:SHAPE, as v5e:4x4, v5p:2x2x2.")
SLICES = flags.DEFINE_integer("slices", 1, "TPU slices of this topology.")
OUT = flags.DEFINE_string("out", None, "JSON file to write as well.")

# Dimensions of a shape; the accelerator's name and what it counts a chip; options.
# A v4 chip without megacore would be two devices.
TOPOLOGIES = {
    "v4": (3, "v4-", 2, {"chip_config_name": "megacore"}),
    "v5e": (2, "v5litepod-", 1, {}),
    "v5p": (3, "v5p-", 2, {}),
    "v6e": (2, "v6e-", 1, {}),
}


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it becomes one line and exit 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
        if CONFIG.value is None:
            raise ValueError("--config=FILE.py is required: try configs/five_modal.py")
        if SLICES.value < 1:
            raise ValueError(f"--slices: got {SLICES.value}; allowed: 1 or more")
        _ = CONFIG.value.name, read_topology(TOPOLOGY.value)
    except errors.USAGE as error:
        errors.usage(error)
    return rest


def read_topology(text: str | None) -> tuple[str, list[int]]:
    """'v5e:4x4' as its chip and its shape.

    Raises:
      ValueError: another form, chip or number of dimensions.
    """
    found = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", text or "")
    if found and found[1] in TOPOLOGIES:
        shape = [int(n) for n in found[2].split("x")]
        if len(shape) == TOPOLOGIES[found[1]][0] and 0 not in shape:
            return found[1], shape
    forms = (f"{chip}:{'x'.join('ABC'[:n])}" for chip, (n, *_) in TOPOLOGIES.items())
    raise ValueError(
        f"--topology: got {text}; allowed: {', '.join(forms)}, as v5e:4x4 or v5p:2x2x2"
    )


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)
    if importlib.util.find_spec("libtpu") is None:
        missing = "libtpu is not installed: pip install 'unigeo-jax[tpu]'"
        sys.exit(errors.fail(missing, 1))
    chip, shape = read_topology(TOPOLOGY.value)
    devices = topology_devices(chip, shape, SLICES.value)

    from unigeo_jax import sharding
    from unigeo_jax.aot import report

    config = CONFIG.value
    if config.dtype == "auto":  # would be that of this machine
        config.dtype = "bfloat16"
    try:
        mesh = sharding.make_mesh(**config.mesh, devices=devices)
        found = report.report(config, mesh, report.CHIPS[chip])
    except ValueError as error:
        import jax

        if isinstance(error, jax.errors.JAXTypeError):
            raise
        sys.exit(errors.fail(error, 1))
    about = {
        "config": config.name,
        "topology": TOPOLOGY.value,
        "slices": SLICES.value,
        "chips": mesh.size,
        "mesh": dict(mesh.shape),
        "batch": config.batch,
        "dtype": config.dtype,
        "versions": {name: version(name) for name in ("jax", "libtpu")},
    }
    text = json.dumps(about | found, indent=2)
    print(text)
    if OUT.value:
        pathlib.Path(OUT.value).write_text(text + "\n", encoding="utf-8")


def topology_devices(chip: str, shape: list[int], slices: int) -> list:
    """Devices to compile for; exits with 2 where there is no such topology."""
    _, accelerator, cores, options = TOPOLOGIES[chip]
    count = cores
    for n in shape:
        count *= n
    # Read by jax and libtpu when they start; the last two keep libtpu from looking
    # for its pod and from refusing a second process.
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": f"{accelerator}{count}",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    }
    import jax
    from jax.experimental import topologies

    if slices > 1:
        options = options | {"num_slices": slices}
    try:
        name = TOPOLOGY.value or ""
        found = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0]
        sys.exit(errors.fail(f"--topology: got {TOPOLOGY.value}; libtpu: {said}", 2))
    return found.devices


def version(name: str) -> str:
    return importlib.metadata.version(name)


if __name__ == "__main__":
    app.run(main, flags_parser=read_flags)
