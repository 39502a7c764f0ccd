# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Drawings of the report, as strings of HTML: heat maps, curves and world maps."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from unigeo_jax.data.datasets import earth_crops

COLOURS = (
    *("#1f5fa8", "#d1495b", "#2e8b57", "#8a5fbf", "#c77700", "#3aa6a6", "#7a7a7a"),
    *("#b03a8c", "#5a7d1a", "#444444", "#9c6b4e", "#6fb7ff", "#e59fb0", "#b5b500"),
)
WATER = (236, 240, 244)


def heat_map(
    names: Sequence[str], share: Mapping[tuple[str, str], float | None]
) -> str:
    """A table of shares in per cent; rows ask, columns are searched."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = [f"<tr><th></th>{head}</tr>"]
    for query in names:
        cells = []
        for target in names:
            value = share.get((query, target))
            if value is None:
                cells.append("<td class=none>-</td>")
                continue
            cells.append(f'<td style="{shade(value)}">{100 * value:.1f}</td>')
        rows.append(f"<tr><th>{html.escape(query)}</th>{''.join(cells)}</tr>")
    return f"<table class=heat>{''.join(rows)}</table>"


def shade(value: float) -> str:
    """The style of a table cell: the darker the larger, between 0 and 1."""
    ink = "#fff" if value > 0.55 else "#123"
    low, high = np.array([238, 244, 250]), np.array([16, 66, 120])
    red, green, blue = (low + (high - low) * float(np.clip(value, 0, 1))).astype(int)
    return f"background:rgb({red},{green},{blue});color:{ink}"


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Lines over a logarithmic x axis as SVG, with a legend."""
    width, height, left, top, right, bottom = 560, 300, 50, 12, 180, 40
    points = [p for line in lines.values() for p in line]
    if not points:
        return "<p>nothing to draw</p>"
    xs = sorted({x for x, _ in points})
    low, high = np.log(xs[0]), np.log(max(xs[-1], xs[0] * 1.01))
    inner_w, inner_h = width - left - right, height - top - bottom

    def at(x: float, y: float) -> tuple[float, float]:
        share = (np.clip(y, *y_range) - y_range[0]) / (y_range[1] - y_range[0])
        across = (np.log(x) - low) / (high - low)
        return left + inner_w * across, top + inner_h * (1 - share)

    parts = []
    for y in np.linspace(*y_range, 5):
        _, py = at(xs[0], float(y))
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{py:.1f}"')
        parts.append(f' y2="{py:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{py + 4:.1f}" text-anchor="end">')
        parts.append(f"{y:.2f}</text>")
    for x in xs:
        px, _ = at(x, y_range[0])
        parts.append(f'<text x="{px:.1f}" y="{height - bottom + 16}"')
        parts.append(f' text-anchor="middle">{x:g}</text>')
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if name in ("chance", "block oracle") else ""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(*p) for p in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"')
        parts.append(f' stroke-width="2"{dash}/>')
        y = top + 14 + 16 * i
        parts.append(f'<rect x="{width - right + 14}" y="{y - 8}" width="12"')
        parts.append(f' height="3" fill="{colour}"/>')
        parts.append(f'<text x="{width - right + 32}" y="{y - 3}">')
        parts.append(f"{html.escape(name)}</text>")
    parts.append(f'<text x="{left + inner_w / 2}" y="{height - 6}"')
    parts.append(f' text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(f'<text x="12" y="{top + inner_h / 2}" text-anchor="middle"')
    parts.append(f' transform="rotate(-90 12 {top + inner_h / 2})">')
    parts.append(f"{html.escape(y_label)}</text>")
    return f'<svg viewBox="0 0 {width} {height}" width="{width}">{"".join(parts)}</svg>'


def dots(points: Mapping[str, Sequence[float]]) -> str:
    """A row a name: a dot a value, a line from the least to the largest, as SVG."""
    width, left, right, step = 720, 170, 30, 22
    every = [x for values in points.values() for x in values]
    low, high = min(every), max(every)
    pad = 0.05 * (high - low) or 1.0
    low, high = low - pad, high + pad
    height = step * len(points) + 34

    def at(x: float) -> float:
        return left + (width - left - right) * (x - low) / (high - low)

    parts = []
    for x in np.linspace(low, high, 6).tolist():
        parts.append(f'<line x1="{at(x):.1f}" x2="{at(x):.1f}" y1="6"')
        parts.append(f' y2="{height - 24}" stroke="#ddd"/><text x="{at(x):.1f}"')
        parts.append(f' y="{height - 8}" text-anchor="middle">{x:.3g}</text>')
    for i, (name, values) in enumerate(points.items()):
        y = 18 + step * i
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">')
        parts.append(f"{html.escape(name)}</text>")
        if values:
            parts.append(f'<line x1="{at(min(values)):.1f}" x2="{at(max(values)):.1f}"')
            parts.append(f' y1="{y}" y2="{y}" stroke="{COLOURS[0]}"/>')
        for x in values:
            parts.append(f'<circle cx="{at(x):.1f}" cy="{y}" r="4"')
            parts.append(f' fill="{COLOURS[0]}" fill-opacity="0.7"/>')
    style = "font:11px sans-serif"
    return (
        f'<svg width="{width}" height="{height}" style="{style}">{"".join(parts)}</svg>'
    )


def land(degrees: float) -> tuple[np.ndarray, np.ndarray, tuple[int, int], np.ndarray]:
    """Centres of the land cells of a grid: lat, lon, its shape, and where they lie."""
    rows, columns = round(150 / degrees), round(360 / degrees)  # 85 N to 65 S
    lat = 85 - degrees * (np.arange(rows) + 0.5)
    lon = -180 + degrees * (np.arange(columns) + 0.5)
    lat, lon = (x.ravel() for x in np.meshgrid(lat, lon, indexing="ij"))
    cover = earth_crops.raster("landcover.png")
    here = cover[earth_crops.pixel(lat, lon, *cover.shape)] != 0
    return lat[here], lon[here], (rows, columns), np.flatnonzero(here)


def principal_colours(z_nd: np.ndarray) -> np.ndarray:
    """The first three principal components as colours: uint8 (n, 3).

    Each is spread evenly over the brightness by its ranks, so a colour says which part
    of the range a place is in, not how far from the others.
    """
    centred_nd = np.asarray(z_nd, np.float64)
    centred_nd = centred_nd - centred_nd.mean(0)
    _, axes_dd = np.linalg.eigh(centred_nd.T @ centred_nd)
    part_n3 = centred_nd @ axes_dd[:, ::-1][:, :3]
    part_n3 = np.pad(part_n3, ((0, 0), (0, 3 - part_n3.shape[1])))
    rank_n3 = part_n3.argsort(0).argsort(0) / max(len(part_n3) - 1, 1)
    return (30 + 210 * rank_n3).astype(np.uint8)


def world_map(colour_n3: np.ndarray, shape: tuple[int, int], at: np.ndarray) -> str:
    """A plate carree picture, north up, of the cells `at`, water in grey."""
    image = np.full((shape[0] * shape[1], 3), WATER, np.uint8)
    image[at] = colour_n3
    return picture(image.reshape(*shape, 3), 2)


def error_map(lat: np.ndarray, lon: np.ndarray, km: np.ndarray) -> str:
    """Where places were located well (blue) and badly (red), on the land."""
    _, _, (rows, columns), at = land(0.5)
    image = np.full((rows * columns, 3), WATER, np.uint8)
    image[at] = (205, 210, 214)
    image = image.reshape(rows, columns, 3)
    share = np.clip(np.log10(np.maximum(km, 10)) - 1, 0, 3) / 3  # 10 to 10,000 km
    blue, red = np.array([20, 90, 190]), np.array([215, 40, 30])
    colour = (blue + share[:, None] * (red - blue)).astype(np.uint8)
    row = np.clip(((85 - lat) * 2).astype(int), 1, rows - 2)
    column = np.clip(((lon + 180) * 2).astype(int), 1, columns - 2)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            image[row + down, column + right] = colour
    return picture(image, 1)


def picture(image: np.ndarray, times: int) -> str:
    """An image, uint8 (height, width, 3), enlarged so many times, as HTML."""
    large = np.repeat(np.repeat(image, times, 0), times, 1)
    stream = io.BytesIO()
    PIL.Image.fromarray(large).save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" width="{large.shape[1]}">'
