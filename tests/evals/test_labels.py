# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Task folders as people write them, wrong ones too, and the tasks of `earth`."""

import hashlib
import json

import numpy as np
import pytest

from unigeo_jax.evals import labels


def write(folder, lines, **entry):
    """A folder of one task; `lines` are those of its CSV."""
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    entry = {"name": "a", "file": "a.csv", "target": "y", "kind": "regression"} | entry
    (folder / "tasks.json").write_text(json.dumps([entry]))
    return folder


ROWS = ["lat,lon,y,group", "1,2,3.5,007", "-4,181,,007", "5,6,NaN,011", "7,8,0,"]


def test_a_folder_is_read_and_rows_without_a_target_are_counted(tmp_path):
    folder = write(
        tmp_path,
        ROWS,
        block_deg=2,
        transform="log1p",
        group_columns=["group"],
        leaks=["text"],
        unit="m",
    )
    (task,) = labels.read_folder(folder)
    assert (task.name, task.kind, task.block_deg) == ("a", "regression", 2.0)
    np.testing.assert_array_equal(task.lat, [1, 7])
    np.testing.assert_allclose(task.y_n, np.log1p([3.5, 0]))
    assert task.groups["group"].tolist() == ["007", ""]
    assert task.flags == ("2 of 4 rows have no target",)
    assert (task.leaks, task.unit) == (("text",), "m")


def test_longitudes_wrap_and_rows_are_drawn_by_number(tmp_path):
    lines = ["lat,lon,y"] + [f"0,{200 + i / 100},{i}" for i in range(100)]
    (task,) = labels.read_folder(write(tmp_path, lines))
    assert (task.lon < 0).all()
    small = labels.make("a", "regression", task.lat, task.lon, task.y_n, rows=30)
    assert len(small.y_n) == 30
    assert "30 of 100 rows drawn" in small.flags


def test_classes_are_numbered_and_rare_ones_left_out_and_counted(tmp_path):
    names = ["forest"] * 20 + ["city"] * 20 + ["lake"] * 3 + [""]
    lines = ["lat,lon,y"] + [f"{i},0,{name}" for i, name in enumerate(names)]
    (task,) = labels.read_folder(write(tmp_path, lines, kind="classification"))
    assert task.classes == ("city", "forest")
    assert task.y_n.tolist() == [1] * 20 + [0] * 20
    assert "1 of 44 rows have no target" in task.flags
    assert any("1 classes" in flag and "3 rows" in flag for flag in task.flags)


@pytest.mark.parametrize(
    ("lines", "entry", "words"),
    [
        (["lat,lng,y", "1,2,3"], {}, ["no column lon", "lat, lng, y"]),
        (["lat,lon,y", "1,2,3"], {"target": "z"}, ["no column z"]),
        (["lat,lon,y", "1,2,high"], {}, ["row 2", "y='high'", "a number"]),
        (["lat,lon,y", "1,2,3", ",2,3"], {}, ["row 3", "lat=''"]),
        (["lat,lon,y", "91,2,3"], {}, ["lat=91", "[-90, 90]"]),
        (["lat,lon,y", "1,2,"], {}, ["none of 1 rows has a target"]),
        (["lat,lon,y"], {}, ["no rows"]),
        (["lat,lon,y", f"1,2,{'x' * 200_000}"], {}, ["a.csv", "field limit"]),
        (["lat,lon,y", "1,2,3"], {"block_deg": 10**400}, ["block_deg", "up to 360"]),
        (["lat,lon,y", "1,2,3"], {"leaks": "text"}, ["leaks=text", "lists of texts"]),
        (["lat,lon,y", "1,2,3"], {"file": 3}, ["file=3"]),
        (["lat,lon,y", "1,2,3"], {"file": "../a.csv"}, ["allowed: below"]),
        (["lat,lon,y", "1,2,3"], {"kind": "ranking"}, ["'ranking'", "regression"]),
        (["lat,lon,y", "1,2,3"], {"transform": "sqrt"}, ["'sqrt'", "log1p"]),
        (["lat,lon,y", "1,2,3"], {"leaks": ["magic"]}, ["'magic'", "elevation"]),
        (["lat,lon,y", "1,2,-3"], {"transform": "log1p"}, ["log1p of -3"]),
        (["lat,lon,y", "1,2,3"], {"sha256": "00"}, ["sha256", "allowed: 00"]),
        (["lat,lon,y", "1,2,3"], {"file": "b.csv"}, ["b.csv"]),
    ],
)
def test_what_is_wrong_with_a_task_is_said(tmp_path, lines, entry, words):
    with pytest.raises(ValueError, match=r".+") as error:
        labels.read_folder(write(tmp_path, lines, **entry))
    for word in words:
        assert word in str(error.value)


def test_a_folder_without_a_list_of_tasks_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tasks\.json"):
        labels.read_folder(tmp_path)
    (tmp_path / "tasks.json").write_text("{}")
    with pytest.raises(ValueError, match="a list of objects"):
        labels.read_folder(tmp_path)
    (tmp_path / "tasks.json").write_text('[{"name": "a"}]')
    with pytest.raises(ValueError, match="'a' lacks file, target, kind"):
        labels.read_folder(tmp_path)


def test_a_list_of_tasks_nested_too_deeply_is_refused(tmp_path):
    for text in ("[" * 100_000, "[" * 200 + "]" * 200):
        (tmp_path / "tasks.json").write_text(text)
        with pytest.raises(ValueError, match=r"tasks\.json: JSON nested too deeply"):
            labels.read_folder(tmp_path)


def test_a_right_checksum_passes(tmp_path):
    write(tmp_path, ROWS)
    digest = hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    assert labels.read_folder(write(tmp_path, ROWS, sha256=digest))[0].name == "a"


def test_earth_brings_its_labels_with_what_reveals_them(earth_tiny):
    tasks = {task.name: task for task in labels.earth("earth/tiny", earth_tiny)}
    assert {
        *("earth_temperature", "earth_ndvi_max", "earth_elevation", "earth_population"),
        *("earth_koppen", "earth_landcover", "earth_country", "earth_night_lights"),
    } <= set(tasks)
    temperature = tasks["earth_temperature"]
    assert temperature.y_n.min() > -40
    assert temperature.y_n.max() < 40
    assert np.corrcoef(np.abs(temperature.lat), temperature.y_n)[0, 1] < -0.6
    assert tasks["earth_elevation"].leaks == ("elevation",)
    assert set(temperature.groups["continent"]) <= {
        *("Africa", "Asia", "Europe", "North America", "South America", "Oceania"),
    }
    same = [t for t in tasks.values() if t.kind == "regression"]
    for task in same:
        np.testing.assert_array_equal(task.lat, temperature.lat)
        assert np.isfinite(task.y_n).all()


def test_continents_are_those_of_the_nearest_place_and_the_sea_has_none():
    lat = np.array([48.85, -33.9, -1.3, 0.0])
    lon = np.array([2.35, 151.2, 36.8, -140.0])
    assert labels.continents(lat, lon).tolist() == ["Europe", "Oceania", "Africa", ""]


def test_us_places_bring_labels_that_no_record_holds():
    tasks = {task.name: task for task in labels.us_places("us_places/tiny")}
    assert set(tasks) == {
        *("us_wages_per_head", "us_weekly_wage", "us_unemployment", "us_density"),
    }
    density = tasks["us_density"]
    assert set(density.leaks) >= {"population", "demographics", "mobility", "text"}
    assert list(density.groups) == ["county", "state"]
    for task in tasks.values():
        np.testing.assert_array_equal(task.lat, density.lat)
        assert 100 < len(task.y_n) == len(task.groups["county"]) <= 512
        assert task.block_deg == 2
    county = density.groups["county"]
    for name in ("us_weekly_wage", "us_unemployment"):
        for code in np.unique(county):
            assert len(set(tasks[name].y_n[county == code].tolist())) == 1
        assert any("county" in flag for flag in tasks[name].flags)
    assert density.y_n.min() > 0


def test_us_labels_are_those_of_known_places():
    by = {task.name: task for task in labels.us_places("us_places", rows=40_000)}
    wage = by["us_weekly_wage"]
    assert len(wage.y_n) > 25_000

    def at(task, lat, lon):
        near = np.hypot(task.lat - lat, task.lon - lon) < 0.15
        return np.median(task.y_n[near])

    assert at(wage, 37.40, -122.05) > 2500  # Santa Clara county
    assert at(wage, 37.0, -82.2) < 1300  # Appalachia
    assert 8 < at(by["us_unemployment"], 42.35, -83.05) < 20  # Detroit, 2009
    assert np.expm1(at(by["us_density"], 40.74, -73.99)) > 5000  # Manhattan
    assert np.expm1(at(by["us_density"], 38.48, -100.9)) < 10  # west of Kansas
