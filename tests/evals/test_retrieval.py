# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Retrieval scores against tables made by hand, chance levels and known distances."""

import itertools
import json

import numpy as np
import pytest

from unigeo_jax.evals import retrieval

CITIES = {
    "Paris": (48.8566, 2.3522),
    "London": (51.5074, -0.1278),
    "New York": (40.7128, -74.0060),
    "Tokyo": (35.6762, 139.6503),
    "Sydney": (-33.8688, 151.2093),
}
# Great circles between the city centres, from tables, good to some kilometres.
KNOWN_KM = {
    ("Paris", "London"): 344,
    ("New York", "London"): 5570,
    ("Tokyo", "Sydney"): 7823,
    ("Paris", "New York"): 5837,
}


@pytest.mark.parametrize("pair", KNOWN_KM, ids="-".join)
def test_distances_between_cities_are_the_known_ones(pair):
    (lat, lon), (to_lat, to_lon) = (CITIES[city] for city in pair)
    there = retrieval.great_circle_km(lat, lon, to_lat, to_lon)
    back = retrieval.great_circle_km(to_lat, to_lon, lat, lon)
    assert there == pytest.approx(KNOWN_KM[pair], rel=3e-3)
    assert there == pytest.approx(back, rel=1e-12)


def test_distances_hold_at_poles_antipodes_and_the_date_line():
    degree = np.pi * retrieval.EARTH_RADIUS_KM / 180
    lat, lon = np.array([0, 90, 0, 45, 10]), np.array([179.5, 0, 0, 10, 20])
    to_lat, to_lon = np.array([0, -90, 0, 45, 10]), np.array([-179.5, 70, 180, 370, 20])
    np.testing.assert_allclose(
        retrieval.great_circle_km(lat, lon, to_lat, to_lon) / degree,
        [1, 180, 180, 0, 0],
        atol=1e-9,
    )


def planet(n=60, d=8, seed=0, missing=0.25):
    """Embeddings of four modalities that share a part by place, and the places."""
    rng = np.random.default_rng(seed)
    shared_nd = rng.normal(size=(n, d))
    names = ("aerial", "coords", "dsm", "text")
    z = {x: (shared_nd + rng.normal(size=(n, d))).astype(np.float32) for x in names}
    here = {name: rng.random(n) >= missing for name in names}
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    lon = rng.uniform(-180, 180, n)
    block = rng.integers(0, 9, n) * 1000 - 4
    return z, here, lat, lon, block


def score_by_hand(z, here, lat, lon, block, names, target, k):
    """One pair, one query at a time, in float64; the data have no ties."""
    cosine = {
        x: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(float)
        for x, v in z.items()
    }
    gallery = [j for j in range(len(lat)) if here[target][j]]
    ranks, km, in_block = [], [], []
    for i in gallery:
        present = [x for x in names if here[x][i]]
        if not present:
            continue
        similarity = {
            j: np.mean([cosine[x][i] @ cosine[target][j] for x in present])
            for j in gallery
        }
        order = sorted(gallery, key=lambda j: -similarity[j])
        ranks.append(order.index(i) + 1)
        best = order[0]
        km.append(
            float(retrieval.great_circle_km(lat[i], lon[i], lat[best], lon[best]))
        )
        in_block.append(sum(block[j] == block[i] for j in gallery))
    ranks, km = np.array(ranks), np.array(km)
    score = {"gallery": len(gallery), "queries": len(ranks)}
    score |= {f"recall@{at}": np.mean(ranks <= at) for at in k}
    score |= {f"chance@{at}": at / len(gallery) for at in k}
    score |= {
        f"block_oracle@{at}": np.mean([min(1, at / count) for count in in_block])
        for at in k
    }
    score |= {f"acc@{r}km": np.mean(km <= r) for r in (25, 200, 750, 2500)}
    return score | {"median_rank": np.median(ranks), "median_km": np.median(km)}


def assert_same(result, expected):
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_every_pair_and_ensemble_agrees_with_a_loop_over_queries():
    z, here, lat, lon, block = planet()
    result = retrieval.run(z, here, lat, lon, block)
    names = sorted(z)
    pairs = [((a,), b) for a, b in itertools.permutations(names, 2)]
    pairs += [(tuple(x for x in names if x != target), target) for target in names]
    assert list(result) == ["+".join(query) + "->" + target for query, target in pairs]
    assert "aerial+dsm+text->coords" in result
    for query, target in pairs:
        expected = score_by_hand(z, here, lat, lon, block, query, target, k=(1, 5, 10))
        assert 0 < expected["recall@1"] < 1
        assert_same(result["+".join(query) + "->" + target], expected)


def test_a_table_made_by_hand():
    """Three cities; Tokyo's picture is taken for Paris, its coordinates are not."""
    lat, lon = np.array([CITIES[x] for x in ("Paris", "London", "Tokyo")]).T
    z = {
        "aerial": np.float32([[2, 0, 0], [0, 3, 0], [4, 0, 1]]),
        "coords": np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    }
    here = {name: np.ones(3, bool) for name in z}
    result = retrieval.run(z, here, lat, lon, np.array([7, 7, 3]), k=(1, 2))
    third = pytest.approx(1 / 3)
    two_thirds = pytest.approx(2 / 3)
    paris_tokyo = retrieval.great_circle_km(lat[0], lon[0], lat[2], lon[2])
    assert result["aerial->coords"] == {
        **{"gallery": 3, "queries": 3, "median_rank": 1.0, "median_km": 0.0},
        **{"recall@1": two_thirds, "recall@2": 1.0},
        **{"chance@1": third, "chance@2": two_thirds},
        **{"block_oracle@1": two_thirds, "block_oracle@2": 1.0},
        **{f"acc@{r}km": two_thirds for r in (25, 200, 750, 2500)},
    }
    assert result["coords->aerial"]["recall@1"] == 1.0
    # A query at Tokyo whose best item is Paris is 9,700 km wrong.
    assert 9600 < paris_tokyo < 9800
    far = retrieval.run(
        z, here, lat, lon, np.zeros(3, int), k=(1,), radii_km=(9600, 9800)
    )["aerial->coords"]
    assert (far["acc@9600km"], far["acc@9800km"]) == (two_thirds, 1.0)


def test_an_ensemble_is_the_mean_of_the_unit_vectors_that_are_present():
    z, here, lat, lon, block = planet(seed=3, missing=0.4)
    unit = {x: v / np.linalg.norm(v, axis=1, keepdims=True) for x, v in z.items()}
    mask = np.stack([here["text"], here["aerial"]])
    stack = np.stack([unit["text"], unit["aerial"]]) * mask[:, :, None]
    both = {"mean": stack.sum(0) / np.maximum(mask.sum(0), 1)[:, None]}
    both["coords"] = 5 * z["coords"]
    both_here = {"mean": mask.any(0), "coords": here["coords"]}
    plain = retrieval.run(both, both_here, lat, lon, block)["mean->coords"]
    asked = [(("text", "aerial"), "coords")]
    result = retrieval.run(z, here, lat, lon, block, ensembles=asked)
    assert_same(result["aerial+text->coords"], plain)
    assert [pair for pair in result if "+" in pair] == ["aerial+text->coords"]
    # More queries than either alone: one modality present is enough.
    for name in ("aerial", "text"):
        assert result[f"{name}->coords"]["queries"] < plain["queries"]


def test_what_absent_entries_hold_changes_nothing():
    z, here, lat, lon, block = planet(seed=4)
    expected = retrieval.run(z, here, lat, lon, block)
    filled = {x: np.where(here[x][:, None], v, np.nan) for x, v in z.items()}
    assert retrieval.run(filled, here, lat, lon, block) == expected


def test_a_modality_that_no_place_has_scores_none_and_stays_valid_json():
    z, here, lat, lon, block = planet(seed=5)
    here["dsm"] = np.zeros_like(here["dsm"])
    result = retrieval.run(z, here, lat, lon, block)
    for pair in ("dsm->text", "text->dsm", "aerial+coords+text->dsm"):
        assert result[pair]["queries"] == 0
        assert result[pair]["recall@10"] is result[pair]["median_km"] is None
    assert result["text->dsm"]["gallery"] == 0
    assert result["dsm->text"]["chance@10"] == 10 / here["text"].sum()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert retrieval.summary(result)["pairs"] == 6
    assert "-" in retrieval.table({"val": result})


@pytest.mark.parametrize("d", [1, 7, 128])
def test_one_constant_vector_scores_chance(d):
    n = 203
    _, _, lat, lon, block = planet(n=n)
    z_d = np.random.default_rng(d).normal(size=d).astype(np.float32)
    z = {x: np.tile(z_d, (n, 1)) for x in ("aerial", "coords", "text")}
    here = {x: np.ones(n, bool) for x in z}
    result = retrieval.run(z, here, lat, lon, block)
    every_km = retrieval.great_circle_km(*(x[:, None] for x in (lat, lon)), lat, lon)
    for score in result.values():
        for k in (1, 5, 10):
            assert score[f"recall@{k}"] == pytest.approx(k / n)
            assert score[f"recall@{k}"] == pytest.approx(score[f"chance@{k}"])
        assert score["median_rank"] == (n + 1) / 2
        # The best item is drawn among all: four standard errors of the share.
        share = np.mean(every_km <= 2500)
        error = 4 * np.sqrt(share * (1 - share) / n)
        assert abs(score["acc@2500km"] - share) < error
        assert abs(score["median_km"] - np.median(every_km)) < 2000


def test_random_embeddings_score_near_chance_and_right_ones_are_perfect():
    n = 1000
    rng = np.random.default_rng(0)
    _, _, lat, lon, block = planet(n=n)
    z = {x: rng.normal(size=(n, 32)) for x in ("aerial", "coords")}
    here = {x: np.ones(n, bool) for x in z}
    score = retrieval.run(z, here, lat, lon, block)["aerial->coords"]
    assert score["chance@10"] == 0.01
    assert abs(score["recall@10"] - 0.01) < 4 * np.sqrt(0.01 * 0.99 / n)
    assert abs(score["median_rank"] - (n + 1) / 2) < 60
    z["coords"] = 3 * z["aerial"]
    score = retrieval.run(z, here, lat, lon, block)["aerial->coords"]
    assert (score["recall@1"], score["median_rank"], score["median_km"]) == (1, 1, 0)


def test_ties_count_by_their_expectation():
    """Two items of the gallery are equal, so each is first for half of the orders."""
    z = {"a": np.eye(4)[[0, 0, 2, 3]], "b": np.eye(4)[[0, 0, 2, 3]]}
    here = {x: np.ones(4, bool) for x in z}
    zeros = np.zeros(4)
    score = retrieval.run(z, here, zeros, zeros, zeros, k=(1, 2))["a->b"]
    assert score["recall@1"] == (0.5 + 0.5 + 1 + 1) / 4
    assert score["recall@2"] == 1
    assert score["median_rank"] == np.median([1.5, 1.5, 1, 1])


def test_the_block_oracle_is_what_a_guess_within_the_right_block_reaches():
    """Blocks of 20, 4 and 1 places; three of the first have no text."""
    block = np.repeat([50, -3, 8], [20, 4, 1])
    n = len(block)
    z = {x: np.random.default_rng(0).normal(size=(n, 4)) for x in ("aerial", "text")}
    here = {"aerial": np.ones(n, bool), "text": np.arange(n) >= 3}
    result = retrieval.run(z, here, np.zeros(n), np.zeros(n), block)
    into_text = result["aerial->text"]
    assert (into_text["gallery"], into_text["queries"]) == (22, 22)
    assert into_text["block_oracle@1"] == pytest.approx((17 / 17 + 4 / 4 + 1) / 22)
    assert into_text["block_oracle@10"] == pytest.approx((17 * 10 / 17 + 4 + 1) / 22)
    into_aerial = result["text->aerial"]
    assert (into_aerial["gallery"], into_aerial["queries"]) == (25, 22)
    assert into_aerial["block_oracle@5"] == pytest.approx((17 * 5 / 20 + 4 + 1) / 22)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_chunks_do_not_change_the_result(chunk):
    z, here, lat, lon, block = planet(seed=6)
    z["text"][:] = z["text"][0]  # ties, so that the draws matter
    whole = retrieval.run(z, here, lat, lon, block)
    parts = retrieval.run(z, here, lat, lon, block, chunk=chunk)
    assert parts == whole


def test_the_summary_averages_the_single_pairs_and_names_the_weakest():
    z, here, lat, lon, block = planet(seed=7)
    z["dsm"] = np.random.default_rng(1).normal(size=z["dsm"].shape)
    result = retrieval.run(z, here, lat, lon, block)
    singles = {x: y for x, y in result.items() if "+" not in x}
    short = retrieval.summary(result)
    assert short["pairs"] == len(singles) == 12
    for k in (1, 10):
        mean = np.mean([score[f"recall@{k}"] for score in singles.values()])
        assert short[f"mean recall@{k}"] == pytest.approx(mean)
    weakest = min(singles, key=lambda pair: singles[pair]["recall@10"])
    assert short["weakest pair"] == weakest and "dsm" in weakest
    assert short["weakest recall@10"] == singles[weakest]["recall@10"]


def test_the_table_shows_every_number_in_ascii_on_100_columns():
    z, here, lat, lon, block = planet(seed=8)
    z |= {x: z["text"] for x in ("demographics", "mobility", "poi", "street", "sound")}
    here |= {x: here["text"] for x in z if x not in here}
    result = retrieval.run(z, here, lat, lon, block)
    asked = [(("aerial", "dsm"), "coords")]
    other = retrieval.run(z, here, lat, lon, block, ensembles=asked)
    text = retrieval.table({"val": result, "near": other})
    assert text.isascii() and max(map(len, text.splitlines())) <= 100
    val, near = text.split("\n\n")
    rows = [line.split() for line in val.splitlines()]
    header = rows.pop(1)
    assert header[:4] == ["aerial", "coords", "dsm", "text"]

    def cell(row, column):
        found = next(line for line in rows if line[0] == row or line[:2] == row)
        return found[header.index(column) + (1 if isinstance(row, str) else 2)]

    def percents(score, name):
        return f"{100 * score[f'{name}@10']:.1f}/{100 * score[f'{name}@1']:.1f}"

    assert cell("aerial", "aerial") == "-"
    assert cell("dsm", "text") == percents(result["dsm->text"], "recall")
    together = "+".join(sorted({*z} - {"dsm"})) + "->dsm"
    assert cell(["all", "others"], "dsm") == percents(result[together], "recall")
    assert cell("chance", "dsm") == percents(result["text->dsm"], "chance")
    assert cell("gallery", "dsm") == str(result["text->dsm"]["gallery"])
    ensemble = next(x for x in near.splitlines() if x.startswith("aerial+dsm->coords"))
    assert percents(other["aerial+dsm->coords"], "recall") in ensemble
    assert f"{other['aerial+dsm->coords']['median_km']:.0f} km" in ensemble


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lat": np.zeros(3)}, r"lat has shape \(3,\), allowed: \(60,\)"),
        ({"k": (0, 1)}, "k=.0, 1., allowed"),
        ({"ensembles": "all"}, "'leave_one_out'"),
        ({"ensembles": [(("aerial", "sonar"), "text")]}, "sonar"),
        ({"ensembles": [(("aerial", "text"), "text")]}, "target not among"),
        ({"here": {"aerial": np.ones(60, bool)}}, "presence of"),
        ({"embeddings": {"aerial": np.ones((60, 8))}}, "two modalities"),
    ],
)
def test_arguments_that_disagree_are_errors_that_name_them(change, message):
    z, here, lat, lon, block = planet()
    args = {"embeddings": z, "here": here, "lat": lat, "lon": lon, "block": block}
    with pytest.raises(ValueError, match=message):
        retrieval.run(**args | change)


def test_an_embedding_that_is_not_finite_is_named_with_its_row():
    z, here, lat, lon, block = planet(missing=0)
    z["dsm"][17, 2] = np.inf
    with pytest.raises(ValueError, match=r"1 embeddings of 'dsm' .* at row 17"):
        retrieval.run(z, here, lat, lon, block)
