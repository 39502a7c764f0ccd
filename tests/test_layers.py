# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The house rules that can be read from the source: arrows, sizes, headers, bans."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "unigeo_jax"
SOURCES = ["unigeo_jax", "configs", "launch", "benchmarks", "tests"]
CONVERTER = "unigeo_jax/data/datasets/earth_sources.py"  # run once, never imported

# Which parts each part may import besides itself. A part is the first name below
# unigeo_jax; "" is unigeo_jax/__init__.py. What is absent here fails: a new part
# says where it stands.
ARROWS: dict[str, set[str]] = {
    "types": set(),
    "nn": {"types"},
    "modalities": {"nn", "outside", "types"},
    "model": {"modalities", "nn", "types"},
    "losses": {"types"},
    "tasks": {"model", "losses", "microbatch", "modalities", "nn", "types"},
    "microbatch": {"sharding", "types"},
    "sharding": {"types"},
    "optim": {"types"},
    "metrics": {"types"},
    "seams": set(),
    "extras": set(),
    "jsons": set(),
    "outside": set(),
    "checkpoint": {"jsons", "outside", "seams", "sharding", "types"},
    "goodput": set(),
    "skips": {"types"},
    "workdir": {"jsons", "types"},
    "host": set(),
    "watchdog": {"types"},
    "coordinates": set(),
    "data": {"coordinates", "extras", "jsons", "modalities", "outside", "types"},
    "pth": {"outside"},
    "evals": {"data", "extras", "jsons", "nn", "pth", "types"},
    "siglip": {"model", "modalities", "nn", "checkpoint", "jsons", "outside", "types"},
    "galleries": {"tasks", "data", "sharding", "types"},
    "stopping": {"tasks", "data", "sharding", "types"},
    "train": {
        *(
            "galleries",
            "stopping",
            "tasks",
            "optim",
            "sharding",
            "checkpoint",
            "metrics",
            "evals",
            "data",
        ),
        *("model", "losses", "modalities", "siglip", "watchdog", "workdir", "types"),
        *("goodput", "seams", "skips"),
    },
    "trained": {
        *("train", "tasks", "modalities", "checkpoint", "sharding", "data"),
        *("workdir", "types"),
    },
    "aot": {"train", "checkpoint", "modalities", "data", "sharding", "types"},
    # Only infer.py's raw texts and pictures need inputs.py, which needs Flax.
    "inputs": {"modalities"},
    "bundles": {"jsons", "outside"},
    "indices": {"jsons"},
    "infer": {"bundles", "coordinates", "indices", "inputs", "nn"},
    "cards": {"data"},
    "embed_table": {"geometries", "outside"},
    "explore": {"evals"},
    "geometries": {"extras", "jsons", "outside"},
    "grids": {"embed_table", "extras"},
    "geo_embedder": set(),
    "onnx_graph": {"extras"},
    "models": set(),
    "export": {
        *("trained", "modalities", "nn", "data", "workdir", "bundles"),
        *("cards", "domains", "fidelity", "onnx_graph", "types"),
    },
    "reexport": {"export", "bundles", "cards", "modalities", "workdir"},
    "surrogate": {"trained", "pth", "workdir"},
    "fidelity": {"data"},
    "domains": {"fidelity", "data"},
    "distill": {
        *("train", "trained", "tasks", "modalities", "nn", "data", "evals"),
        *("galleries", "domains", "fidelity", "sharding", "workdir", "types"),
    },
    "earth_encoder": {"trained", "distill", "modalities", "data", "workdir"},
    "": {"infer"},
}
# Single files that a part may import from a part it may not import as a whole.
READ = "tokenizer patches heights graph adjacency neighbours"
FILES_ALLOWED = {"modalities": {f"unigeo_jax.data.{name}" for name in READ.split()}}
# The path from coordinates to vectors stays light: what users without a GPU install.
LIGHT = ("__init__", "bundles", "coordinates", "indices", "infer", "jsons")
LIGHT += ("outside",)
INFER_THIRD_PARTY = {"jax", "numpy", "flatbuffers"}
BANNED = {"tensorflow", "pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve"}
MAX_FILE_LINES = 380
MAX_FUNCTION_LINES = 60
LONGER_FUNCTIONS = {("unigeo_jax/train.py", "loop"): 90}
HEADER = [
    "# SPDX-FileCopyrightText: 2026 The unigeo_jax authors",
    "# SPDX-License-Identifier: Apache-2.0",
]
# A path that exists on one machine only; web addresses have a letter before the slash.
MACHINE_PATH = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:work|farm|root|home)/[A-Za-z.]")


def python_files() -> list[Path]:
    found = [p for top in SOURCES for p in (ROOT / top).rglob("*.py")]
    return sorted([*found, ROOT / "setup.py"])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Lists (line, module) for each import anywhere in a file, function bodies too.

    `from unigeo_jax.nn import layers` counts as unigeo_jax.nn.layers where that is a
    module, and `importlib.import_module("name")` as an import of a constant name.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                found.append((node.lineno, "." * node.level + (node.module or "")))
                continue
            for alias in node.names:
                below = ROOT / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = below.is_dir() or below.with_suffix(".py").is_file()
                name = f"{node.module}.{alias.name}" if is_module else node.module
                found.append((node.lineno, str(name)))
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func)
            constant = node.args[0]
            dynamic = called in {"importlib.import_module", "__import__"}
            if dynamic and isinstance(constant, ast.Constant):
                found.append((node.lineno, str(constant.value)))
    return found


def test_relative_imports_are_not_used():
    bad = [
        f"{name_of(path)}:{line} {module}"
        for path in python_files()
        for line, module in imports_of(path)
        if module.startswith(".")
    ]
    assert bad == []


def test_arrows_between_the_parts_point_one_way():
    bad = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        own = part_of(name_of(path).removesuffix(".py").replace("/", "."))
        own = "" if own == "__init__" else own
        assert own in ARROWS, f"{name_of(path)}: say in ARROWS what {own} may import"
        for line, module in imports_of(path):
            if module.split(".")[0] != PACKAGE:
                continue
            if module in FILES_ALLOWED.get(own, set()):
                continue
            part = part_of(module)
            # The bare package is __init__.py: only the version is read from it.
            if part and part != own and part not in ARROWS[own]:
                bad.append(f"{name_of(path)}:{line} {own} may not import {module}")
    assert bad == []


def test_the_table_of_arrows_has_no_cycle_but_through_the_named_files():
    done: set[str] = set()
    while len(done) < len(ARROWS):
        ready = {p for p, needs in ARROWS.items() if p not in done and needs <= done}
        assert ready, f"these import each other: {sorted(set(ARROWS) - done)}"
        done |= ready


def test_evals_and_data_never_see_the_model_the_losses_or_the_trainer():
    for part in ("evals", "data"):
        seen: set[str] = set()
        todo = {part}
        while todo:
            seen |= todo
            todo = set().union(*(ARROWS[p] for p in todo)) - seen
        assert seen.isdisjoint({"model", "losses", "train", "tasks"}), (part, seen)


def test_configs_import_no_package_code():
    ours = {PACKAGE, "launch", "benchmarks", "tests"}
    bad = [
        f"{name_of(path)}:{line} {module}"
        for path in sorted((ROOT / "configs").rglob("*.py"))
        for line, module in imports_of(path)
        if module.split(".")[0] in ours
    ]
    assert bad == []


def test_the_package_imports_neither_launch_nor_configs_nor_tests():
    theirs = {"launch", "configs", "benchmarks", "tests"}
    bad = [
        f"{name_of(path)}:{line} {module}"
        for path in sorted((ROOT / PACKAGE).rglob("*.py"))
        for line, module in imports_of(path)
        if module.split(".")[0] in theirs
    ]
    assert bad == []


def test_inference_needs_jax_and_numpy_only():
    light = [ROOT / PACKAGE / f"{name}.py" for name in LIGHT]
    allowed = INFER_THIRD_PARTY | {PACKAGE} | sys.stdlib_module_names
    bad = [
        f"{name_of(path)}:{line} {module}"
        for path in light
        if path.exists()
        for line, module in imports_of(path)
        if module.split(".")[0] not in allowed
    ]
    assert bad == []


def test_importing_the_package_loads_no_third_party_module():
    code = (
        "import sys; before = set(sys.modules); import unigeo_jax; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names) - {'unigeo_jax'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


def test_no_file_imports_tensorflow_or_a_pickle_module():
    bad = []
    for path in python_files():
        name = name_of(path)
        if not name.startswith(("unigeo_jax/", "launch/", "configs/")):
            continue
        for line, module in imports_of(path):
            root = module.split(".")[0]
            if root in BANNED and not (root != "tensorflow" and name == CONVERTER):
                bad.append(f"{name}:{line} {module}")
    assert bad == []


def test_no_call_unpickles_on_the_side():
    bad = []
    for path in python_files():
        name = name_of(path)
        if name == CONVERTER:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in {"torch.load", "eval"} or called.endswith("read_pickle"):
                bad.append(f"{name}:{node.lineno} {called}")
            for word in node.keywords:
                true = isinstance(word.value, ast.Constant) and word.value.value is True
                if word.arg in {"allow_pickle", "shell"} and true:
                    bad.append(f"{name}:{node.lineno} {word.arg}=True")
    assert bad == []


def test_the_one_off_converter_is_imported_by_nothing_at_run_time():
    module = CONVERTER.removesuffix(".py").replace("/", ".")
    bad = [
        f"{name_of(path)}:{line}"
        for path in python_files()
        if name_of(path).startswith("unigeo_jax/") and name_of(path) != CONVERTER
        for line, imported in imports_of(path)
        if imported == module
    ]
    assert bad == []


def test_every_folder_of_modules_is_a_package_that_gets_installed():
    folders = {path.parent for path in (ROOT / PACKAGE).rglob("*.py")}
    assert [
        name_of(f) for f in sorted(folders) if not (f / "__init__.py").exists()
    ] == []


def test_files_hold_one_idea_each():
    lines = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files()
    }
    assert {n: k for n, k in lines.items() if k > MAX_FILE_LINES} == {}


def test_functions_fit_on_a_screen():
    bad = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                key = (name_of(path), node.name)
                if size > LONGER_FUNCTIONS.get(key, MAX_FUNCTION_LINES):
                    bad.append(f"{name_of(path)}:{node.lineno} {node.name} {size}")
    assert bad == []


def test_no_file_is_called_utils():
    vague = {"utils", "util", "helpers", "misc"}
    assert [name_of(p) for p in python_files() if p.stem in vague] == []


def test_every_file_starts_with_the_licence_header():
    bad = [
        name_of(path)
        for path in python_files()
        if path.read_text(encoding="utf-8").splitlines()[:2] != HEADER
    ]
    assert bad == []


def test_no_file_holds_a_path_of_one_machine():
    texts = {".py", ".md", ".toml", ".txt", ".json", ".sh", ".cfg", ".yml", ".yaml", ""}
    tops = [*SOURCES, ".ci", "docs"]
    files = [p for top in tops for p in (ROOT / top).rglob("*") if p.is_file()]
    files += [p for p in ROOT.iterdir() if p.is_file()]
    bad = []
    for path in files:
        if path.suffix not in texts or "__pycache__" in path.parts:
            continue
        if path.stat().st_size > 4_000_000:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATH.search(line):
                bad.append(f"{name_of(path)}:{number}")
    assert bad == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from unigeo_jax.nn import layers", "unigeo_jax.nn"),
        ("def f():\n    import tensorflow as tf", "tensorflow"),
        ("import importlib\nimportlib.import_module('pickle')", "pickle"),
        ("from . import model", "."),
    ],
)
def test_the_reader_of_imports_sees_every_way_of_writing_one(
    source, expected, tmp_path
):
    path = tmp_path / "example.py"
    path.write_text(source, encoding="utf-8")
    assert any(module.startswith(expected) for _, module in imports_of(path))
