# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Times real spherical harmonics beside SatCLIP's generated closed forms.

python benchmarks/harmonics.py           8,192 coordinates, degrees 0 to 31, float32
python benchmarks/harmonics.py --quick   seconds: times mean nothing

The peer is the file that SatCLIP and MobCLIP share, one expression a harmonic, in torch
(pip install torch==2.13.0 rshf==0.2.2). Also measures the float32 error of ours against
float64 of ours at levels 32 and 40, at 200,000 coordinates, poles among them. Flags and
--out as in inference.py, whose rows it has.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app

from benchmarks import coordinates_worker, inference
from unigeo_jax.nn import harmonics

LEVELS = 32


def error(levels: int, count: int) -> float:
    """Largest float32 error of any harmonic, by jax as users call it."""
    import jax

    lat, lon = coordinates_worker.places(count)
    lat[:6], lat[6:12] = 90 - 10.0 ** -np.arange(6), 10.0 ** -np.arange(6) - 90
    lat[12:14] = 90, -90
    latlon = np.stack([lat, lon], -1).astype(np.float32)
    ours = jax.jit(lambda x: harmonics.real_harmonics(x, levels))
    found = 0.0
    for rows in np.array_split(latlon, max(count // 2000, 1)):
        exact = harmonics.real_harmonics(rows.astype(np.float64), levels)
        found = max(found, float(np.abs(np.asarray(ours(rows)) - exact).max()))
    return found


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    report = inference.begin()
    quick = inference.QUICK.value
    spec = {"side": "harmonics", "levels": LEVELS}
    variants = {
        "ours": spec | {"library": "jax"},
        "ours_numpy": spec | {"library": "numpy"},
        "closed_forms": spec | {"library": "rshf", "needs": ("torch", "rshf")},
    }
    size, repeats = (200, 2) if quick else (8192, inference.REPEATS.value)
    rows = inference.measure(variants, size, repeats)
    report["float32_error"] = {
        levels: error(levels, 2000 if quick else 200_000) for levels in (32, 40)
    }
    print("float32 error by levels:", report["float32_error"])
    inference.finish(rows, "ours", report, "harmonics")


if __name__ == "__main__":
    app.run(main)
