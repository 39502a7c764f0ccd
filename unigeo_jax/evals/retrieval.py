# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal retrieval: seen one way, is a place found again seen another way?

Queries are the places that have both modalities; the gallery is every place of the
split that has the target modality, ranked by cosine similarity. A score holds, as
shares of the queries unless said otherwise:

- recall@k: the place itself is among the k most similar. A twin in the next cell counts
  as a miss. Recall falls as the gallery grows: compare at equal `gallery` only.
- median_rank: 1 is best, (gallery + 1) / 2 is chance.
- acc@<R>km, median_km: great circle from the query's place to that of the most similar
  item. The place itself is in the gallery, so this is not the error of locating a place
  that nobody has indexed, and it can be no finer than the gallery is dense.
- gallery, queries: counts.
- chance@k: recall@k of a random order, min(1, k / gallery).
- block_oracle@k: recall@k expected of a random guess within the right 10 degree block.
  A model below it need know no more than a region's looks.

Ties share their ranks evenly (the expectation over their orders) and the most similar
item is drawn among its ties, so one constant vector scores chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

EARTH_RADIUS_KM = 6371.0088  # mean radius of WGS 84 (IUGG)
# Cosines nearer than this are a tie: float32 products of equal vectors differ so much.
_TIE = 1e-6
_CHUNK_ENTRIES = 2**24  # similarities held at once: 64 MiB of float32

Score = dict[str, Any]
Result = dict[str, Score]
Pair = tuple[tuple[str, ...], str]


def great_circle_km(
    lat: ArrayLike, lon: ArrayLike, to_lat: ArrayLike, to_lon: ArrayLike
) -> np.ndarray:
    """Return haversine distances, degrees in, on the sphere of the mean radius."""
    phi, theta, to_phi, to_theta = (
        np.radians(np.asarray(x, np.float64)) for x in (lat, lon, to_lat, to_lon)
    )
    half_chord = (
        np.sin((to_phi - phi) / 2) ** 2
        + np.cos(phi) * np.cos(to_phi) * np.sin((to_theta - theta) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half_chord, 0, 1)))


def run(
    embeddings: Mapping[str, ArrayLike],
    here: Mapping[str, ArrayLike],
    lat: ArrayLike,
    lon: ArrayLike,
    block: ArrayLike,
    *,
    k: Sequence[int] = (1, 5, 10),
    radii_km: Sequence[float] = (25, 200, 750, 2500),
    ensembles: Literal["leave_one_out"] | Sequence[Pair] = "leave_one_out",
    chunk: int | None = None,
) -> Result:
    """Score every ordered pair of modalities, and ensembles of queries.

    embeddings: {modality: (n, d)}, normalised here; here: {modality: bool (n,)}; lat,
    lon (n,) degrees; block (n,) id of the 10 degree block of each place.
    ensembles: all others together -> each modality, or a list of ((names), target). Its
    query is the mean of the unit vectors present, which ranks by the mean cosine.
    chunk: queries compared at once; changes memory, not the result.

    Returns {"aerial->coords": score, "aerial+text->coords": score, ...}; the module's
    docstring says what a score holds, what each number is and what it does not mean.
    Without queries a pair's score is None but for the counts and chance.

    Raises ValueError if shapes disagree, a modality is unknown or a present embedding
    is not finite.
    """
    lat, lon, block = np.asarray(lat), np.asarray(lon), np.asarray(block)
    here = {name: np.asarray(mask, bool) for name, mask in here.items()}
    _check(embeddings, here, {"lat": lat, "lon": lon, "block": block}, k)
    unit = {name: _unit(name, z, here[name]) for name, z in embeddings.items()}
    result = {}
    for names, target in _pairs(tuple(unit), ensembles):
        count = np.sum([here[name] for name in names], axis=0)
        queries = np.flatnonzero((count > 0) & here[target])
        gallery = np.flatnonzero(here[target])
        score = _levels(block, queries, gallery, k)
        score |= dict.fromkeys(_score_names(k, radii_km))
        if len(queries):
            z_bd = np.sum([unit[name][queries] for name in names], axis=0)
            z_bd /= count[queries, None].astype(np.float32)
            own = np.searchsorted(gallery, queries)
            above, ties, top = _rank(z_bd, unit[target][gallery], own, chunk)
            there = gallery[top]
            km = great_circle_km(lat[queries], lon[queries], lat[there], lon[there])
            score |= _score(above, ties, km, k, radii_km)
        result["+".join(sorted(names)) + "->" + target] = score
    return result


def summary(result: Result) -> dict[str, float | int | str]:
    """Average over the ordered pairs of single modalities that have queries.

    Gives "pairs" (how many), "mean X" for every recall@k, chance@k, block_oracle@k, and
    at the largest k "weakest pair" and "weakest recall@k". Every pair counts alike,
    whatever its gallery; ensembles are left out.
    """
    scores = {x: y for x, y in result.items() if "+" not in x and y["queries"]}
    if not scores:
        return {"pairs": 0}
    shares = [x for x in next(iter(scores.values())) if "@" in x and "km" not in x]
    out = {f"mean {x}": float(np.mean([y[x] for y in scores.values()])) for x in shares}
    most = f"recall@{_cutoffs(result)[0]}"
    weakest = min(scores, key=lambda pair: scores[pair][most])
    out[f"weakest {most}"] = scores[weakest][most]
    return {"pairs": len(scores), "weakest pair": weakest, **out}


def table(results: Mapping[str, Result]) -> str:
    """Lay out {split: result} in ASCII, at most 100 columns: one matrix a split.

    Rows are queries, columns targets, cells recall@<largest k>/recall@<smallest k> in
    per cent; "all others" is the ensemble of the other modalities, with the median km
    of its best item. Chance, block oracle and gallery size close every column.
    """
    return "\n\n".join(_matrix(name, result) for name, result in results.items())


def _matrix(split: str, result: Result) -> str:
    cutoffs = _cutoffs(result)
    recall, chance, oracle = (
        [f"{what}@{k}" for k in cutoffs]
        for what in ("recall", "chance", "block_oracle")
    )
    singles = [pair.split("->") for pair in result if "+" not in pair]
    names = list(dict.fromkeys(name for pair in singles for name in pair))
    others = {x: "+".join(sorted({*names} - {x})) + f"->{x}" for x in names}
    lines = [f"{split}: {'/'.join(recall)} in %, rows ask, columns are searched"]
    for first in range(0, len(names), 8):
        targets = names[first : first + 8]
        rows = [("", [target[:9] for target in targets])]
        for name in names:
            cells = [_cell(result.get(f"{name}->{x}"), recall) for x in targets]
            rows.append((name, cells))
        together = [result.get(others[x]) for x in targets]
        if len(names) > 2 and any(together):
            rows.append(("all others", [_cell(score, recall) for score in together]))
            rows.append(("all others km", [_km(score) for score in together]))
        columns = [_column(result, target) for target in targets]
        rows.append(("chance", [_cell(score, chance) for score in columns]))
        rows.append(("block oracle", [_cell(score, oracle) for score in columns]))
        rows.append(("gallery", [f"{score['gallery']:.0f}" for score in columns]))
        lines += [f"{x[:14]:14}" + "".join(f"{y:>10}" for y in ys) for x, ys in rows]
    for pair in [x for x in result if "+" in x and x not in others.values()]:
        km = _km(result[pair])
        lines.append(f"{pair[:76]}  {_cell(result[pair], recall)}  {km} km")
    means = summary(result)
    if means["pairs"]:
        mean, by_chance, by_block = (
            _cell(means, [f"mean {x}" for x in keys])
            for keys in (recall, chance, oracle)
        )
        lines.append(f"mean {mean}, chance {by_chance}, block oracle {by_block}")
        lowest = _cell(means, [f"weakest {recall[0]}"])
        lines.append(f"weakest {means['weakest pair']} {lowest}"[:100])
    return "\n".join(lines)


def _cutoffs(result: Result) -> list[int]:
    """Return the largest and the smallest k that were evaluated, once if they agree."""
    score = next(iter(result.values()))
    k = [int(name.split("@")[1]) for name in score if name.startswith("recall@")]
    return sorted({min(k), max(k)}, reverse=True)


def _column(result: Result, target: str) -> Score:
    """Average the single queries of one target; its gallery and chance are constant."""
    scores = [
        y for x, y in result.items() if "+" not in x and x.split("->")[1] == target
    ]
    asked = [score for score in scores if score["queries"]] or scores[:1]
    known = [name for name, value in asked[0].items() if value is not None]
    return dict.fromkeys(asked[0]) | {x: np.mean([y[x] for y in asked]) for x in known}


def _cell(score: Mapping[str, Any] | None, names: list[str]) -> str:
    """Return shares in per cent, three digits each: 100, 45.2, 0.1."""
    if not score or score[names[0]] is None:
        return "-"
    percents = [100 * score[name] for name in names]
    return "/".join("100" if x > 99.95 else f"{x:.1f}" for x in percents)


def _km(score: Score | None) -> str:
    return (
        "-" if not score or score["median_km"] is None else f"{score['median_km']:.0f}"
    )


def _pairs(names: tuple[str, ...], ensembles: str | Sequence[Pair]) -> list[Pair]:
    """List ((queries), target): the single pairs row by row, then the ensembles."""
    pairs = [((query,), target) for query in names for target in names]
    pairs = [(query, target) for query, target in pairs if query != (target,)]
    if isinstance(ensembles, str):
        if ensembles != "leave_one_out":
            raise ValueError(
                f"retrieval: ensembles={ensembles!r}, allowed: 'leave_one_out' or a "
                "list of ((query modalities), target)"
            )
        if len(names) < 3:
            return pairs
        others = [(tuple(x for x in names if x != target), target) for target in names]
        return pairs + others
    for queries, target in ensembles:
        unknown = {*queries, target} - set(names)
        if unknown or target in queries or not queries or isinstance(queries, str):
            raise ValueError(
                f"retrieval: ensemble {queries} -> {target}, allowed: modalities of "
                f"{list(names)}, the target not among the queries"
            )
    return pairs + [(tuple(queries), target) for queries, target in ensembles]


def _rank(
    query_bd: np.ndarray, gallery_gd: np.ndarray, own: np.ndarray, chunk: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare queries with the gallery, where item own[i] is query i's own place.

    Returns for each query: items more similar than its own, items tied with it (itself
    included), and the most similar item.
    """
    if chunk is None:
        chunk = max(1, _CHUNK_ENTRIES // len(gallery_gd))
    # Drawn beforehand, so that the chunks do not matter.
    draw = np.random.default_rng(0).random(len(own))
    above, ties, top = (np.empty(len(own), np.int64) for _ in range(3))
    for rows in _slices(len(own), chunk):
        cosine_bg = query_bd[rows] @ gallery_gd.T
        own_b1 = np.take_along_axis(cosine_bg, own[rows, None], 1)
        above[rows] = np.count_nonzero(cosine_bg > own_b1 + _TIE, axis=1)
        ties[rows] = np.count_nonzero(cosine_bg >= own_b1 - _TIE, axis=1) - above[rows]
        best_bg = cosine_bg >= cosine_bg.max(1, keepdims=True) - _TIE
        best_b = np.count_nonzero(best_bg, axis=1)
        top[rows] = best_bg.argmax(1)
        for i in np.flatnonzero(best_b > 1):
            among = np.flatnonzero(best_bg[i])
            top[rows.start + i] = among[int(draw[rows.start + i] * best_b[i])]
    return above, ties, top


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def _score(
    above: np.ndarray,
    ties: np.ndarray,
    km: np.ndarray,
    k: Sequence[int],
    radii_km: Sequence[float],
) -> Score:
    """Average over queries; a query's rank is uniform on above + 1 .. above + ties."""
    recalls = [np.clip((at - above) / ties, 0, 1).mean() for at in k]
    rank = np.median(above + (ties + 1) / 2)
    near = [(km <= radius).mean() for radius in radii_km]
    values = [*recalls, rank, *near, np.median(km)]
    return dict(
        zip(_score_names(k, radii_km), (float(value) for value in values), strict=True)
    )


def _score_names(k: Sequence[int], radii_km: Sequence[float]) -> list[str]:
    recalls = [f"recall@{at}" for at in k]
    near = [f"acc@{radius:g}km" for radius in radii_km]
    return [*recalls, "median_rank", *near, "median_km"]


def _levels(
    block: np.ndarray, queries: np.ndarray, gallery: np.ndarray, k: Sequence[int]
) -> Score:
    """Return the counts and what is reached without a model: by chance, by block."""
    _, block = np.unique(block, return_inverse=True)
    in_block = np.bincount(block[gallery], minlength=block.max(initial=0) + 1)
    own_block = in_block[block[queries]]
    score: Score = {"gallery": len(gallery), "queries": len(queries)}
    for at in k:
        score[f"chance@{at}"] = min(1.0, at / len(gallery)) if len(gallery) else None
    for at in k:
        share = np.minimum(1, at / own_block)
        score[f"block_oracle@{at}"] = float(share.mean()) if len(queries) else None
    return score


def _unit(name: str, z_nd: ArrayLike, here: np.ndarray) -> np.ndarray:
    """Return float32 unit vectors, zeros where the modality is absent."""
    z_nd = np.where(here[:, None], np.asarray(z_nd, np.float32), 0)
    bad = np.flatnonzero(~np.isfinite(z_nd).all(1))
    if len(bad):
        raise ValueError(
            f"retrieval: {len(bad)} embeddings of {name!r} are not finite, the first "
            f"at row {bad[0]}"
        )
    norm = np.linalg.norm(z_nd, axis=1, keepdims=True)
    return z_nd / np.maximum(norm, np.finfo(np.float32).tiny)


def _check(
    embeddings: Mapping[str, ArrayLike],
    here: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    k: Sequence[int],
) -> None:
    """Raise ValueError unless everything speaks of the same places."""
    if len(embeddings) < 2:
        raise ValueError(
            f"retrieval: two modalities or more are needed, got {list(embeddings)}"
        )
    if set(embeddings) != set(here):
        raise ValueError(
            f"retrieval: embeddings of {sorted(embeddings)}, presence of {sorted(here)}"
        )
    if not k or min(k) < 1:
        raise ValueError(f"retrieval: k={list(k)}, allowed: integers >= 1")
    n, d = np.shape(next(iter(embeddings.values())))
    shapes = {
        f"embeddings[{x!r}]": (np.shape(z), (n, d)) for x, z in embeddings.items()
    }
    shapes |= {f"here[{name!r}]": (mask.shape, (n,)) for name, mask in here.items()}
    shapes |= {name: (column.shape, (n,)) for name, column in columns.items()}
    for what, (got, allowed) in shapes.items():
        if got != allowed:
            raise ValueError(f"retrieval: {what} has shape {got}, allowed: {allowed}")
