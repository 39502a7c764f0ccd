# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a model's world: what it answers, and what a browser shows of it."""

import contextlib
import io
import json
import shutil
import threading
import urllib.error
import urllib.request

import numpy as np
import PIL.Image
import pytest

from unigeo_jax import coordinates, explore


class Encoder:
    """Stands in for a loaded model: points on the sphere; words name hemispheres."""

    info = {  # noqa: RUF012
        **{"model_id": "sphere", "dim": 3, "modalities": ["coords", "text"]},
        **{"training_data": "none", "licence": "other"},
    }

    def embed(self, *, lat=None, lon=None, text=None):
        if text is not None:
            return np.array([[0, 0, -1.0 if "south" in text[0] else 1.0]])
        lat, lon = np.deg2rad(coordinates.degrees(lat, lon)).T
        flat = np.cos(lat)
        return np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], 1)

    def supported(self, *, lat, lon):
        return coordinates.degrees(lat, lon)[:, 0] > -50


@pytest.fixture(scope="module")
def address():
    server = explore.server(explore.World(Encoder(), 5.0), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def get(address):
    with urllib.request.urlopen(address, timeout=10) as reply:
        return reply.read()


def test_the_map_has_the_shape_of_the_grid_and_the_colours_of_the_land(address):
    image = np.asarray(PIL.Image.open(io.BytesIO(get(address + "map.png"))))
    assert image.shape == (30, 72, 4)
    land = image[..., 3] > 0
    assert 0.2 < land.mean() < 0.5 and not land[17, 10]  # the Pacific at the equator
    south = land[28:]  # Patagonia's end has no training place near
    assert set(image[28:, :, 3][south]) <= {50}
    assert len(np.unique(image[land][:, :3], axis=0)) > 200


def test_the_nearest_are_near_and_apart(address):
    found = json.loads(get(address + "near?lat=47.5&lon=7.5"))
    assert found["supported"] and found["image"].startswith("data:image/png;base64,")
    first = found["places"][0]
    assert (first["lat"], first["lon"]) == (47.5, 7.5) and first["score"] > 0.999
    at = Encoder().embed(
        lat=[p["lat"] for p in found["places"]], lon=[p["lon"] for p in found["places"]]
    )
    km = 6371 * np.arccos(np.clip(at @ at.T, -1, 1)) + 1e9 * np.eye(len(at))
    assert km.min() > 499
    scores = [p["score"] for p in found["places"]]
    assert scores == sorted(scores, reverse=True)


def test_words_ask_too_and_bad_questions_are_told_so(address):
    north = json.loads(get(address + "near?text=the+north"))
    assert north["places"][0]["lat"] > 75
    for question in ("near?lat=95&lon=0", "near?lat=x&lon=0", "near?text=", "near"):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(address + question)
        with contextlib.closing(error.value):
            assert error.value.code == 400
            assert "allowed" in json.loads(error.value.read())["error"] or "x" in (
                question
            )
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        get(address + "etc/passwd")
    error.value.close()


def test_a_browser_shows_the_map_a_click_and_a_text_and_asks_nobody_else(address):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        known = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            browser = play.chromium.launch(
                executable_path=known, args=["--no-sandbox"] if known else []
            )
        except playwright.Error:
            pytest.skip("no Chromium")
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        asked, faults = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.wait_for_function("document.title && document.querySelector('h1')")
        page.wait_for_selector("form:not([hidden])")
        box = page.locator("#colours").bounding_box()
        page.mouse.click(
            box["x"] + box["width"] * (187.5 / 360),
            box["y"] + box["height"] * (37.5 / 150),
        )
        page.wait_for_selector("ol li")
        assert page.locator("ol li").first.inner_text().startswith("47.5° N, 7.5° E")
        assert page.locator("svg circle.asked").count() == 1
        page.fill("input", "the south")
        page.click("button")
        page.wait_for_selector("text=“the south”")
        assert "S," in page.locator("ol li").first.inner_text()
        browser.close()
    assert faults == []
    assert all(url.startswith((address, "data:")) for url in asked)
