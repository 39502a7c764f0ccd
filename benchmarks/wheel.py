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

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags

from benchmarks import protocol, wheel_worker

MODEL = flags.DEFINE_string("model", "earth", "Name in the package, or a folder.")
QUICK = flags.DEFINE_bool("quick", False, "Without pip's downloads.")
OUT = flags.DEFINE_string("out", None, "Default runs/benchmarks/wheel.json.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    report = {"machine": protocol.machine(), "command": sys.argv, "quick": QUICK.value}
    report |= wheel_worker.measure(MODEL.value, QUICK.value)
    out = pathlib.Path(OUT.value or "runs/benchmarks/wheel.json")
    protocol.write(out, report)
    shown = {k: v for k, v in report.items() if k not in ("machine", "command")}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    app.run(main)
