# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is found, to look at: pictures of the nearest neighbours across modalities."""

import html
from collections.abc import Callable, Mapping

import numpy as np

from unigeo_jax.evals import charts, geolocation
from unigeo_jax.evals.retrieval import great_circle_km

PAIRS = (("text", "aerial"), ("aerial", "coords"), ("coords", "aerial"))
SHOWN = 5
LETTERS = 160  # of a text that are shown


def neighbours(
    z: Mapping[str, np.ndarray],
    here: Mapping[str, np.ndarray],
    lat: np.ndarray,
    lon: np.ndarray,
    look: Callable[[int], tuple[np.ndarray | None, str]],
    queries: int = 4,
) -> list[str]:
    """Draws the five most similar places of some queries, a table a pair of PAIRS.

    Args:
      z: {modality: unit vectors (n, d)}; here: {modality: bool (n,)}; lat, lon degrees.
      look: row -> its picture, uint8 (height, width, 3) or None, and its text.

    Returns:
      Parts of a page, none where no pair of modalities is there. The queries are drawn
      at random, always the same ones: they are not chosen for how they look.
    """
    parts = []
    for query, target in PAIRS:
        if query not in z or target not in z:
            continue
        asked = np.flatnonzero(here[query] & here[target])
        gallery = np.flatnonzero(here[target])
        if len(gallery) < SHOWN or not len(asked):
            continue
        asked = np.random.default_rng(0).permutation(asked)[:queries]
        _, found = geolocation.top_k(z[query][asked], z[target][gallery], SHOWN)
        parts.append(f"<h3>{query} asks, {target} answers</h3><table class=seen>")
        for row, near in zip(asked.tolist(), gallery[found], strict=True):
            km = great_circle_km(lat[row], lon[row], lat[near], lon[near])
            cells = [_cell(*look(row), f"asked: {lat[row]:.1f}, {lon[row]:.1f}", "ask")]
            for other, far in zip(near.tolist(), km.tolist(), strict=True):
                own = other == row
                caption = "the place itself" if own else f"{far:,.0f} km away"
                cells.append(_cell(*look(other), caption, "own" if own else ""))
            parts.append(f"<tr>{''.join(cells)}</tr>")
        parts.append("</table>")
    if parts:
        heading = "<h2>Nearest neighbours</h2><p>Queries drawn at random. The aerial"
        return [f"{heading} picture stands for a place, whatever is asked.</p>", *parts]
    return []


def _cell(picture: np.ndarray | None, text: str, caption: str, kind: str) -> str:
    drawn = "no picture" if picture is None else charts.picture(picture, 4)
    short = text if len(text) <= LETTERS else text[:LETTERS] + "..."
    words = f"<small>{html.escape(short)}</small>" if kind == "ask" else ""
    return f'<td class="{kind}">{drawn}<br>{html.escape(caption)}{words}</td>'


def rows_of(
    lat: np.ndarray, lon: np.ndarray, all_lat: np.ndarray, all_lon: np.ndarray
) -> list[int]:
    """Finds the rows of places in a longer list that holds them, by coordinates."""
    places = zip(
        np.asarray(all_lat).tolist(), np.asarray(all_lon).tolist(), strict=True
    )
    number = {place: row for row, place in enumerate(places)}
    asked = zip(np.asarray(lat).tolist(), np.asarray(lon).tolist(), strict=True)
    return [number[place] for place in asked]
