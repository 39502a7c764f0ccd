# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal retrieval: seen one way, is a place found again seen another way?

Queries are the places that have both modalities; the gallery is every place of the
split that has the target modality. Recall grows as the gallery shrinks, so a number
is only comparable with one of the same gallery: size and chance stand beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from unigeo_jax.types import Array

EARTH_RADIUS_KM = 6371.0088  # mean radius of WGS 84 (IUGG)
# Cosines nearer than this are a tie: float32 products of equal vectors differ so much.
_TIE = 1e-6
_CHUNK_ENTRIES = 2**24  # similarities held at once: 64 MiB of float32

Score = dict[str, float | int | None]
Result = dict[str, Score]
Pair = tuple[tuple[str, ...], str]


def great_circle_km(lat: Array, lon: Array, to_lat: Array, to_lon: Array) -> np.ndarray:
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
    embeddings: Mapping[str, Array],
    here: Mapping[str, Array],
    lat: Array,
    lon: Array,
    block: Array,
    *,
    k: Sequence[int] = (1, 5, 10),
    radii_km: Sequence[float] = (25, 200, 750, 2500),
    ensembles: Literal["leave_one_out"] | Sequence[Pair] = "leave_one_out",
    chunk: int | None = None,
) -> Result:
    """Score every ordered pair of modalities, and ensembles, by cosine similarity.

    embeddings: {modality: (n, d)}, normalised here; here: {modality: bool (n,)}; lat,
    lon (n,) degrees; block (n,) id of the 10 degree block of each place.
    ensembles: all others together -> each modality, or a list of ((names), target). An
    ensemble's query is the mean of the unit vectors that are present, that is the mean
    of the cosines (UniGeoCLIP leaves the rule open).
    chunk: queries compared at once; changes memory, not the result.

    Returns {"aerial->coords": score, "aerial+text->coords": score, ...}, where a score
    holds, as shares of the queries unless said otherwise:
    recall@k: the place itself is among the k most similar. Not "a place nearby is":
      a twin in the next cell counts as a miss, in an easy and in a hard gallery alike.
    median_rank: 1 is best, (gallery + 1) / 2 is chance.
    acc@Rkm, median_km: great circle from the query's place to the most similar item's.
      Bounded below by the spacing of the gallery; the place itself is in it, so this
      is no error of geolocation at a place that nobody has indexed.
    gallery, queries: counts. chance@k: recall@k of a random order, min(1, k / gallery).
    block_oracle@k: expected recall@k of a guess at random within the right block. A
      model below it may know no more than the climate or the country.
    Ties share their ranks evenly: the expectation over their random orders, so that
    one constant vector scores chance. The most similar item is drawn among its ties.
    All but the counts and chance are None for a pair without queries.

    Raises ValueError if shapes disagree, a modality is unknown, a present embedding is
    not finite, or nothing can be paired.
    """
    lat, lon, block = np.asarray(lat), np.asarray(lon), np.asarray(block)
    here = {name: np.asarray(mask, bool) for name, mask in here.items()}
    _check(embeddings, here, {"lat": lat, "lon": lon, "block": block}, k)
    unit = {name: _unit(name, z, here[name]) for name, z in embeddings.items()}
    result = {}
    for names, target in _pairs(tuple(unit), ensembles):
        present = np.any([here[name] for name in names], axis=0)
        queries = np.flatnonzero(present & here[target])
        gallery = np.flatnonzero(here[target])
        score = _levels(block, queries, gallery, k)
        if len(queries):
            count = np.sum([here[name] for name in names], axis=0)[queries, None]
            z_bd = np.sum([unit[name][queries] for name in names], axis=0) / count
            own = np.searchsorted(gallery, queries)
            above, ties, top = _rank(
                z_bd.astype(np.float32), unit[target][gallery], own, chunk
            )
            there = gallery[top]
            km = great_circle_km(lat[queries], lon[queries], lat[there], lon[there])
            score |= _score(above, ties, km, k, radii_km)
        else:
            score |= dict.fromkeys(_score_names(k, radii_km))
        result["+".join(sorted(names)) + "->" + target] = score
    return result


def summary(result: Result) -> dict[str, float | int | str]:
    """Average over the ordered pairs of single modalities that have queries.

    Every pair counts alike, so a modality few places have weighs as much as another;
    pairs whose galleries differ in size are averaged all the same. Gives "pairs", "mean
    X" of every recall@k, chance@k and block_oracle@k, "weakest pair" and "weakest
    recall@k", both at the largest k. Ensembles are left out.
    """
    scores = {
        pair: score
        for pair, score in result.items()
        if "+" not in pair and score["queries"]
    }
    out: dict[str, float | int | str] = {"pairs": len(scores)}
    if scores:
        names = [x for x in next(iter(scores.values())) if "@" in x and "acc" not in x]
        for name in names:
            out[f"mean {name}"] = float(np.mean([x[name] for x in scores.values()]))
        most = f"recall@{_cutoffs(result)[1]}"
        weakest = min(scores, key=lambda pair: scores[pair][most])
        out["weakest pair"] = weakest
        out[f"weakest {most}"] = scores[weakest][most]
    return out


def table(results: Mapping[str, Result]) -> str:
    """Print one matrix a split: row the query, column the target, `recall@10/recall@1`.

    In per cent, at the largest and smallest k evaluated; "all others" is the ensemble
    of the other modalities and "km" its median distance. Chance, block oracle and
    gallery size stand under each column. ASCII, at most 100 columns wide.
    """
    return "\n\n".join(_split_table(name, result) for name, result in results.items())


def _split_table(split: str, result: Result) -> str:
    low, high = _cutoffs(result)
    names = list(dict.fromkeys(pair.split("->")[0] for pair in result))
    names = [name for name in names if "+" not in name]
    both = [f"recall@{high}", f"recall@{low}"]
    lines = [f"{split}: recall@{high}/recall@{low} in %, rows ask, columns are searched"]
    shown = set()
    for first in range(0, len(names), 8):
        targets = names[first : first + 8]
        lines.append(_line("", [target[:9] for target in targets]))
        for query in names:
            scores = [result.get(f"{query}->{target}") for target in targets]
            lines.append(_line(query, [_percents(x, both) for x in scores]))
        keys = [
            "+".join(sorted({*names} - {target})) + f"->{target}" for target in targets
        ]
        if len(names) > 2 and any(key in result for key in keys):
            shown |= set(keys)
            scores = [result.get(key) for key in keys]
            lines.append(_line("all others", [_percents(x, both) for x in scores]))
            lines.append(_line("all others, km", [_kilometres(x) for x in scores]))
        for label, level in (("chance", "chance"), ("block oracle", "block_oracle")):
            wanted = [f"{level}@{high}", f"{level}@{low}"]
            columns = [_column(result, target) for target in targets]
            lines.append(_line(label, [_percents(x, wanted) for x in columns]))
        sizes = [str(_column(result, target)["gallery"]) for target in targets]
        lines.append(_line("gallery", sizes))
    for pair, score in result.items():
        if "+" in pair and pair not in shown:
            name = pair if len(pair) <= 76 else pair[:73] + "..."
            lines.append(f"{name}  {_percents(score, both)}  {_kilometres(score)} km")
    mean = summary(result)
    if mean["pairs"]:
        share = {x: _percents(mean, [f"mean {y}" for y in both]) for x in ["mean"]}
        lines.append(
            f"mean of {mean['pairs']} pairs {share['mean']}, "
            f"weakest {mean['weakest pair']} {100 * mean[f'weakest {both[0]}']:.1f}"
        )
    return "\n".join(lines)


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


def _unit(name: str, z_nd: Array, here: np.ndarray) -> np.ndarray:
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
    embeddings: Mapping[str, Array],
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
    shapes = {f"embeddings[{x!r}]": (np.shape(z), (n, d)) for x, z in embeddings.items()}
    shapes |= {f"here[{name!r}]": (mask.shape, (n,)) for name, mask in here.items()}
    shapes |= {name: (column.shape, (n,)) for name, column in columns.items()}
    for what, (got, allowed) in shapes.items():
        if got != allowed:
            raise ValueError(f"retrieval: {what} has shape {got}, allowed: {allowed}")
