# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a dataset of own places says of itself: statistics, data card, report, sheet."""

import pathlib
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import scipy.spatial

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.own import rasters, shards, statistics

SHEET, THUMB = 24, 96  # places on the contact sheet, pixels of a picture
Json = dict[str, Any]


def statistics_of(
    job: Json,
    places: list[Json],
    tallies: dict[str, statistics.Tally],
    graph: bool,
) -> Json:
    """What a config needs to know: fields, shapes, how many have them, their spread.

    Means and spreads are those of the training split.
    """
    first = next(iter(tallies))
    train = tallies[first]
    fields: dict[str, Json] = {}

    def add(name: str, tower: str, counted: str = "", **about: Any) -> None:
        present = {s: t.count.get(counted or name, 0) for s, t in tallies.items()}
        spread = train.summary(counted or name)
        if any(present.values()):
            fields[name] = {"tower": tower, "present": present, **about} | spread

    for name, how in job["photos"].items():
        add(name, name, **how)
    for given in job["sources"]:
        source = rasters.Source(**given)
        stored = {"size": source.size, "metres": source.metres}
        if source.name in ("aerial", "night", "dsm"):
            add(source.name, source.name, **stored)
        else:
            dtype, void = job["stored"][source.name]
            void = None if void != void else void
            about = {"channels": len(source.bands), "void": void, "dtype": dtype}
            add(source.name, "bands", **stored, **about)
    for name in ("text", "poi"):
        add(name, name)
    add("time", "time")
    add("demographics", "demographics", width=job["demographics"])
    for name, width in job.get("vectors", {}).items():
        add(name, "vector", width=width)
    if graph:
        add("mobility", "mobility", "node")
    train_n = [p for p in places if p["split"] == first]
    return {
        "name": job["name"],
        "version": job["version"],
        "places": dict(job["splits"]),
        "fields": fields,
        "regions": len({p.get("region", "") for p in places}),
        "coords": extent([p["lat"] for p in train_n], [p["lon"] for p in train_n]),
    }


def extent(lat: list[float], lon: list[float]) -> Json:
    """Greatest distance from the middle, twice, and between neighbours (median), km."""
    at = splits.unit_vectors(np.array(lat), np.array(lon))
    middle = at.mean(0)
    chord = np.linalg.norm(at - middle / (np.linalg.norm(middle) or 1.0), axis=1).max()
    width = 4 * splits.EARTH_RADIUS_KM * np.arcsin(min(chord / 2, 1.0))
    spacing = 0.0
    if len(at) > 1:
        distance: Any = scipy.spatial.KDTree(at).query(at, k=2)[0]
        spacing = float(np.median(distance[:, 1])) * splits.EARTH_RADIUS_KM
    return {"extent_km": round(float(width), 4), "spacing_km": round(spacing, 5)}


def write_report(folder: pathlib.Path, report: Json) -> None:
    """Write report.json, and as text report.txt."""
    shards.write_json(folder / "report.json", report)
    lines = [f"{report['table']}: {report['rows']} rows (numbered from 0)"]
    if report.get("refused"):
        lines.append(f"REFUSED: {report['refused']}")
    if "splits" in report:
        about = report["splits"]
        lines.append(
            f"splits {about['rule']}, buffer {about['buffer_m']:.0f} m: training places"
            f" dropped {about['dropped_by_buffer']}; leaks {about['leaks']}"
        )
    for name, field in report.get("places", {}).get("fields", {}).items():
        there = ", ".join(f"{s} {n}" for s, n in field["present"].items())
        lines.append(f"{name}: {there}")
    found = report["problems"]
    lines.append(f"bad rows: {len(found['bad_rows'])}")
    lines += [f"  {n} x {f}: {kind} ({done})" for f, kind, done, n in found["counts"]]
    lines += [
        f"  row {e['row']}: {e['field']}: {e['kind']} ({e['done']}) {e.get('what', '')}"
        for e in found["examples"]
    ]
    (folder / "report.txt").write_text("\n".join(lines) + "\n", "utf-8")


def write_card(folder: pathlib.Path, report: Json) -> None:
    """Write DATA_CARD.md."""
    about, split = report["places"], report["splits"]
    total = sum(about["places"].values())
    sizes = ", ".join(f"{s} {n:,}" for s, n in about["places"].items())
    leak = ", ".join(f"{k} {v}" for k, v in split["leaks"].items())
    lines = [
        *(f"# {about['name']} {about['version']}", ""),
        f"{total:,} places ({sizes}) of the table `{report['table']}`,",
        f"{report['rows']:,} rows, {len(report['problems']['bad_rows'])} of them bad.",
        "",
        f"Extent {about['coords']['extent_km']} km, median distance between neighbours"
        f" {about['coords']['spacing_km']} km.",
        *("", "## Splits", ""),
        f"Rule `{split['rule']}`, buffer {split['buffer_m']:.0f} m, chips of"
        f" {split['chip_m']:.0f} m. Held-out places that training shows: {leak}.",
        *("", "## Fields", ""),
        "| field | places | mean | std |",
        "|---|---|---|---|",
    ]
    for name, field in about["fields"].items():
        there = ", ".join(f"{s} {n:,}" for s, n in field["present"].items())
        mean, std = (_short(field.get(k)) for k in ("mean", "std"))
        lines.append(f"| {name} | {there} | {mean} | {std} |")
    lines += ["", "## Rasters", ""]
    for name, raster in report["rasters"].items():
        lines.append(
            f"- `{name}`: {raster['file']}, {raster['crs']}, bands {raster['bands']},"
            f" {raster['metres_a_pixel']} m a pixel; chips of"
            f" {raster['chip_metres']:.0f} m in {raster['chip_pixels']} pixels"
            + ("; enlarged, which adds no detail" if raster["enlarged"] > 1.01 else "")
        )
    lines += [
        *("", "## Licence and personal data", ""),
        "Those of the sources: not known to the command that wrote this card.",
    ]
    (folder / "DATA_CARD.md").write_text("\n".join(lines) + "\n", "utf-8")


def _short(values: list[float | None] | None) -> str:
    shown = ["-" if v is None else f"{v:.4g}" for v in (values or [])[:6]]
    return ", ".join(shown) + (", ..." if len(values or []) > 6 else "")


def contact_sheet(folder: pathlib.Path, name: str, split: str, about: Json) -> None:
    """Draw some places of a split, a row each: pictures, position and text."""
    source = datasets.Records(folder, name, split)
    drawn = [n for n in about["fields"] if about["fields"][n].get("tower") in DRAWN]
    numbers = np.random.default_rng(0).permutation(len(source))[:SHEET]
    width = THUMB * max(len(drawn), 1) + 320
    sheet = PIL.Image.new("RGB", (width, THUMB * len(numbers)), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    for row, number in enumerate(sorted(numbers.tolist())):
        record = source[number]
        for column, field in enumerate(drawn):
            image = thumbnail(record.get(field), about["fields"][field])
            if image is not None:
                sheet.paste(image, (column * THUMB, row * THUMB))
        said = f"{record['id'][:40]}\n{record['lat']:.5f}, {record['lon']:.5f}\n"
        said += str(record.get("text", ""))[:150].replace("\n", " | ")
        said = said.encode("latin-1", "replace").decode("latin-1")
        where = (THUMB * len(drawn) + 6, row * THUMB + 4)
        lines = [said[i : i + 52] for line in [said] for i in range(0, len(line), 52)]
        pen.multiline_text(where, "\n".join(lines), "black")
    sheet.save(folder / "contact_sheet.png")


DRAWN = ("aerial", "street", "dsm", "night", "bands")


def thumbnail(value: Any, field: Json) -> PIL.Image.Image | None:
    """A field's values as a small picture; None where there are none."""
    if value is None or not np.size(value):
        return None
    pixels = np.asarray(value)
    if field["tower"] == "street":
        pixels = pixels[: field["height"]]
    if pixels.dtype != np.uint8:
        void = field.get("void")
        pixels = pixels.astype(np.float32)
        pixels[pixels == void] = np.nan
        if pixels.ndim == 3:
            pixels = pixels[..., [2, 1, 0] if pixels.shape[-1] > 2 else [0]]
        else:
            pixels = pixels[..., None]
        if not np.isfinite(pixels).any():
            return None
        low, high = np.nanpercentile(pixels, [2, 98])
        pixels = np.nan_to_num((pixels - low) / max(high - low, 1e-6) * 255)
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, -1)
    return PIL.Image.fromarray(pixels).resize((THUMB - 2, THUMB - 2))
