# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of the package: how it is made, and the one that is there."""

import json
import pathlib

import jax
import numpy as np
import pytest

import unigeo_jax
from configs import packaged
from tests import test_export
from unigeo_jax import (
    bundles,
    earth_encoder,
    embed_table,
    export,
    reexport,
    tasks,
    trained,
)
from unigeo_jax.data.datasets import earth_crops
from unigeo_jax.modalities import atlas, student

MODEL = pathlib.Path(unigeo_jax.__file__).parent / "models" / "earth"


class Teacher:
    """Eight smooth numbers of a place, in shorter waves the higher the capsule."""

    def embed(self, lat, lon, capsules):
        a, b = np.deg2rad(lat), np.deg2rad(lon)
        k = np.arange(1, 5) + sum(capsules)
        waves = np.cos(a)[:, None] * np.sin(k * b[:, None]), np.sin(k * a[:, None])
        return np.concatenate(waves, axis=1)


@pytest.fixture(scope="module")
def making(tmp_path_factory):
    """The workdir that was made, and the files of the bundle that were read for it."""
    out, read = tmp_path_factory.mktemp("packaged") / "run", set()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raster", "table"):
            whole = getattr(earth_crops, name)

            def spy(file, whole=whole):
                read.add(file)
                return whole(file)

            patch.setattr(earth_crops, name, spy)
        earth_encoder.run(out, packaged.get_config("tiny"), Teacher())
    return out, read


def test_its_parts_have_the_variances_that_were_asked_for(making):
    made = trained.restore(making[0])
    embed = jax.jit(tasks.coordinates(made.config))
    z_nd = np.asarray(embed(made.params, earth_encoder.draw_points(2000, 5)))
    assert z_nd.shape == (2000, made.config.dim) and np.isfinite(z_nd).all()
    # A rotation keeps the total of the three parts, and spreads it over all numbers.
    assert z_nd.var(0).sum() / made.config.dim == pytest.approx(3.0, rel=0.3)
    assert z_nd.std(0).max() < 4 * z_nd.std(0).min()
    assert abs(z_nd.mean(0)).max() < 0.5 * z_nd.std(0).max()


def test_its_places_are_those_it_was_made_over(making, tmp_path):
    made = packaged.get_config("tiny")
    about = export.run(making[0], tmp_path / "model", ("jax",), tmp_path)
    assert about["step"] == made.steps
    enc = unigeo_jax.load(tmp_path / "model")
    lat, lon = earth_encoder.draw_points(made.points, made.seed)[:9].T
    found = enc.explain(lat=lat, lon=lon, k=1)
    np.testing.assert_array_equal(found["row"][:, 0], np.arange(9))
    assert enc.supported(lat=lat, lon=lon).all()


def test_points_are_on_the_earth_and_the_same_each_time():
    at_n2 = earth_encoder.draw_points(300, 0)
    np.testing.assert_array_equal(at_n2, earth_encoder.draw_points(300, 0))
    lat, lon = at_n2.T
    assert abs(lat).max() <= 90 and lon.min() >= -180 and lon.max() <= 180


def test_nothing_that_a_label_is_made_of_is_read(making):
    _, read = making
    seen = {"blue_marble.jpg", "black_marble.jpg", "ndvi_max.png", "ndvi_min.png"}
    positions = {"places.npz", "us_zips.npz", "anchors.npz"}
    assert read == seen | positions | {"landcover.png"}


def test_land_has_tiles_of_its_own_and_the_sea_shares_one():
    index_rc, pixel_t2 = earth_encoder.tiles(1.0)
    assert index_rc.shape == (18, 45) and len(pixel_t2) == 64 * (index_rc.max() + 1)
    row, column = (84 - 48) // 8, (2 + 180) // 8  # France
    here = pixel_t2[64 * index_rc[row, column] :][:64]
    assert [*here[0], *here[-1]] == [51.5, -3.5, 44.5, 3.5]
    assert index_rc[(84 + 40) // 8, (180 - 120) // 8] == 0  # the southern Pacific
    with pytest.raises(ValueError, match=r"degrees=0\.7"):
        earth_encoder.tiles(0.7)


def test_means_over_pixels_split_them_by_their_shares():
    image = np.arange(12.0).reshape(3, 4)
    got = earth_encoder.mean_over(image, 2, 2)
    rows = np.array([[1, 0.5, 0], [0, 0.5, 1]]) / 1.5
    wanted = rows @ image @ np.kron(np.eye(2), [[0.5], [0.5]])
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_the_packaged_encoder_loads_and_is_small():
    enc = unigeo_jax.load("earth")
    assert enc.info["dim"] <= 512
    assert sum(p.stat().st_size for p in MODEL.rglob("*") if p.is_file()) <= 20_000_000
    with pytest.warns(UserWarning, match="4 of 4 places lie over"):
        ends = enc.embed(lat=[51.0, 51.0, 90, 90], lon=[180.0, -180.0, 0, 77])
    np.testing.assert_allclose(ends[::2], ends[1::2], atol=1e-4)
    towns = enc.embed(lat=[48.86, 48.80, -23.5], lon=[2.35, 2.30, -46.6])
    assert np.linalg.norm(towns[0] - towns[1]) < np.linalg.norm(towns[0] - towns[2])
    about = json.loads((MODEL / "config.json").read_text())
    assert "geoclip" in about["training"]["taught_by"]


@pytest.fixture(scope="module")
def known():
    """Places, float64 (100,000, 2), and what the Flax module makes of them.

    Poles, the date line, a thousand places drawn over the sphere; then all anew, moved.
    """
    about = bundles.read_config(MODEL)
    params: dict = {}
    for name, value in bundles.read_safetensors(MODEL / "model.safetensors").items():
        _, _, *layer, leaf = name.split(".")
        (params.setdefault(layer[0], {}) if layer else params)[leaf] = value
    net = atlas.Encoder(about["dim"], **about["training"]["towers"]["coords"]["net"])
    lat, lon = test_export.points(1000)
    latlon = np.tile(np.stack([lat, lon], 1), (100, 1))
    latlon[1000:, 0] *= np.linspace(0, 1, 99_000)
    embed = jax.jit(lambda x: net.apply({"params": params}, x))
    with jax.default_matmul_precision("highest"):
        parts = np.split(latlon.astype(np.float32), 10)
        return latlon, np.concatenate([embed(x) for x in parts])


def same(runs, want):
    """To 1e-5 of the deviation of all numbers, which is 1.6 over the sphere."""
    assert 1 < want.std() < 3
    for z in runs:
        np.testing.assert_allclose(z, want[: len(z)], rtol=0, atol=1e-5 * want.std())


@pytest.mark.slow
def test_a_process_with_jax_and_numpy_alone_gives_the_vectors_of_flax(known, tmp_path):
    same(test_export.alone(test_export.ALONE, "earth", known[0], tmp_path), known[1])


@pytest.mark.slow
def test_its_onnx_file_gives_them_to_onnxruntime_and_numpy_alone(known, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    reexport.run("earth", tmp_path / "out", ["onnx"])
    path = tmp_path / "out" / "coords.onnx"
    assert path.stat().st_size < 20_000_000
    script = test_export.ALONE_ONNX
    same(test_export.alone(script, path, known[0], tmp_path), known[1])


def test_a_byte_a_number_is_off_by_half_a_step_at_most(known):
    enc = unigeo_jax.load("earth")
    told = enc._about.pop("int8_scale")  # as in a model that does not say it
    assert 4 < enc.int8_scale == told
    job = {"dtype": "int8", "int8_scale": enc.int8_scale}
    want = known[1][:1000]
    z = embed_table.stored(want, job).astype(np.float32) * enc.int8_scale / 127
    assert abs(z - want).max() < enc.int8_scale / 254 * 1.001
    # Of the deviation of all numbers: 0.022. Cosines with the true vector: > 0.999.
    assert np.sqrt(np.square(z - want).mean()) < 0.03 * want.std()
    lengths = np.linalg.norm(z, axis=1) * np.linalg.norm(want, axis=1)
    assert ((z * want).sum(1) / lengths).min() > 0.999


@pytest.mark.parametrize("n", [1, 2, 16, 12, 20, 24, 5, 17])
def test_a_rotation_is_one_and_flat_where_that_is_known(n):
    turn_nn = earth_encoder.orthogonal(n, 0)
    np.testing.assert_allclose(turn_nn @ turn_nn.T, np.eye(n), atol=1e-12)
    if n not in (5, 17):
        np.testing.assert_allclose(abs(turn_nn), n**-0.5)
    assert earth_encoder.factors(320) == (16, 20)


def test_a_fine_network_in_bytes_gives_what_it_gave(draw):
    at = earth_encoder.draw_points(300, 0)
    at[0] = 90, 0  # where the grids are silent
    net = {"grids": ((2.0, 50, 2), (0.5, 70, 3)), "widths": (16, 5)}
    learned = student.Encoder(4, **net)
    variables = draw(learned, at)
    variables["params"]["target_scale"][:] = 3.0
    given = np.asarray(learned.apply(variables, at))
    params = earth_encoder.to_bytes(variables["params"], 2)
    assert params["grid_1"]["table"].dtype == np.int8
    kept = atlas.Encoder(7, fine_channels=4, turns=(1, 7), **net)
    params |= {"scale": np.ones(7), "bias": np.zeros(7)}
    params |= {"turn_0": np.eye(1), "turn_1": np.eye(7)}
    found = np.asarray(kept.apply({"params": params}, at))[:, 3:]
    error = (found - found[0]) - (given - given[0])
    assert np.sqrt(np.square(error).mean()) < 0.03 * given.std()
