# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A process that encodes coordinates one way, for inference.py and harmonics.py."""

import importlib
import importlib.util
import json
import pathlib
import sys
import time
import types
import warnings
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import protocol


def places(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform on the sphere, degrees, float64, always the same."""
    rng = np.random.default_rng(0)
    lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, count)))
    return lat, rng.uniform(-180, 180, count)


def student(count: int, folder: str) -> protocol.Work:
    """The student in `folder`, or one of configs/distill.py, 128-d, with drawn weights.

    The time is the same: it does not depend on the values of the weights.
    """
    import jax

    from configs import distill as config_file
    from unigeo_jax import distill, tasks, trained

    if folder:
        config, params, *_ = trained.restore(pathlib.Path(folder))
    else:
        config: Any = config_file.get_config()
        config.dim, config.towers.coords.net.output = 128, "raw"
        model = tasks.build_model(config, np.dtype("float32"))
        x = {"coords": np.zeros((1, 2), np.float32)}
        params = tasks.first_params(model, jax.random.key(0), x, {})
    embed, at = distill.embedder(config, params), places(count)
    return work(lambda: embed(*at))


def packaged(count: int, model: str) -> protocol.Work:
    """A model that `unigeo_jax.load` opens, whole: degrees to vectors.

    Known before the first run: seconds of import and load in this fresh process, and
    milliseconds of one point, the median of 300 different ones.
    """
    began = time.perf_counter()
    import unigeo_jax

    enc = unigeo_jax.load(model)
    about = {"load_s": time.perf_counter() - began}
    lat, lon = places(max(count, 300))
    warnings.simplefilter("ignore", UserWarning)  # of places far from those trained on
    times = []
    for one in zip(lat[:300], lon[:300], strict=True):
        began = time.perf_counter()
        enc.embed(lat=one[0], lon=one[1])
        times.append(time.perf_counter() - began)
    about["latency_ms"] = 1000 * float(np.median(times))
    run = lambda: enc.embed(lat=lat[:count], lon=lon[:count])  # noqa: E731
    return work(run)._replace(about=about)


def geoclip(count: int, flush: bool) -> protocol.Work:
    """The location encoder of the wheel `geoclip` in torch, its weights, no gradient.

    Some of its numbers are subnormal, which processors take a hundred times longer
    for; `flush` makes them zero, which its users do not do by default.
    """
    torch = importlib.import_module("torch")
    torch.set_num_threads(protocol.cores())
    torch.set_flush_denormal(flush)
    for name in ("geoclip", "geoclip.model"):  # not their __init__: an image encoder
        found: Any = importlib.util.find_spec(name)
        bare = types.ModuleType(name)
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules[name] = bare
    module = importlib.import_module("geoclip.model.location_encoder")
    encoder = module.LocationEncoder().eval()
    latlon = torch.tensor(np.stack(places(count), -1), dtype=torch.float32)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([encoder(x).numpy() for x in latlon.split(4096)])

    return work(run)


def harmonics(count: int, levels: int, library: str) -> protocol.Work:
    """Ours by jax or numpy, or SatCLIP's generated expressions in the wheel `rshf`."""
    lat, lon = places(count)
    if library == "rshf":
        torch = importlib.import_module("torch")
        torch.set_num_threads(protocol.cores())
        module = importlib.import_module("rshf.satclip.spherical_harmonics")
        encoder = module.SphericalHarmonics(levels)
        lonlat = torch.tensor(np.stack([lon, lat], -1), dtype=torch.float32)
        return work(lambda: encoder(lonlat).numpy())
    import jax

    from unigeo_jax.nn import harmonics

    latlon = np.stack([lat, lon], -1).astype(np.float32)
    if library == "numpy":
        return work(lambda: harmonics.real_harmonics(latlon, levels))
    ours = jax.jit(lambda x: harmonics.real_harmonics(x, levels))
    return work(lambda: np.asarray(ours(latlon)))


def work(run: Any) -> protocol.Work:
    return protocol.Work(run, lambda z: {"z": z}, protocol.host_growth, {})


if __name__ == "__main__":
    SPEC = json.loads(sys.argv[1])
    SIDES = {"student": student, "geoclip": geoclip, "harmonics": harmonics}
    SIDES["packaged"] = packaged
    SIDE = SIDES[SPEC.pop("side")]
    protocol.serve(lambda: SIDE(**SPEC))
