# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The protocol of the eleven tasks: the draws and fits of the released evaluation."""

import json
import pathlib

import numpy as np
import pytest

from unigeo_jax.data import splits
from unigeo_jax.evals import mora, mora_tables, mora_tasks, statistics

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tasks"
COUNTIES = "china_county_"
# Table "admin-mean baseline" for MobCLIP's county labels: mean over 50 random splits.
PUBLISHED_MEANS = {
    "edu": (0.486, 0.322),
    "eld": (0.619, 0.431),
    "hou": (0.540, 0.385),
    "hsr": (0.666, 0.412),
}


def planted(n=600, d=8, seed=0):
    """Vectors, a target they tell, and positions in China."""
    rng = np.random.default_rng(seed)
    x_nd = rng.normal(size=(n, d))
    y_n = x_nd @ rng.normal(size=d) + np.sin(2 * x_nd[:, 0]) + rng.normal(size=n) / 4
    return x_nd, y_n, rng.uniform(25, 45, n), rng.uniform(80, 120, n)


def joined(level, x_nd, y_n, lat, lon, **more):
    table = {"transform": "none", "parents": {}, "region_u": np.arange(len(y_n)) // 20}
    return mora_tables.Joined(level, x_nd, y_n, lat, lon, **(table | more))


def test_rows_are_drawn_and_dealt_as_scikit_learn_does():
    selection = pytest.importorskip("sklearn.model_selection")
    for n in (10, 283, 2737):
        train, test = selection.train_test_split(
            np.arange(n), test_size=0.2, random_state=42
        )
        split = mora.split_once(n)
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.test, test)
        dealt = selection.KFold(5, shuffle=True, random_state=42).split(np.arange(n))
        for mine, (train, test) in zip(mora.split_folds(n), dealt, strict=True):
            np.testing.assert_array_equal(mine.train, train)
            np.testing.assert_array_equal(mine.test, test)


def test_cities_are_scored_by_the_ridge_of_scikit_learn_pooled_over_folds():
    linear = pytest.importorskip("sklearn.linear_model")
    x_nd, y_n, lat, lon = planted(n=283, d=128)
    value, truth = [], []
    for train, test in mora.split_folds(len(y_n)):
        model = linear.Ridge(alpha=1).fit(x_nd[train], y_n[train])
        value.append(model.predict(x_nd[test]))
        truth.append(y_n[test])
    value, truth = np.concatenate(value), np.concatenate(truth)
    found = mora.published(joined("city", x_nd, y_n, lat, lon))
    assert found["r2"] == pytest.approx(statistics.r2(truth, value), abs=1e-9)
    rmse = np.sqrt(np.mean((truth - value) ** 2))
    assert found["rmse"] == pytest.approx(rmse, abs=1e-9)
    assert found["n"] == 283


def test_counties_are_scored_by_lightgbm_as_released():
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("sklearn")
    x_nd, y_n, lat, lon = planted(n=400)
    model = lightgbm.LGBMRegressor(
        **{"learning_rate": 0.05, "max_depth": 7, "n_estimators": 1000},
        **{"num_leaves": 31, "min_child_samples": 50},
        **{"objective": "regression", "random_state": 42, "verbose": -1},
    )
    split = mora.split_once(len(y_n))
    model.fit(x_nd[split.train], y_n[split.train])
    value = model.booster_.predict(x_nd[split.test])
    found = mora.published(joined("county", x_nd, y_n, lat, lon))
    assert found["r2"] == pytest.approx(statistics.r2(y_n[split.test], value))
    assert found["r2"] > 0.3


def test_a_county_s_vector_is_the_plain_mean_of_its_cells_and_joins_are_inner():
    lat = np.array([30.0, 30.0, 31.0, 40.0, 41.0])
    lon = np.array([100.0, 101.0, 100.0, 90.0, 90.0])
    county = np.array(["110101", "110101", "110102", "", "650102"])
    cells = mora_tables.Cells(lat, lon, {"county": county})
    labels = mora_tables.Labels(
        *("EDU", "county", np.array(["650102", "110101", "999999", "110102"])),
        np.array([9.0, 12.0, 8.0, np.nan]),
    )

    def embed(lat, lon):
        return np.stack([lat, lon, lat * lon], 1)

    found = mora_tables.join(labels, cells, embed)
    np.testing.assert_allclose(found.x_ud, [[41, 90, 3690], [30, 100.5, 3015]])
    np.testing.assert_array_equal(found.y_u, [9, 12])
    # The middle of a parallel's chord lies a little nearer to the pole.
    np.testing.assert_allclose(found.lat_u, [41, 30], atol=0.01)
    np.testing.assert_allclose(found.lon_u, [90, 100.5])


def write(folder, lines, cells=None, **entry):
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if cells:
        (folder / "cells.csv").write_text("\n".join(cells) + "\n", encoding="utf-8")
    entry = {"name": "EDU", "file": "a.csv", "target": "y"} | entry
    (folder / "tasks.json").write_text(json.dumps([entry]))
    return folder


def test_a_folder_of_labels_by_code_and_cells_is_read(tmp_path):
    folder = write(
        tmp_path,
        ["county,y", "110101,9.5", "110102,", "650102,7"],
        ["cell,lat,lon,county", "86318e04fffffff,40,116,110101", "x,44,87,650102"],
    )
    (labels,), cells = mora_tables.read_folder(folder)
    assert (labels.level, labels.transform) == ("county", "none")  # as TASKS lists it
    assert {k: v.tolist() for k, v in labels.parents.items()} == {
        "prefecture": ["1101", "1101", "6501"],
        "province": ["11", "11", "65"],
    }
    found = mora_tables.join(labels, cells, splits.unit_vectors)
    assert found.y_u.tolist() == [9.5, 7]
    np.testing.assert_allclose(found.x_ud, splits.unit_vectors([40, 44], [116, 87]))
    assert found.region_u.tolist() == ["1101", "6501"]


@pytest.mark.parametrize(
    ("lines", "entry", "words"),
    [
        (["county,z", "1,2"], {}, ["no column y", "county, z"]),
        (["code,y", "1,2"], {}, ["no column lat, lon", "code, y"]),
        (["county,y", "1,high"], {}, ["row 2", "y='high'"]),
        (["county,y", "1,2"], {"name": "own"}, ["own", "level None", "cell, county"]),
        (["county,y", "1,2"], {"transform": "sqrt"}, ["'sqrt'", "none, log1p"]),
        (["county,y", "1,2"], {"sha256": "00"}, ["sha256", "allowed: 00"]),
        (["county,y"], {}, ["no rows"]),
        (["county,y", f"1,{'x' * 200_000}"], {}, ["a.csv", "field limit"]),
        (["county,y", "1,2"], {"name": []}, ["name=[]"]),
        (["county,y", "1,2"], {"file": "../a.csv"}, ["allowed: below"]),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, lines, entry, words):
    with pytest.raises(ValueError, match=r".+") as error:
        mora_tables.read_folder(write(tmp_path, lines, **entry))
    for word in words:
        assert word in str(error.value)


def test_cells_beyond_the_header_are_no_column(tmp_path):
    folder = write(tmp_path, ["county,y", "110101,9.5,more", "110102,3"])
    (labels,), _ = mora_tables.read_folder(folder)
    assert labels.y_u.tolist() == [9.5, 3]


def test_counties_without_cells_or_points_are_refused(tmp_path):
    (labels,), cells = mora_tables.read_folder(write(tmp_path, ["county,y", "1,2"]))
    with pytest.raises(ValueError, match=r"no cells\.csv.*county"):
        mora_tables.join(labels, cells, splits.unit_vectors)


def test_admin_mean_falls_back_from_prefecture_to_province_to_all():
    prefecture = np.array(["1101", "1101", "1102", "2201", "1101", "1103", "3301"])
    province = prefecture.astype("<U2")
    y = np.array([1.0, 3.0, 8.0, 20.0, 0, 0, 0])
    split = mora.Split(np.arange(4), np.array([4, 5, 6]))
    found = mora.admin_mean([prefecture, province], y, split)
    np.testing.assert_allclose(found, [2, 4, 8])


def test_the_better_protocol_exposes_what_only_interpolates():
    """A target that is constant in a region is told by twins, not by other regions."""
    rng = np.random.default_rng(0)
    region = np.repeat(np.arange(40), 15)
    lat, lon = 20 + region // 8 * 5.0, 80 + region % 8 * 5.0
    lat, lon = lat + rng.uniform(0, 1, 600), lon + rng.uniform(0, 1, 600)
    y = rng.normal(size=40)[region] + rng.normal(size=600) / 10
    x_nd = np.eye(40)[region] + rng.normal(size=(600, 40)) / 50
    table = joined("city", x_nd, y, lat, lon, region_u=region.astype(str))
    options = mora.Options(seeds=2, boosted=False)
    found = mora.run({"own": {"code": table}}, options)["own"]
    assert found["random"]["code"]["score"] > 0.8
    assert found["random"]["idw"]["score"] > 0.8
    assert found["grouped"]["code"]["score"] < 0.2
    for entry in found["grouped"].values():
        assert entry["low"] <= entry["score"] + 0.05
        assert entry["n"] == 600


def test_all_eleven_tasks_are_listed_and_those_without_labels_marked():
    assert len(mora_tasks.TASKS) == 11
    assert np.mean([t.r2 for t in mora_tasks.TASKS.values()]) == pytest.approx(
        0.7655, abs=5e-5
    )
    assert {k for k, t in mora_tasks.TASKS.items() if not t.public} == {"ENE", "COS"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("EDU", "EDU"), ("china_county_edu", "EDU"), ("china_county_hsr", "HSR")),
        *(("china_city_ene", "ENE"), ("china_cell_cos", "COS")),
        # Another level or country is another task.
        *(("china_cell_edu", None), ("us_county_edu", None), ("edu", None)),
        *(("climate_temperature", None), ("china_county_", None)),
    ],
)
def test_labels_feed_the_task_that_their_name_says(name, key):
    assert mora_tasks.listed_as(name) == key


def test_a_task_without_published_labels_says_what_to_bring_and_that_is_enough(
    tmp_path,
):
    lines = mora_tasks.lacking(["POP", "china_county_edu"]).splitlines()
    keys = [line.split()[2] for line in lines if line.startswith("not run")]
    assert keys == ["ELD", "HSR", "CRI", "NTL", "HOU", "ENE", "COS", "ELE", "FOR"]
    assert len(lines) == len(keys) + 2 * 3  # of ENE and COS: three files each
    tasks, labels, cells = mora_tasks.needs("ENE")
    for words in (*("city (code)", "value (energy", "any one unit", "log1p"),):
        assert words in labels
    assert "plain mean of those of its cells" in cells
    # A folder of just those files and columns.
    (tmp_path / "tasks.json").write_text(tasks.removeprefix("tasks.json"))
    rng = np.random.default_rng(0)
    city_n = np.arange(120) // 2
    rows = [f"{c},{c % 9 + 1}" for c in range(60)]
    (tmp_path / "ENE.csv").write_text("\n".join(["city,value", *rows]))
    lat_n, lon_n = 20 + city_n % 9 + rng.uniform(0, 0.1, 120), 80 + city_n / 2
    rows = [f"{i},{lat_n[i]},{lon_n[i]},{city_n[i]}" for i in range(120)]
    (tmp_path / "cells.csv").write_text("\n".join(["cell,lat,lon,city", *rows]))
    (labels,), cells = mora_tables.read_folder(tmp_path)
    assert (labels.name, labels.level, labels.transform) == ("ENE", "city", "log1p")
    units = mora_tables.join(labels, cells, splits.unit_vectors)
    assert len(units.y_u) == 60
    results = mora.run({"ENE": {"xyz": units}}, mora.Options(seeds=1, boosted=False))
    assert "ENE" not in mora_tasks.lacking(results)
    text = mora.table(results).splitlines()
    assert text[1] == "ENE: ENE, released vectors 0.719"
    published = results["ENE"]["published"]["xyz"]
    assert f"published  xyz {published['r2']:30.3f}  n 60" in text[2]
    raw = results["ENE"]["grouped"]["xyz"]["raw"]
    (line,) = [t for t in text if t.split()[:2] == ["grouped", "xyz"]]
    assert line.endswith(f"of raw labels {raw:.3f}")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the county labels are not here")
def test_the_real_county_labels_feed_four_tasks_at_their_transforms():
    labels, _ = mora_tables.read_folder(SHARED, start=COUNTIES)
    found = {mora_tasks.listed_as(one.name): one for one in labels}
    assert {key: one.transform for key, one in found.items()} == {
        **{"EDU": "none", "ELD": "none", "HOU": "none", "HSR": "log1p"}
    }
    assert {one.level for one in labels} == {"county"}
    text = mora_tasks.lacking(one.name for one in labels)
    assert text.count("not run") == 7 and "EDU" not in text


@pytest.mark.skipif(not SHARED.is_dir(), reason="the county labels are not here")
def test_admin_means_of_real_counties_score_as_the_benchmark_s_table_says():
    """2,737 of its 2,855 counties have a position here, so the draws differ."""
    entries = json.loads((SHARED / "tasks.json").read_text())
    for entry in entries:
        key = entry["name"].removeprefix(COUNTIES)
        if key == entry["name"]:
            continue
        labels = mora_tables.read(SHARED, entry | {"level": "county"})
        assert list(labels.parents) == ["prefecture", "group"]
        for code_u, expected in zip(
            labels.parents.values(), PUBLISHED_MEANS[key], strict=True
        ):
            scores = []
            for seed in range(50):
                split = mora.split_once(len(labels.y_u), seed)
                value = mora.admin_mean([code_u], labels.y_u, split)
                scores.append(statistics.r2(labels.y_u[split.test], value))
            assert np.mean(scores) == pytest.approx(expected, abs=0.03), key
