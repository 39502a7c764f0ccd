# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder in other formats: ONNX of the encoder in the package, for example.

Neither the run nor the dataset it came from is needed, only Flax.
"""

import functools
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError
from ml_collections import ConfigDict

from unigeo_jax import bundles, cards, export, modalities, workdir


def run(
    model: str | pathlib.Path,
    out: pathlib.Path,
    formats: Sequence[str] = export.FORMATS,
) -> dict[str, Any]:
    """Write a model folder, or a model of the package, to `out`; return its config.

    Its towers are built anew from config.json and the weights. The weights are copied
    as they are, and so is all else but programs and ONNX files; the card keeps its
    words. `out` appears whole, by a rename, and must not be there before.

    Raises:
      ValueError: no such model or format, an altered one, one whose config.json does
        not say how a tower is built, or `out` is there already.
    """
    export.check(out, formats)
    folder = bundles.find(model)
    about = bundles.read_config(folder)
    bundles.check_hashes(folder, about, list(about["files"]))
    weights = bundles.read_safetensors(folder / about["weights"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    with export.whole(out) as part:
        for name in about["files"]:
            if not name.endswith((".jax", ".onnx")):
                shutil.copyfile(folder / name, part / name)
        for name in about["towers"]:
            function, spec, held = rebuilt(name, about, weights)
            export.programs(part, name, function, held, spec, formats, about)
        about["files"] = export.hashes(part)
        export.finish(part, about, cards.go_on(card, about))
    return about


def rebuilt(
    name: str, about: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> tuple[Callable[[Mapping[str, Any], Any], jax.Array], Any, dict[str, np.ndarray]]:
    """Of a tower: (weights, x) -> float32 (b, d), an example of x, and its weights.

    Raises ValueError where config.json does not say how to build it. A module that is
    not of this package is not imported: a folder may come from anywhere.
    """
    entry = about["towers"][name]
    try:
        held = {key: weights[key] for key in entry["weights"]}
        if list(held) == [f"{name}.nodes"]:
            leaf = entry["input"]["node"]
            example = {"node": np.zeros(leaf["shape"], leaf["dtype"])}
            return export.look_up(name), example, held
        if entry["module"] not in modalities.available():
            raise ValueError(f"module {entry['module']!r} is not of this package")
        tree: dict[str, Any] = {}
        for key, value in held.items():
            *path, last = key.removeprefix(f"{name}.").split(".")
            at = functools.reduce(lambda at, k: at.setdefault(k, {}), path, tree)
            at[last] = value
        config = workdir.tuples(ConfigDict(about["training"]))
        function, spec = export.embedder(config, name, tree)
        one = jax.tree.map(lambda a: a[None], spec)
        jax.eval_shape(function, held, one)  # the weights fit the module
    except (KeyError, TypeError, AttributeError, ValueError, FlaxError) as error:
        raise ValueError(
            f"model {about['model_id']}: tower {name} cannot be built from config.json"
            f" and weights: {error!r}; allowed: a folder that launch/export.py wrote"
        ) from error
    return function, spec, held
