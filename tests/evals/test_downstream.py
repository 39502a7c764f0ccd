# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Probes of everything on everything; what a planted leak and a planted map show."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from unigeo_jax.evals import baselines, downstream, entries, labels, report


def places(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    return np.degrees(np.arcsin(rng.uniform(-0.8, 0.9, n))), rng.uniform(-180, 180, n)


def waves(count, seed):
    """Wave vectors of about 2,300 km of length, (3, count)."""
    return 10 * np.random.default_rng(seed).normal(size=(3, count))


def smooth_features(lat, lon):
    """As smooth as the planted field, and otherwise unrelated."""
    phase = baselines.splits.unit_vectors(lat, lon) @ waves(150, seed=2)
    return np.concatenate([np.cos(phase), np.sin(phase)], 1)


def noise(lat, lon):
    return np.random.default_rng(len(lat)).normal(size=(len(lat), 8))


def task(name, y, lat, lon, **options):
    kind = options.pop("kind", "regression")
    return labels.make(name, kind, lat, lon, y, **options)


@pytest.fixture
def few(monkeypatch):
    """Fewer and narrower baselines: these tests are not about them."""
    full = baselines.features

    def narrow(width):
        found = full(width)
        return {name: found[name] for name in ("latlon", "sphere", "harmonics10")}

    monkeypatch.setattr(baselines, "features", narrow)
    monkeypatch.setattr(downstream, "EFFICIENCY_ROWS", (100,))


def run(tasks, encoders, tmp_path, **options):
    options = {"seeds": 2, "kinds": ("random", "blocked")} | options
    return downstream.run(tasks, encoders, 16, tmp_path, downstream.Options(**options))


@pytest.mark.usefixtures("few")
def test_planted_autocorrelation_is_exposed_by_blocks(tmp_path):
    """A smooth field that the features have nothing to do with: interpolation alone."""
    lat, lon = places(3000)
    phase = baselines.splits.unit_vectors(lat, lon) @ waves(30, seed=1)
    field = np.cos(phase + np.arange(30)).sum(1)
    encoder = entries.Encoder("smooth", smooth_features)
    one = task("field", field, lat, lon, block_deg=60)
    scores, _ = run([one], [encoder], tmp_path)
    random, blocked = (scores["field"][kind] for kind in ("random", "blocked"))
    assert random["smooth"]["score"] > 0.5
    assert random["idw"]["score"] > 0.5
    assert blocked["smooth"]["score"] < 0.15
    assert blocked["idw"]["score"] < 0.15
    assert blocked["smooth"]["high"] < random["smooth"]["low"]
    # What the mean leaves is the field itself, and so is what fails under blocks.
    assert random["mean"]["moran"] > 0.6
    assert blocked["smooth"]["moran"] > 0.6
    assert random["smooth"]["moran"] < random["mean"]["moran"] - 0.2
    far = "over 750 km"
    far_random, far_blocked = (
        kind["smooth"]["by_distance"][far]["n"] for kind in (random, blocked)
    )
    assert far_random < 30 < far_blocked


@pytest.mark.usefixtures("few")
def test_a_planted_leak_is_marked_and_never_best_in_the_report(tmp_path):
    """A label copied into a modality: the score is perfect, and the report says why."""
    lat, lon = places(600)
    rng = np.random.default_rng(3)
    secret = rng.normal(size=600)
    table = dict(zip(zip(lat, lon, strict=True), secret, strict=True))

    def copied(a, b):
        label = np.array([table[pair] for pair in zip(a, b, strict=True)])
        return np.stack([label, noise(a, b)[:, 0]], 1)

    leaky = entries.Encoder("leaky", copied, saw=("demographics",))
    honest = entries.Encoder("honest", noise)
    secret_task = task("secret", secret, lat, lon, leaks=("demographics",))
    scores, about = run([secret_task], [leaky, honest], tmp_path)
    entry = scores["secret"]["blocked"]["leaky"]
    assert entry["score"] > 0.99
    assert entry["leak"] == ["demographics"]
    assert scores["secret"]["blocked"]["honest"]["leak"] == []
    assert scores["secret"]["blocked"]["honest"]["score"] < 0.05
    results = {"downstream": scores, **about, "run": {"seeds": 2}}
    assert "1.000*" in report.table(results)
    report.write(tmp_path / "report.html", results, {"honest": noise}, grid_deg=10)
    page = (tmp_path / "report.html").read_text()
    row = page.split("<td>secret</td>")[1].split("</tr>")[0]
    assert '<td class="leak">1.000 †<small>demographics</small>' in row
    assert "http" not in page
    assert "data:image/png;base64," in page
    assert "Moran's I, blocked folds" in page
    assert "by distance to the nearest training row" in page
    assert page.count("<details open><summary>secret</summary>") == 1
    assert "<th>Africa<small>" in page or "<th>Asia<small>" in page


@pytest.mark.usefixtures("few")
def test_tasks_of_the_same_places_score_as_they_do_alone(tmp_path):
    lat, lon = places(400)
    rng = np.random.default_rng(0)
    a = task("a", np.sin(lat / 30) + 0.1 * rng.normal(size=400), lat, lon)
    b = task("b", np.cos(lon / 60) + 0.1 * rng.normal(size=400), lat, lon)
    encoder = entries.Encoder("noise", noise)
    both, _ = run([a, b], [encoder], tmp_path / "both")
    alone, _ = run([b], [encoder], tmp_path / "alone")
    for kind, scored in both["b"].items():
        for name, entry in scored.items():
            expected = pytest.approx(alone["b"][kind][name]["score"], abs=1e-9)
            assert entry["score"] == expected
    assert both["a"]["random"]["sphere"]["score"] > 0.8


@pytest.mark.usefixtures("few")
def test_files_hold_every_prediction_and_the_folds_hash(tmp_path):
    lat, lon = places(300)
    y = lat + lon / 10
    groups = {"continent": np.where(lon < -30, "A", np.where(lon < 60, "B", "C"))}
    options = {"kinds": ("random", "blocked", "region")}
    one = task("one", y, lat, lon, groups=groups)
    scores, about = run([one], [entries.Encoder("noise", noise)], tmp_path, **options)
    assert set(scores["one"]) == {"random", "blocked", "region-continent"}
    table = pq.read_table(tmp_path / "predictions" / "one.parquet").to_pydict()
    assert len(table["row"]) == 300 * (2 + 2 + 1)
    first = np.flatnonzero(
        (np.array(table["folds"]) == "random") & (np.array(table["seed"]) == 0)
    )
    value = np.array(table["sphere"])[first]
    entry = scores["one"]["random"]["sphere"]
    r2 = 1 - np.sum((y - value) ** 2) / np.sum((y - y.mean()) ** 2)
    assert r2 == pytest.approx(entry["score"], abs=5 * entry["std"] + 1e-5)
    assert entry["low"] <= entry["score"] <= entry["high"]
    assert len(about["folds"]) == 5
    for name, digest in about["folds"].items():
        data = (tmp_path / "folds" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    json.dumps(report.plain({"downstream": scores, **about}), allow_nan=False)


@pytest.mark.usefixtures("few")
def test_classes_are_judged_too(tmp_path):
    lat, lon = places(400)
    label = np.where(lat > 20, "north", np.where(lat > -10, "middle", "south"))
    zones = task("zones", label, lat, lon, kind="classification")
    scores, about = run([zones], [entries.Encoder("noise", noise)], tmp_path, seeds=1)
    blocked = scores["zones"]["blocked"]
    assert blocked["latlon"]["metric"] == "accuracy"
    assert blocked["latlon"]["score"] > 0.9
    assert blocked["latlon"]["macro_f1"] > 0.9
    assert blocked["mean"]["score"] < 0.6
    assert about["tasks"]["zones"]["classes"] == 3


@pytest.mark.usefixtures("few")
def test_what_cannot_be_scored_is_a_flagged_row(tmp_path):
    lat, lon = places(200)
    constant = task("constant", np.ones(200), lat, lon)
    fewer = task("few", np.arange(4.0), lat[:4], lon[:4])
    one_class = task("one", np.array(["x"] * 200), lat, lon, kind="classification")
    encoder = entries.Encoder("noise", noise)
    scores, about = run([constant, fewer, one_class], [encoder], tmp_path, seeds=1)
    for name, word in (
        ("constant", "1 value in 200 rows"),
        ("few", "4 rows"),
        ("one", "1 class in 200 rows"),
    ):
        entry = scores[name]["random"]["noise"]
        assert entry["score"] is None
        assert word in entry["flags"][0]
    results = {"downstream": scores, **about}
    assert "constant" in report.table(results, "random")
    report.write(tmp_path / "report.html", results, {}, grid_deg=10)


@pytest.mark.usefixtures("few")
def test_rows_far_from_all_training_places_are_flagged(tmp_path):
    lat, lon = places(200)
    here = (np.array([0.0]), np.array([0.0]))
    encoder = entries.Encoder("regional", noise, places=here)
    scores, _ = run([task("a", lat, lat, lon)], [encoder], tmp_path, seeds=1)
    entry = scores["a"]["blocked"]["regional"]
    assert "over 500 km from every place" in entry["flags"][0]
    assert sum(part["n"] for part in entry["by_pretraining"].values()) == 200


def test_unknown_probes_and_vectors_that_are_not_finite_are_refused(tmp_path):
    lat, lon = places(50)
    tasks = [task("a", lat, lat, lon)]
    with pytest.raises(ValueError, match=r"probes: got \['forest'\]"):
        run(tasks, [], tmp_path, probes=("forest",))
    with pytest.raises(ValueError, match=r"splits: got \['striped'\]"):
        run(tasks, [], tmp_path, kinds=("striped",))
    broken = entries.Encoder("broken", lambda a, b: np.full((len(a), 2), np.nan))
    with pytest.raises(ValueError, match="encoder broken: vectors of a"):
        run(tasks, [broken], tmp_path)
