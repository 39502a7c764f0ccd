# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A table with times becomes a dataset, a run, a model that takes times, vectors."""

import csv
import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

import unigeo_jax
from configs import own
from tests import small_models
from unigeo_jax import embed_table, export, tasks, train, trained
from unigeo_jax.data import datasets, places

DATES = ("2021-12-31", "2019-01", "2017", "", "soon", "2021-07-02T10:00:00Z")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A dataset of 240 places of a table, a sixth of a kind of time each."""
    folder = tmp_path_factory.mktemp("data")
    lat, lon = np.random.default_rng(0).uniform([[40], [5]], [[45], [15]], (2, 240))
    with open(folder / "places.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "lat", "lon", "time", "text"])
        for i in range(240):
            time = DATES[i % 6]
            rows.writerow([i, lat[i], lon[i], time, f"seen {time or 'once'} by {i}"])
    options = places.Options(split="blocked:0.5", max_bad=0.2)
    places.build(folder / "places.csv", folder, "timed", options, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIGEO_DATA_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def timed(data_dir, tmp_path_factory):
    """A run with times, two steps long, and its exported model: a folder, the model."""
    folder = tmp_path_factory.mktemp("timed")
    config = own.get_config("data=timed,tiny,time")
    with config.unlocked():
        config.steps, config.eval.splits = 2, ("val",)
        config.towers.coords.net.depth = 1
    train.fit(config, folder / "run", data_dir)
    formats = ("jax", "safetensors")
    export.run(folder / "run", folder / "model", formats, data_dir)
    return folder, unigeo_jax.load(folder / "model")


def test_records_have_year_and_month_and_the_config_their_statistics(data_dir):
    source, _ = datasets.load("timed", "train", data_dir)
    found = [source[n] for n in range(len(source))]
    month = {int(r["id"]) % 6: r["month"] for r in found}
    assert [month[k] for k in (0, 1, 5)] == [12, 1, 7]
    assert all(np.isnan(month[k]) for k in (2, 3, 4))
    years = np.array([r["year"] for r in found])
    known = years[np.isfinite(years)]
    assert 0 < len(known) < len(years) and 2017 < known.min() < 2018
    net = own.get_config("data=timed,time").towers.coords.net
    np.testing.assert_allclose(net.time, [known.mean(), known.std()], rtol=1e-5)
    assert "time" not in own.get_config("data=timed").towers.coords.net
    folder = datasets.find("timed", data_dir)
    report = json.loads((folder / "report.json").read_text())["problems"]
    assert ["time", "no date", "masked", 40] in [list(c) for c in report["counts"]]


@pytest.mark.slow
def test_the_exported_model_is_the_model_whatever_is_known_of_a_time(timed, data_dir):
    folder, enc = timed
    run = trained.restore(folder / "run", data_dir)
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(40, 45, 5), rng.uniform(5, 15, 5)
    when = [[2021 + 364 / 366, 12], [2019 + 14 / 366, 1], [2017 + 182 / 366, 0]]
    when = np.array([*when, [0, 0], [2021 + 182 / 366, 7]], np.float32)
    x = np.concatenate([np.stack([lat, lon], 1), when], 1).astype(np.float32)
    embed = jax.jit(tasks.coordinates(run.config))
    want = np.asarray(embed(run.params, x))
    time = [t for t in DATES if t != "soon"]
    got = enc.embed(lat=lat, lon=lon, time=time)
    np.testing.assert_allclose(got, want, atol=1e-5)
    unknown = embed(run.params, x[:, :2])
    np.testing.assert_allclose(enc.embed(lat=lat, lon=lon), unknown, atol=1e-5)
    np.testing.assert_allclose(got[3], unknown[3], atol=1e-5)
    moved = np.abs(got - unknown).max(1)
    assert (np.delete(moved, 3) > 1e-4).all()
    assert enc.info["time"]
    assert enc.features(lat=lat, lon=lon, time=time).shape == (5, enc.info["features"])
    with pytest.raises(ValueError, match="row 4: time='soon'"):
        enc.embed(lat=lat, lon=lon, time=[*time[:4], "soon"])
    card = (folder / "model" / "README.md").read_text()
    mean, deviation = run.config.towers.coords.net.time
    assert f"less {mean:.2f} over {deviation:.2f}" in card


@pytest.mark.slow
def test_the_onnx_file_takes_times(timed, data_dir, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    folder, enc = timed
    export.run(folder / "run", tmp_path / "model", ("safetensors", "onnx"), data_dir)
    session = runtime.InferenceSession(tmp_path / "model" / "coords.onnx")
    x = np.array([[41, 6, 2021 + 182 / 366, 7], [44, 9, 0, 0]], np.float32)
    (got,) = session.run(None, {"latlon": x})
    want = enc.embed(lat=x[:, 0], lon=x[:, 1], time=["2021-07-02", None])
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
def test_the_table_that_trained_is_embedded_with_its_times(timed, data_dir, tmp_path):
    _, enc = timed
    table = tmp_path / "t.csv"
    table.write_text("lat,lon,time\n41,6,2021-07-02\n41,6,\n41,6,2021-01\n")
    assert embed_table.run(enc, table, tmp_path / "o.parquet") == 3
    z = np.stack(pq.read_table(tmp_path / "o.parquet")["embedding"].to_numpy())
    times = ["2021-07-02", None, "2021-01"]
    np.testing.assert_array_equal(z, enc.embed(lat=[41] * 3, lon=[6] * 3, time=times))


def test_a_model_without_times_refuses_one(tmp_path):
    enc = unigeo_jax.load(small_models.write(tmp_path / "model"))
    assert not enc.info["time"]
    with pytest.raises(ValueError, match=r"got time= .*trained with times"):
        enc.embed(lat=[1.0], lon=[2.0], time="2021-07-02")


def test_a_dataset_without_times_has_none_to_train_with(
    data_dir, tmp_path, monkeypatch
):
    lines = (data_dir / "places.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    bare = "\n".join(",".join(row[:3] + row[4:]) for row in rows)
    (tmp_path / "places.csv").write_text(bare)
    options = places.Options(split="blocked:0.5")
    places.build(tmp_path / "places.csv", tmp_path, "bare", options, 0)
    monkeypatch.setenv("UNIGEO_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"time: no training place of bare has a time"):
        own.get_config("data=bare,time")
