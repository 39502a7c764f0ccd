# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the report are those of the places that are found."""

import numpy as np

from unigeo_jax.evals import charts, panels


def test_the_most_similar_places_are_shown_and_the_place_itself_is_marked():
    n = 8
    z = np.eye(n, dtype=np.float32)
    # Row i asks and finds itself first; nobody has row 7 as an image.
    here = {"text": np.ones(n, bool), "aerial": np.arange(n) < 7}
    lat, lon = np.linspace(0, 7, n), np.zeros(n)
    pictures = np.random.default_rng(0).integers(0, 255, (n, 4, 4, 3), np.uint8)
    seen = []

    def look(row):
        seen.append(row)
        return (None if row == 3 else pictures[row]), f"<place {row}>"

    both = {"text": z, "aerial": z}
    parts = panels.neighbours(both, here, lat, lon, look, queries=7)
    page = "".join(parts)
    assert page.count("the place itself") == page.count('class="own"') == 7
    assert "text asks, aerial answers" in page and "aerial asks" not in page
    assert 7 not in seen and "no picture" in page
    assert "&lt;place 2&gt;" in page and "<place" not in page
    assert charts.picture(pictures[2], 4) in page
    assert " km away" in page


def test_no_panel_is_drawn_without_two_modalities_that_can_be_shown():
    one = {"coords": np.eye(9, dtype=np.float32)}
    here = {"coords": np.ones(9, bool)}
    assert panels.neighbours(one, here, np.zeros(9), np.zeros(9), None) == []


def test_places_are_found_again_by_their_coordinates():
    lat, lon = np.array([1.5, 2.5, 2.5]), np.array([10.0, 20.0, 30.0])
    assert panels.rows_of(lat[[2, 0]], lon[[2, 0]], lat, lon) == [2, 0]
