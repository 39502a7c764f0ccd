# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How near a student's vectors come to its teacher's.

cosine: mean over places. r2: 1 - squared error / squared deviation from the mean of the
training targets, each dimension in units of its own deviation there, all together; 0 is
what the mean vector scores, below 0 is worse. n: places. Letters: `n` places,
`d` dimensions, `i` places to compare with.
"""

import itertools
from typing import Any

import numpy as np
import scipy.spatial

from unigeo_jax.data import splits

EDGES_KM = (0.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, np.inf)


def measure(
    z_nd: np.ndarray, target_nd: np.ndarray, training_id: np.ndarray | None = None
) -> dict[str, Any]:
    """Returns {"cosine", "r2", "n"}; `training_id`: training targets, default these."""
    spread_id = target_nd if training_id is None else training_id
    mean_d, scale_d = spread_id.mean(0), np.maximum(spread_id.std(0), 1e-6)
    error = np.square((z_nd - target_nd) / scale_d).sum()
    deviation = np.square((target_nd - mean_d) / scale_d).sum()
    norms_n = np.linalg.norm(z_nd, axis=1) * np.linalg.norm(target_nd, axis=1)
    cosine_n = np.sum(z_nd * target_nd, 1) / np.maximum(norms_n, 1e-12)
    return {
        "cosine": float(cosine_n.mean()),
        "r2": float(1 - error / deviation) if deviation > 0 else None,
        "n": len(z_nd),
    }


def by_distance(
    z_nd: np.ndarray, target_nd: np.ndarray, km_n: np.ndarray, training_id: np.ndarray
) -> dict[str, dict[str, Any]]:
    """`measure` by distance to the nearest training place: {"5-10": ...}, in km."""
    found = {}
    for low, high in itertools.pairwise(EDGES_KM):
        rows = (km_n >= low) & (km_n < high)
        name = f"{low:g}-{high:g}" if np.isfinite(high) else f"over {low:g}"
        if rows.any():
            found[name] = measure(z_nd[rows], target_nd[rows], training_id)
    return found


def nearest_km(
    lat_n: np.ndarray, lon_n: np.ndarray, lat_i: np.ndarray, lon_i: np.ndarray
) -> np.ndarray:
    """Great-circle distance to the nearest of the places i: (n,)."""
    tree = scipy.spatial.KDTree(splits.unit_vectors(lat_i, lon_i))
    chord_n, _ = tree.query(splits.unit_vectors(lat_n, lon_n))
    return 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.minimum(chord_n / 2, 1))


def to_others_km(lat_n: np.ndarray, lon_n: np.ndarray) -> np.ndarray:
    """Great-circle distance of each place to the nearest other one: (n,)."""
    at_n3 = splits.unit_vectors(lat_n, lon_n)
    chord_n = scipy.spatial.KDTree(at_n3).query(at_n3, k=2)[0][:, 1]
    return 2 * splits.EARTH_RADIUS_KM * np.arcsin(np.minimum(chord_n / 2, 1))


def table(found: dict[str, Any]) -> str:
    """The report for people; distances are those of the held-out places."""
    named = {
        "kept": "the student that is kept, all places",
        "seen": "measured student, places it saw",
        "held_out": "measured student, held out",
    }
    rows = [(text, found[key]) for key, text in named.items() if key in found]
    rows += [
        (f"  {name} km from a training place", score)
        for name, score in found.get("held_out_by_km", {}).items()
    ]
    lines = [f"{'fidelity to the teacher':<40}{'cosine':>8}{'R2':>8}{'places':>9}"]
    for text, score in rows:
        r2 = "-" if score["r2"] is None else f"{score['r2']:.3f}"
        lines.append(f"{text:<40}{score['cosine']:8.3f}{r2:>8}{score['n']:9,}")
    return "\n".join(lines)
