# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The eleven tasks' protocol for vectors of nodes, weighted means and US counties."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from unigeo_jax.data.datasets import us_zips
from unigeo_jax.evals import mora, mora_tables, mora_us

ROOT = Path(__file__).resolve().parents[2]


def test_means_are_weighted_and_unknown_weights_are_none():
    z_nd = np.array([[1.0, 10], [2, 20], [4, 40], [8, 80], [5, 50]])
    code_n = np.array(["b", "a", "a", "b", ""])
    weight_n = np.array([3.0, 0, 0, np.nan, 9])
    code_u, x_ud = mora_tables.aggregate(z_nd, code_n, weight_n)
    assert code_u.tolist() == ["a", "b"]
    np.testing.assert_allclose(x_ud, [[3, 30], [1, 10]])  # a: no weight, plain mean
    _, x_ud = mora_tables.aggregate(z_nd, code_n, np.array([1.0, 1, 3, 3, 9]))
    np.testing.assert_allclose(x_ud, [[3.5, 35], [6.25, 62.5]])


def planted(units=150, seed=0):
    """Nodes, their vectors, and units whose target is a mean by population of them."""
    rng = np.random.default_rng(seed)
    unit_n = np.repeat(np.arange(units), 8)
    code_n = np.array([f"{unit:05}" for unit in unit_n])
    lat_n = 30 + unit_n // 15 + rng.uniform(0, 0.9, len(unit_n))
    lon_n = -100 + unit_n % 15 + rng.uniform(0, 0.9, len(unit_n))
    people_n = rng.pareto(1.0, len(unit_n)) + 0.01
    z_nd = rng.normal(size=(len(unit_n), 4))
    hidden_n = z_nd @ [2.0, -1, 0.5, 0]
    y_u = np.bincount(unit_n, people_n * hidden_n) / np.bincount(unit_n, people_n)
    cells = mora_tables.Cells(
        *(lat_n, lon_n, {"cell": np.arange(len(unit_n)).astype(str), "county": code_n}),
        weight={"population": people_n, "area": np.ones(len(unit_n))},
    )
    code_u = np.unique(code_n)
    parents = {"state": code_u.astype("<U4")}
    return (
        cells,
        z_nd,
        mora_tables.Labels("own", "county", code_u, y_u, parents=parents),
    )


def test_vectors_of_nodes_are_scored_by_the_mean_that_the_target_is():
    cells, z_nd, labels = planted()
    tables = {
        mean: mora_tables.join(labels, cells, z_nd, mean)
        for mean in ("", "population", "area")
    }
    np.testing.assert_allclose(tables["area"].x_ud, tables[""].x_ud)
    for table in tables.values():
        np.testing.assert_array_equal(table.lat_u, tables[""].lat_u)
        assert table.region_u.tolist() == labels.parents["state"].tolist()
    options = mora.Options(seeds=2, boosted=False)
    for kind in ("random", "grouped"):
        found = mora.better(tables, kind, options)
        assert found["population"]["score"] > 0.99
        assert 0.2 < found[""]["score"] < 0.9
        assert found["idw"]["score"] < 0.2


def test_vectors_and_weights_that_do_not_fit_are_refused():
    cells, z_nd, labels = planted()
    with pytest.raises(
        ValueError, match=r"own: got vectors \(1199, 4\).*of 1200 cells"
    ):
        mora_tables.join(labels, cells, z_nd[1:])
    hole = np.where(np.arange(1200)[:, None] == 3, np.nan, z_nd)
    with pytest.raises(ValueError, match="not finite in 1 rows"):
        mora_tables.join(labels, cells, hole)
    with pytest.raises(ValueError, match="weight 'homes': allowed: population, area"):
        mora_tables.join(labels, cells, z_nd, "homes")
    below = cells._replace(weight={"area": np.where(np.arange(1200) == 7, -1.0, 1)})
    with pytest.raises(ValueError, match=r"cell 7 has area -1\.0; allowed: 0 or more"):
        mora_tables.join(labels, below, z_nd, "area")


def test_vectors_find_their_cells_by_position_and_by_id(tmp_path):
    cells, z_nd, _ = planted()
    some = np.random.default_rng(1).permutation(1200)[:700]
    found = mora_tables.at_cells(cells, cells.lat[some], cells.lon[some], z_nd[some])
    here = np.isin(np.arange(1200), some)
    np.testing.assert_array_equal(found[here], z_nd[here])
    assert np.isnan(found[~here]).all()
    path = tmp_path / "teacher.parquet"
    columns = {"node": some.astype(str), "embedding": z_nd[some].tolist()}
    pyarrow.parquet.write_table(pa.table(columns), path)
    np.testing.assert_array_equal(mora_tables.read_vectors(path, cells), found)
    kept = mora_tables.subset(cells, here)
    assert len(kept.lat) == len(kept.unit["county"]) == len(kept.weight["area"]) == 700
    for wrong, message in (
        ({"node": ["1", "1"], "embedding": [[1.0], [2.0]]}, "an id twice"),
        ({"node": ["1", "2"], "embedding": [[1.0], [2.0, 3]]}, r"lists of \[1, 2\]"),
        ({"node": ["1"]}, "columns node; allowed: cell or node, and embedding"),
    ):
        pyarrow.parquet.write_table(pa.table(wrong), path)
        with pytest.raises(ValueError, match=message):
            mora_tables.read_vectors(path, cells)


def test_us_counties_have_one_value_each_and_zip_areas_as_cells():
    labels, cells = mora_us.read()
    found = {one.name: one for one in labels}
    assert len(cells.lat) == 33_120
    assert list(found) == ["us_weekly_wage", "us_unemployment", "us_wages_per_head"]
    target = us_zips.targets()
    for name in ("weekly_wage", "unemployment"):
        one = found[f"us_{name}"]
        table = mora_tables.join(one, cells, cells.weight["area"][:, None])
        assert len(table.y_u) == len(set(one.code_u[np.isfinite(one.y_u)])) - (
            np.sum(~np.isin(one.code_u[np.isfinite(one.y_u)], cells.unit["county"]))
        )
        value = dict(zip(one.code_u.tolist(), one.y_u.tolist(), strict=True))
        mine = [value.get(code, np.nan) for code in cells.unit["county"].tolist()]
        np.testing.assert_array_equal(mine, target[name])
        assert 45 < len(set(table.region_u.tolist())) < 60
    heads = mora_tables.join(found["us_wages_per_head"], cells, np.ones((33_120, 1)))
    assert len(heads.y_u) == np.isfinite(target["wages_per_head"]).sum()
    # New York County: its people, as the census of 2010 counted them.
    inside = cells.unit["county"] == "36061"
    assert cells.weight["population"][inside].sum() == pytest.approx(1.6e6, rel=0.05)


@pytest.mark.slow
def test_the_benchmark_scores_files_of_vectors_by_each_mean(tmp_path):
    pytest.importorskip("lightgbm")
    cells, z_nd, labels = planted()
    people_n = cells.weight["population"]
    rows = zip(cells.lat, cells.lon, cells.unit["county"], people_n, strict=True)
    lines = [f"{i},{a},{b},{c},{p}" for i, (a, b, c, p) in enumerate(rows)]
    (tmp_path / "cells.csv").write_text(
        "\n".join(["cell,lat,lon,county,population", *lines])
    )
    lines = [f"{c},{y}" for c, y in zip(labels.code_u, labels.y_u, strict=True)]
    (tmp_path / "y.csv").write_text("\n".join(["county,y", *lines]))
    entry = {"name": "EDU", "file": "y.csv", "target": "y"}
    (tmp_path / "tasks.json").write_text(json.dumps([entry]))
    columns = {"cell": np.arange(1200).astype(str), "embedding": z_nd.tolist()}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "teacher.parquet")
    command = [sys.executable, str(ROOT / "benchmarks" / "mora.py"), "--quick"]
    command += [f"--tasks={tmp_path}", f"--vectors={tmp_path / 'teacher.parquet'}"]
    command += ["--means=plain,population", "--encoders=teacher"]
    command += [f"--out={tmp_path / 'mora.json'}"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # small trees; threads would wait
    options = {"capture_output": True, "text": True, "env": env}
    ran = subprocess.run(command, cwd=tmp_path, **options)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "mora.json").read_text())["EDU"]
    assert set(found["published"]) == {"teacher", "teacher/population"}
    assert found["grouped"]["teacher/population"]["score"] > 0.99
    assert found["grouped"]["teacher"]["score"] < 0.9
    assert "teacher/population" in ran.stdout
