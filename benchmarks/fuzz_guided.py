# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the parsers of outside files guided by coverage: libFuzzer, through Atheris.

pip install "atheris>=3"
python benchmarks/fuzz_guided.py [--inputs=20000] [--seed=0] [--only NAME ...] [--out=F]

The parsers, their whole files and their mutations are those of benchmarks/fuzz.py. Here
the code of the package, its command lines and Pillow is instrumented as it is imported:
an input that reaches a new branch, or comes closer to a comparison, joins the corpus
and is changed further, half of the time by the mutations that know the format, half by
libFuzzer's. Each parser has a process of its own, ended by its first exception out of
contract, crash, input over --seconds or memory over --memory; the input is kept under
--keep. Prints and writes what was run, and coverage at the start and at the end.
"""

import argparse
import contextlib
import importlib
import logging
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import protocol
from benchmarks.fuzz_mutations import mutate_bytes

LONGEST = 2**16  # bytes of an input
OURS = ("unigeo_jax", "launch", "PIL")
# What libFuzzer prints once the corpus is read, for each addition, and at its end.
LINE = re.compile(
    r"^#(\d+)\s+(\w+)\s+(?:cov: (\d+) ft: (\d+) )?corp: (\d+)/", re.MULTILINE
)


def child(options: argparse.Namespace, rest: list[str]) -> None:
    """Runs libFuzzer on one parser; never returns."""
    import atheris

    ours = [*OURS, options.targets.split(".")[0]]
    with atheris.instrument_imports(include=ours):  # pyright: ignore
        module = importlib.import_module(options.targets)
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    target = module.targets(pathlib.Path(options.scratch))[options.child]
    change = target.mutate or mutate_bytes

    def once(data: bytes) -> None:
        with contextlib.suppress(*target.allowed):
            target.parse(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        try:
            # A corpus may hold what its format's own mutation cannot take apart.
            changed = change(data, draw) if draw.random() < 0.5 else None
        except Exception:
            changed = None
        return atheris.Mutate(data, most) if changed is None else changed[:most]

    for seed in target.seeds:  # so that code loads and tables fill before the count
        once(seed)
    atheris.Setup([sys.argv[0], *rest], once, custom_mutator=mutate)
    atheris.Fuzz()


def guided(
    name: str, seeds: list[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """One parser in a process of its own: what was run, and why it ended if early."""
    with tempfile.TemporaryDirectory(dir=protocol.memory_disk()) as folder:
        corpus = pathlib.Path(folder, "corpus")
        corpus.mkdir()
        pathlib.Path(folder, "files").mkdir()
        for i, seed in enumerate(seeds):
            (corpus / str(i)).write_bytes(seed)
        options.keep.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            __file__,
            f"--child={name}",
            f"--scratch={folder}/files",
        ]
        command += [f"--targets={options.targets}", "--", str(corpus)]
        command += [f"-runs={options.inputs}", f"-seed={options.seed + 1}"]
        command += [f"-max_len={LONGEST}", f"-timeout={options.seconds}"]
        command += [f"-rss_limit_mb={options.memory}", "-detect_leaks=0"]
        command += [f"-artifact_prefix={options.keep / name.replace(' ', '_')}-"]
        began = time.monotonic()
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
    text = ran.stderr + ran.stdout
    lines = LINE.findall(text)
    if not lines:
        raise RuntimeError(
            f"{name}: libFuzzer did not start (exit {ran.returncode}):\n{text}"
        )
    first = next((line for line in lines if line[1] == "INITED"), lines[0])
    last = lines[-1]
    return {
        "inputs": int(last[0]),
        "seconds": time.monotonic() - began,
        "features": [int(first[3] or 0), int(last[3] or 0)],
        "corpus": [len(seeds), int(last[4])],
        "bad": text[-4000:] if ran.returncode else "",
    }


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="a parser")
    parser.add_argument("--quick", action="store_true", help="500 inputs a parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=2048, help="MB of a process")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=pathlib.Path, default="runs/fuzz_guided.json")
    parser.add_argument("--keep", type=pathlib.Path, default="runs/fuzz_guided")
    parser.add_argument(
        "--targets", default="benchmarks.fuzz_targets", help="a module of targets"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:at])
    if options.quick:
        options.inputs = 500
    return options, sys.argv[at + 1 :]


def main() -> None:
    options, rest = parse_options()
    if options.child:
        return child(options, rest)
    module = importlib.import_module(options.targets)
    with tempfile.TemporaryDirectory(dir=protocol.memory_disk()) as folder:
        seeds = {k: t.seeds for k, t in module.targets(pathlib.Path(folder)).items()}
    unknown = {*options.only} - {*seeds}
    if unknown:
        sys.exit(f"--only={sorted(unknown)}: expected of {sorted(seeds)}")
    print(
        f"{'parser':16}{'inputs':>10}{'features':>16}{'corpus':>13}{'bad':>5}   per s"
    )
    rows = {}
    for name in options.only or seeds:
        row = rows[name] = guided(name, seeds[name], options)
        print(
            f"{name:16}{row['inputs']:10,}"
            f"{row['features'][0]:8} > {row['features'][1]:5}"
            f"{row['corpus'][0]:5} > {row['corpus'][1]:5}{1 if row['bad'] else 0:5}"
            f"   {row['inputs'] / row['seconds']:,.0f}",
            flush=True,
        )
        if row["bad"]:
            print(row["bad"])
    print(f"{sum(row['inputs'] for row in rows.values()):,} inputs")
    protocol.write(options.out, {"rows": rows, "machine": protocol.machine()})
    sys.exit(1 if any(row["bad"] for row in rows.values()) else 0)


if __name__ == "__main__":
    main()
