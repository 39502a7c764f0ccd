# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the wheel, installs it in a bare environment and embeds there, offline.

python benchmarks/wheel.py [--model=earth]   pip downloads what the wheel asks for
python benchmarks/wheel.py --quick           only the wheel, beside jax and numpy alone

The three lines of the README then run with the network off: in a network namespace of
their own (`unshare -rn`) where the system allows it, and always with every socket
refused. --quick makes jax, numpy and what these import from this environment visible,
and nothing else. Writes --out: {"wheel_bytes", "installed_bytes", "offline",
"load_s", "first_s", "shape", ...}.
"""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from benchmarks import protocol

MODEL = flags.DEFINE_string("model", "earth", "Name in the package, or a folder.")
QUICK = flags.DEFINE_bool("quick", False, "Without pip's downloads.")
OUT = flags.DEFINE_string("out", None, "Default runs/benchmarks/wheel.json.")
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


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    report = {"machine": protocol.machine(), "command": sys.argv, "quick": QUICK.value}
    report |= measure(MODEL.value, QUICK.value)
    out = pathlib.Path(OUT.value or "runs/benchmarks/wheel.json")
    protocol.write(out, report)
    shown = {k: v for k, v in report.items() if k not in ("machine", "command")}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    app.run(main)
