# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An exported model gives the model's vectors, alone, and nothing that was altered."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest

import unigeo_jax
from configs import unified
from tests import small_models
from unigeo_jax import bundles, cards, export, sharding, tasks, train
from unigeo_jax import trained as restored
from unigeo_jax.data.datasets import us_flows
from unigeo_jax.modalities import student
from unigeo_jax.nn import fixed

# The runs here know a few dozen places, and are asked about the whole Earth.
pytestmark = pytest.mark.filterwarnings("ignore:.*from every training place")
ROOT = pathlib.Path(__file__).parents[1]
TOWERS = ("text", "demographics", "coords")
ALONE = """
import sys
for name in ("flax", "optax", "orbax", "grain", "tensorflow_datasets", "safetensors",
             "array_record", "sentencepiece", "PIL", "scipy.spatial", "pyarrow", "h3"):
    sys.modules[name] = None
import numpy as np, unigeo_jax
enc = unigeo_jax.load(sys.argv[1])
at = np.load(sys.argv[2])
runs = [enc.embed(lat=at[:n, 0], lon=at[:n, 1]) for n in (1, 7, len(at))]
np.savez(sys.argv[3], *runs)
assert len(enc.features(lat=at[:9, 0], lon=at[:9, 1])) == 9
"""


ALONE_ONNX = """
import sys
for name in ("jax", "flax", "unigeo_jax", "safetensors", "onnx", "torch"):
    sys.modules[name] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
x = np.load(sys.argv[2]).astype(np.float32)
runs = [session.run(None, {"latlon": x[:n]})[0] for n in (1, 7, len(x))]
np.savez(sys.argv[3], *runs)
"""


@pytest.fixture(scope="module")
def trained(earth_tiny, tmp_path_factory):
    """A run of three towers, two steps long, its parameters split over devices."""
    config = unified.get_config("data=earth,tiny")
    with config.unlocked():
        for name in set(config.towers) - set(TOWERS):
            del config.towers[name]
        config.steps, config.eval.gallery, config.eval.splits = 2, 8, ("val",)
        config.towers.coords.net.depth = 1
        config.mesh = {"data": 4, "fsdp": 2}
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_FSDP_SIZE", 1)
        train.fit(config, folder, earth_tiny)
    return folder


@pytest.fixture(scope="module")
def exported(trained, earth_tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "model"
    export.run(trained, out, ("jax", "safetensors"), earth_tiny)
    return out


@pytest.fixture(scope="module")
def enc(exported):
    return unigeo_jax.load(exported)


@pytest.fixture(scope="module")
def truth(trained, earth_tiny):
    """(lat, lon) -> the vectors of the model itself."""
    config, params, *_ = restored.restore(trained, earth_tiny)
    model = tasks.build_model(config, np.dtype("float32"))

    @jax.jit
    def embed(x):
        return model.apply({"params": params}, "coords", x, method="embed")

    return lambda lat, lon: np.asarray(embed(np.stack([lat, lon], 1).astype("f4")))


def points(n=1000):
    rng = np.random.default_rng(0)
    lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))
    lon = rng.uniform(-180, 180, n)
    lat[:6], lon[:6] = (0, 0, 90, -90, 51, -51), (180, -180, 0, 77, 180, -180)
    return lat, lon


@pytest.mark.parametrize("n", [1, 7, 1000, 100_000])
def test_vectors_equal_the_models(enc, truth, n):
    lat, lon = points(max(n, 7))
    lat, lon = lat[:n], lon[:n]
    got = enc.embed(lat=lat, lon=lon)
    assert got.dtype == np.float32 and got.shape == (n, enc.info["dim"])
    np.testing.assert_allclose(got, truth(lat, lon), atol=1e-5)


def alone(script, model, latlon, folder):
    """Vectors of the first, of seven and of all places, of a process of its own."""
    np.save(folder / "at.npy", latlon)
    files = [model, folder / "at.npy", folder / "z.npz"]
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, files)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    with np.load(folder / "z.npz") as found:
        runs = list(found.values())
    assert [len(z) for z in runs] == [1, 7, len(latlon)]
    return runs


def test_a_process_with_jax_and_numpy_alone_gives_them_too(exported, truth, tmp_path):
    lat, lon = points(64)
    for z in alone(ALONE, exported, np.stack([lat, lon], 1), tmp_path):
        n = len(z)
        np.testing.assert_allclose(z, truth(lat[:n], lon[:n]), atol=1e-5)


def test_features_are_the_vectors_and_fixed_features_beside_them(enc):
    lat, lon = points(9)
    x = enc.features(lat=lat, lon=lon)
    assert x.shape == (9, enc.info["features"]) and x.dtype == np.float32
    np.testing.assert_array_equal(x[:, : enc.info["dim"]], enc.embed(lat=lat, lon=lon))
    np.testing.assert_allclose(
        x[:, enc.info["dim"] :], fixed.features(lat, lon), atol=1e-5
    )


def test_text_and_arrays_go_through_their_towers(enc):
    assert enc.info["modalities"] == list(enc._about["towers"])
    z = enc.embed(text=["A village in the Alps", "A port"])
    assert z.shape == (2, enc.info["dim"])
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    ids = np.ones((3, *enc._about["towers"]["text"]["input"]["shape"]), np.int32)
    assert enc.embed(text=ids).shape == (3, enc.info["dim"])


def test_the_folder_has_card_hashes_and_licence(exported):
    about = json.loads((exported / "config.json").read_text())
    card = (exported / "README.md").read_text()
    assert about["left_out"] == {}
    for name, entry in about["files"].items():
        assert entry["sha256"] in card
        assert (exported / name).stat().st_mode & 0o777 == 0o644
    for words in ("out-of-scope", "license:", "SHA-256", "CC BY", "recall@10"):
        assert words in card
    assert cards.DATA_CARD.name in about["files"]


def test_programs_name_files_but_no_folders_of_where_they_were_made(exported):
    for path in [*exported.glob("*.jax"), *bundles.find("earth").glob("*.jax")]:
        data = path.read_bytes()
        assert b".py" in data
        for folder in (b"site-packages", b"/unigeo_jax/", str(ROOT).encode()):
            assert folder not in data, path


def test_the_card_marks_scores_with_a_leak_and_credits_a_teacher(exported):
    about = json.loads((exported / "config.json").read_text())
    about["training"]["taught_by"] = ["geoclip", "aerial"]
    entry = {"metric": "r2", "score": 0.8239, "std": 0.01, "leak": ["night"]}
    entry |= {"flags": [], "low": 0.7, "high": 0.9, "moran": 0.1}
    blocked = {"coords": entry, "latlon": entry | {"score": 0.2, "leak": []}}
    blocked["idw"] = entry | {"score": None, "leak": [], "flags": ["no folds"]}
    whole = {"downstream": {"lights": {"blocked": blocked, "random": blocked}}}
    whole["run"] = {
        "command": "python x.py --out=/a/b a/c",
        "commit": "abc",
        "seeds": 3,
    }
    whole |= {"folds": {"lights.csv": "12ab"}}
    whole["run"]["workdir"] = "/runs/1"
    card = cards.write(about, {"evaluation": whole})
    assert "| lights, r2 | 0.824 ±0.010* | no folds | 0.200 ±0.010 |" in card
    assert "over 3 seeds" in card and "`python x.py --out=b a/c`, commit abc" in card
    kept = cards.downstream({"evaluation": whole})
    assert kept["folds"] == {"lights.csv": "12ab"}
    assert kept["blocked"]["lights"]["coords"]["low"] == 0.7
    assert "workdir" not in kept["run"] and cards.downstream({}) == {}
    assert "GeoCLIP" in card and "MIT licence" in card


def test_the_card_of_a_run_on_modelled_flows_says_so(exported):
    about = json.loads((exported / "config.json").read_text())
    assert us_flows.MODELLED not in cards.write(about, {})
    about["training"]["data"]["name"] = "us_places"
    about["training"]["towers"]["mobility"] = {"module": "", "data": {"graph": ""}}
    card = cards.write(about | {"training_data": "us_places:train"}, {})
    assert us_flows.MODELLED in card and us_flows.SHARED_OUT in card


def test_an_export_never_overwrites_and_leaves_no_half(trained, earth_tiny, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ValueError, match="is there already"):
        export.run(trained, tmp_path / "out", ("jax",), earth_tiny)
    with pytest.raises(ValueError, match=r"--format.*'pth'.*jax"):
        export.run(trained, tmp_path / "new", ("pth",), earth_tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export.run(trained, tmp_path / "new", ("safetensors",), earth_tiny)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_unknown_altered_and_later_models_are_refused(exported, tmp_path, enc):
    with pytest.raises(ValueError, match=r"'mars'.*allowed"):
        unigeo_jax.load("mars")
    with pytest.raises(ValueError, match=r"config\.json"):
        unigeo_jax.load(tmp_path)
    with pytest.raises(ValueError, match=r"no tower 'sound'.*coords"):
        enc.embed(sound=[1])
    with pytest.raises(ValueError, match="lat= and lon="):
        enc.embed(lat=[1.0])
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="altered or damaged"):
        unigeo_jax.load(copy)
    about = json.loads((copy / "config.json").read_text()) | {"format_version": 99}
    (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"format version 99.*upgrade"):
        unigeo_jax.load(copy)


def test_a_model_inside_the_package_is_found_by_name(exported, monkeypatch, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "earth")
    monkeypatch.setattr(bundles, "__file__", str(tmp_path / "bundles.py"))
    monkeypatch.chdir(tmp_path)
    assert bundles.find("earth") == tmp_path / "models" / "earth"
    (tmp_path / "earth").mkdir()  # such as a dataset that was built here
    assert bundles.find("earth") == tmp_path / "models" / "earth"
    for path in ("./earth", pathlib.Path("earth"), str(tmp_path / "earth")):
        assert bundles.find(path).resolve() == tmp_path / "earth"
    (tmp_path / "mine").mkdir()
    assert bundles.find("mine") == pathlib.Path("mine")


def test_search_is_exact(enc, tmp_path):
    lat, lon = points(300)
    z = enc.embed(lat=lat, lon=lon)
    path = enc.save_index(tmp_path / "places", z)
    rows, score = enc.search(z[:5], path, k=3)
    want = np.argsort(-enc.similarity(z[:5], z), axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(rows[:, 0], want[:, 0])
    np.testing.assert_allclose(score[:, 0], 1, atol=1e-5)
    np.testing.assert_allclose(
        score, np.take_along_axis(enc.similarity(z[:5], z), want, 1), atol=1e-6
    )


def test_a_pipelines_clone_shares_the_model(enc):
    sklearn = pytest.importorskip("sklearn.base")
    from unigeo_jax.geo_embedder import GeoEmbedder

    assert sklearn.clone(GeoEmbedder(enc)).model is enc


def test_explain_names_the_nearest_training_places(enc):
    first = enc.explain(lat=[0.0, 60.0], lon=[0.0, 20.0], k=2)
    again = enc.explain(lat=first["lat"][:, 0], lon=first["lon"][:, 0], k=1)
    np.testing.assert_array_equal(again["row"][:, 0], first["row"][:, 0])
    np.testing.assert_allclose(again["km"], 0, atol=1e-3)
    assert (np.diff(first["km"], axis=1) >= 0).all()


def test_places_far_from_all_training_places_are_warned_of(enc):
    near = enc.explain(lat=[0.0], lon=[0.0], k=1)
    lat, lon = near["lat"][0], near["lon"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enc.embed(lat=lat, lon=lon)
    assert enc.supported(lat=lat, lon=lon).all()
    with pytest.warns(UserWarning, match=r"1 of 2 places.*every training.*lat=-89"):
        enc.embed(lat=[lat[0], -89.0], lon=[lon[0], 0.0])
    assert enc.supported(lat=[lat[0], -89.0], lon=[lon[0], 0.0]).tolist() == [1, 0]


def test_a_process_with_onnxruntime_and_numpy_alone_gives_the_models_vectors(
    trained, earth_tiny, truth, tmp_path
):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export.run(trained, tmp_path / "out", ("onnx",), earth_tiny)
    lat, lon = (np.tile(x, 100) for x in points())
    model = tmp_path / "out" / "coords.onnx"
    for z in alone(ALONE_ONNX, model, np.stack([lat, lon], 1), tmp_path):
        n = len(z)
        np.testing.assert_allclose(z, truth(lat[:n], lon[:n]), atol=1e-5)


def test_a_tower_of_a_graph_becomes_a_table_of_its_nodes():
    weights = {"m.table": np.arange(12, dtype=np.float32).reshape(4, 3)}
    twice = lambda weights, x: 2 * weights["m.table"][x["node"]]  # noqa: E731
    look_up, kept = export.tabulated("m", twice, weights, 4)
    assert list(kept) == ["m.nodes"]
    found = np.asarray(look_up(kept, {"node": np.array([3, 0, 9], np.int32)}))
    np.testing.assert_array_equal(found[:2], 2 * weights["m.table"][[3, 0]])
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("levels", [0, 6])
def test_a_student_exports_for_any_number_of_rows(draw, levels):
    options = {"levels": levels, "sigmas": (1.0, 64.0), "frequencies": 4}
    net = student.Encoder(5, widths=(8,), **options)
    latlon = np.array([[10.0, 20.0], [-89.0, 180.0], [0.0, -180.0]], np.float32)
    variables = draw(net, latlon)
    held, data = small_models.program(net, variables)
    loaded = jax.export.deserialize(bytearray(data))
    for rows in (latlon, latlon[:1]):
        np.testing.assert_allclose(
            loaded.call(held, rows), net.apply(variables, rows), atol=1e-5
        )
