# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The wheel in a bare environment with the network off: the parts of wheel.py."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

from benchmarks import protocol

LIGHT = (
    *("jax", "jaxlib", "numpy", "numpy.libs", "ml_dtypes", "opt_einsum", "scipy"),
    *("scipy.libs", "flatbuffers"),
)
LINES = """
import json, socket, sys, time
def refuse(*_, **__): raise OSError("the network is off")
socket.socket.connect = socket.create_connection = refuse
began = time.perf_counter()
import unigeo_jax
enc = unigeo_jax.load(sys.argv[1])
loaded = time.perf_counter()
z = enc.embed(lat=[48.86], lon=[2.35])
print(json.dumps({"load_s": loaded - began, "first_s": time.perf_counter() - loaded,
                  "shape": z.shape, "dtype": str(z.dtype), "file": unigeo_jax.__file__,
                  "norm": float((z * z).sum() ** 0.5)}))
"""


def build(folder: pathlib.Path) -> pathlib.Path:
    """The wheel of a copy of the tracked files, so that nothing is left in the tree."""
    copy = folder / "source"
    names = ["setup.py", "pyproject.toml", "README.md", "LICENSE", "unigeo_jax"]
    for name in names:
        path = protocol.ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=ignore)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(path, copy / name)
    _pip(sys.executable, "wheel", "--no-deps", "-w", folder / "dist", copy)
    (wheel,) = (folder / "dist").glob("unigeo_jax-*.whl")
    return wheel


def install(folder: pathlib.Path, wheel: pathlib.Path, quick: bool) -> pathlib.Path:
    """A new environment with the wheel; returns its Python."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    _pip(python, "install", *(["--no-deps"] if quick else []), wheel)
    if quick:
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        for name in LIGHT:
            found = importlib.util.find_spec(name.partition(".")[0])
            assert found and found.origin, f"{name} is not installed here"
            path = pathlib.Path(found.origin).parents[1] / name
            if path.exists():
                (site / name).symlink_to(path)
    return python


def embed(python: pathlib.Path, model: str, folder: pathlib.Path) -> dict:
    """Run the three lines away from the sources, offline; raises RuntimeError."""
    command = [str(python), "-I", "-c", LINES, model]
    apart = ["unshare", "-rn"]
    try:
        alone = subprocess.run([*apart, "true"], capture_output=True).returncode == 0
    except OSError:
        alone = False
    ran = subprocess.run(
        [*(apart if alone else []), *command],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", "HOME": str(folder)},
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])
    how = "network namespace" if alone else "sockets refused"
    return json.loads(ran.stdout.splitlines()[-1]) | {"offline": how}


def _pip(python: pathlib.Path | str, *words: pathlib.Path | str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    ran = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"pip {words[0]}: {ran.stderr[-2000:]}")


def measure(model: str, quick: bool) -> dict:
    """The whole way in a scratch folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        wheel = build(folder)
        python = install(folder, wheel, quick)
        name = str(pathlib.Path(model).resolve()) if "/" in model else model
        found = embed(python, name, folder)
        if folder.resolve() not in pathlib.Path(found.pop("file")).resolve().parents:
            raise RuntimeError("not the installed package was imported")
        files = [p for p in (folder / "env").rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in files if not p.is_symlink())
        return found | {
            "wheel_bytes": wheel.stat().st_size,
            "installed_bytes": None if quick else size,
        }
