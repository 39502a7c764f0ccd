# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Configs of others: data only, as `config.json` of a run; a Python config is code."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from configs import common
from unigeo_jax import jsons

MAX_BYTES = 1_000_000
FREE = ("name", "towers")  # keys with a form of their own
TOWER = common.tower({}, {})


def read(path: pathlib.Path) -> ConfigDict:
    """The config in a JSON file: what configs/common.py knows, and no other key.

    Takes a file of a config, or a workdir's config.json with the config inside. Towers
    are modalities of this package only: no module of another name is imported.

    Raises:
      ValueError: no JSON, too large, a key that is unknown or missing, a value of
        another type, a tower of no modality here; the message names the key.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        found = jsons.read(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"--config_json {path}: {error}") from error
    if isinstance(found, dict) and isinstance(found.get("config"), dict):
        found = found["config"]
    if not isinstance(found, dict):
        raise ValueError(f"--config_json {path}: allowed: an object with keys")
    known = json.loads(common.training("mini").to_json())
    _compare(str(path), "", {k: v for k, v in found.items() if k not in FREE}, known)
    towers = found.get("towers")
    if not isinstance(towers, dict) or not towers:
        raise ValueError(f"--config_json {path}: towers: allowed: one or more")
    for name, tower in towers.items():
        _tower(str(path), name, tower)
    found["name"] = _file_name(found.get("name", path.stem))
    return ConfigDict(_tuples(found)).lock()


def _compare(path: str, prefix: str, found: Any, known: Any) -> None:
    """Raises ValueError where keys or types differ; free where `known` is {}."""
    if isinstance(known, dict):
        if not isinstance(found, dict):
            raise ValueError(f"--config_json {path}: {prefix}: allowed: an object")
        if not known:
            return
        unknown, missing = sorted({*found} - {*known}), sorted({*known} - {*found})
        if unknown or missing:
            raise ValueError(
                f"--config_json {path}: {prefix or 'top level'}: unknown keys"
                f" {unknown}, missing keys {missing}"
            )
        for key, value in known.items():
            _compare(path, f"{prefix}.{key}".lstrip("."), found[key], value)
    elif isinstance(known, bool) or isinstance(found, bool):
        _expect(path, prefix, found, type(found) is type(known), known)
    elif isinstance(known, int | float):
        whole = isinstance(known, float) or isinstance(found, int)
        _expect(path, prefix, found, isinstance(found, int | float) and whole, known)
    else:
        _expect(path, prefix, found, isinstance(found, type(known)), known)


def _expect(path: str, key: str, found: Any, holds: bool, known: Any) -> None:
    if not holds:
        raise ValueError(
            f"--config_json {path}: {key}: got {str(found)[:80]!r};"
            f" allowed: {type(known).__name__}, as {known!r}"
        )


def _tower(path: str, name: str, tower: Any) -> None:
    from unigeo_jax import modalities

    _compare(path, f"towers.{name}", tower, TOWER)
    module = tower["module"] or name
    folder = pathlib.Path(modalities.__file__).parent
    there = sorted(p.stem for p in folder.glob("[a-z]*.py"))
    if module not in there:
        raise ValueError(
            f"--config_json {path}: towers.{name}.module: got {str(module)[:80]!r};"
            f" allowed: {', '.join(there)}"
        )


def _file_name(name: Any) -> str:
    """A name that is one part of a path and nothing else."""
    text = "".join(c for c in str(name) if c.isalnum() or c in "-_.=")[:100]
    return text.lstrip(".") or "shared"


def _tuples(value: Any) -> Any:
    """Lists as tuples: Linen wants hashable fields."""
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
