# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder that is made in a moment: a drawn student, exported as any other."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from unigeo_jax import bundles, export
from unigeo_jax.modalities import student

CARDS = ("README", "config")


def program(net: Any, variables: Any) -> tuple[dict[str, Any], bytes]:
    """Weights of an encoder of coordinates by name, and the program that takes them."""
    structure = jax.tree.structure(variables)
    arrays = export.flatten(variables)
    names = list(arrays)

    def embed(weights, x):
        return net.apply(jax.tree.unflatten(structure, [weights[n] for n in names]), x)

    return arrays, export.program(embed, arrays, np.zeros(2, np.float32))


def write(folder: pathlib.Path, dim: int = 8) -> pathlib.Path:
    """Write programs, weights and config.json of an untrained student."""
    folder.mkdir(parents=True)
    options = {"sigmas": (1.0, 16.0), "frequencies": 4, "widths": (8,)}
    net = student.Encoder(dim, output="unit", **options)
    variables = jax.jit(net.init)(jax.random.key(0), np.zeros((1, 2), np.float32))
    arrays, data = program(net, variables)
    (folder / "coords.jax").write_bytes(data)
    safetensors.numpy.save_file(arrays, folder / export.WEIGHTS)
    tower = {"module": "student", "dim": dim, "data": {}, "weights": sorted(arrays)}
    tower |= {"input": {"dtype": "float32", "shape": [2]}, "program": "coords.jax"}
    about = {
        **{"format_version": bundles.FORMAT, "model_id": "small", "dim": dim},
        **{"weights": export.WEIGHTS, "towers": {"coords": tower}, "places": None},
        **{"package_version": "0", "training_data": "none: drawn weights"},
        **{"training": {"task": "distillation"}, "files": export.hashes(folder)},
    }
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def weigh(folder: pathlib.Path, arrays: dict[str, Any]) -> None:
    """Give a model other weights."""
    safetensors.numpy.save_file(arrays, folder / export.WEIGHTS)
    about = json.loads((folder / "config.json").read_text())
    about["towers"]["coords"]["weights"] = sorted(arrays)
    rewrite(folder, about)


def rewrite(folder: pathlib.Path, about: dict[str, Any]) -> None:
    """Give a model another config.json, with the hashes of its files as they are."""
    files = export.hashes(folder)
    about["files"] = {
        k: v for k, v in files.items() if k.partition(".")[0] not in CARDS
    }
    (folder / "config.json").write_text(json.dumps(about))
