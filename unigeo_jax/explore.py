# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A page that shows a model's world: a map of its vectors, and what is alike.

Served by the standard library to this machine only; the page loads nothing else.
Letters: `n` land cells of the map, `d` embedding.
"""

import base64
import http.server
import io
import json
import pathlib
import urllib.parse
import warnings
from typing import Any

import numpy as np
import PIL.Image

from unigeo_jax.evals import charts

PAGE = pathlib.Path(__file__).with_suffix(".html")
APART_KM = 500.0  # of what is listed: next to a place everything is like it
EARTH_KM = 6371.0088


class World:
    """The vectors of the land cells of a raster, 85 N to 65 S.

    enc: what unigeo_jax.load gives. degrees: the side of a cell, a part of 5.
    """

    def __init__(self, enc: Any, degrees: float = 1.0) -> None:
        times = round(5 / degrees) if degrees > 0 else 0
        if times < 1 or abs(times * degrees - 5) > 1e-6:
            raise ValueError(f"--cell_deg: got {degrees}; allowed: 5, 2.5, 1, .5, ...")
        self.enc = enc
        self.lat_n, self.lon_n, self.shape, self.at_n = charts.land(degrees)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the page shows it
            self.z_nd = _unit(enc.embed(lat=self.lat_n, lon=self.lon_n))
        self.known_n = enc.supported(lat=self.lat_n, lon=self.lon_n)
        if not self.known_n.any():
            raise ValueError(
                "no cell is near a training place; allowed: a smaller"
                f" --cell_deg than {degrees}"
            )

    def info(self) -> dict[str, Any]:
        keys = ("model_id", "dim", "modalities", "training_data", "licence")
        return {key: self.enc.info.get(key) for key in keys}

    def colours(self) -> bytes:
        """PNG: three main directions of the vectors as red, green and blue.

        Where no training place is near it is faint.
        """
        rgba_n4 = np.full((len(self.z_nd), 4), 255, np.uint8)
        rgba_n4[:, :3] = charts.principal_colours(self.z_nd)
        rgba_n4[~self.known_n, 3] = 50
        return self._png(rgba_n4)

    def near(self, z_d: np.ndarray, count: int = 12) -> dict[str, Any]:
        """What is like a vector: the best places, apart, and a PNG of all values."""
        score_n = self.z_nd @ _unit(z_d[None])[0]
        ranked = np.where(self.known_n, score_n, -np.inf)
        found, places_n3 = [], _sphere(self.lat_n, self.lon_n)
        for _ in range(count):
            best = int(np.argmax(ranked))
            if not np.isfinite(ranked[best]):
                break
            place = {"lat": self.lat_n[best], "lon": self.lon_n[best]}
            found.append({**place, "score": float(score_n[best])})
            cosine = np.cos(APART_KM / EARTH_KM)
            ranked[places_n3 @ places_n3[best] > cosine] = -np.inf
        low, high = np.percentile(score_n[self.known_n], [50, 99.9])
        heat = ((score_n - low) / max(high - low, 1e-12)).clip(0, 1)
        heat = np.where(self.known_n, heat, 0)[:, None]
        image = np.concatenate([255 * np.ones_like(heat), 220 * heat, 0 * heat], 1)
        png = self._png(np.concatenate([image, 230 * heat], axis=1))
        uri = "data:image/png;base64," + base64.b64encode(png).decode()
        return {"places": found, "image": uri}

    def answer(self, words: dict[str, str]) -> dict[str, Any]:
        """Of {"lat", "lon"} or {"text"}; raises ValueError for anything else."""
        if set(words) == {"text"} and "text" in self.enc.info["modalities"]:
            if not words["text"].strip():
                raise ValueError("text: got nothing; allowed: some words")
            return self.near(self.enc.embed(text=[words["text"]])[0])
        if set(words) != {"lat", "lon"}:
            raise ValueError(f"got {sorted(words)}; allowed: lat and lon, or text")
        lat, lon = float(words["lat"]), float(words["lon"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            z_nd = self.enc.embed(lat=lat, lon=lon)
        known = bool(self.enc.supported(lat=lat, lon=lon)[0])
        return self.near(z_nd[0]) | {"supported": known}

    def _png(self, rgba_n4: np.ndarray) -> bytes:
        pixels = np.zeros((self.shape[0] * self.shape[1], 4), np.uint8)
        pixels[self.at_n] = np.rint(rgba_n4)
        file = io.BytesIO()
        PIL.Image.fromarray(pixels.reshape(*self.shape, 4)).save(file, "PNG")
        return file.getvalue()


def server(world: World, port: int) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1 that is not running yet; port 0: one that is free."""
    files = {
        "/": ("text/html; charset=utf-8", PAGE.read_bytes()),
        "/map.png": ("image/png", world.colours()),
        "/info": ("application/json", json.dumps(world.info()).encode()),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            status, found = 200, files.get(url.path)
            if url.path == "/near":
                words = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                try:
                    answer = world.answer(words)
                except ValueError as error:
                    status, answer = 400, {"error": str(error)}
                found = ("application/json", json.dumps(answer).encode())
            kind, body = found or ("text/plain", b"not found")
            self.send_response(status if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: Any) -> None:
            """Say nothing of every request."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _unit(z_nd: np.ndarray) -> np.ndarray:
    return z_nd / np.maximum(np.linalg.norm(z_nd, axis=1, keepdims=True), 1e-12)


def _sphere(lat_n: np.ndarray, lon_n: np.ndarray) -> np.ndarray:
    lat, lon = np.deg2rad(lat_n), np.deg2rad(lon_n)
    flat = np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], axis=1)
