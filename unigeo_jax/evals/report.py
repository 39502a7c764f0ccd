# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""report.html: one file without a link outside, and the same table in ASCII."""

import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unigeo_jax.data.datasets import us_flows
from unigeo_jax.evals import baselines, charts, details, whole

CAUTIONS = (
    "Random folds reward interpolation: the neighbour of a test row is in the training"
    " part. Judge by blocked folds.",
    "Differences below .03 are ties. An interval says how much a score hangs on which"
    " blocks were seen.",
    "A score marked † is leaked: an input of the encoder's training reveals the label.",
    "GeoCLIP saw photographs everywhere: it has no geographic hold-out.",
    "More modalities do not help by themselves. The street view of earth is rendered"
    " from its image and heights: retrieval to and from it measures the code.",
    f"{us_flows.MODELLED} {us_flows.SHARED_OUT}",
    "An entry beats another on a task only under blocked folds, with its interval,"
    " against the better of GeoCLIP and idw.",
)
STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1180px;color:#223}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #ccd}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .5em;text-align:right}
th{font-weight:600}.heat td{min-width:3.6em;text-align:center}.none{color:#aab}
.heat th small{display:block;color:#667}summary{font-weight:600;margin:.5em 0}
.scroll{overflow-x:auto}.scroll .heat{font-size:.8em}
.tasks td{border-top:1px solid #e4e8ee;white-space:nowrap}
.tasks small{color:#667;display:block}.best{background:#e5f3e8;font-weight:600}
.leak{color:#a33}figure{display:inline-block;margin:.4em}figcaption{font-size:.9em}
.seen td{text-align:center;vertical-align:top;max-width:190px;font-size:.85em}
.seen small{display:block;color:#667}.own img{outline:4px solid #2e8b57}
svg text{font-size:11px;fill:#334}.flags{color:#555;font-size:.9em}
"""


def plain(results: Any) -> Any:
    """What JSON can hold of the results: arrays left out, not-a-number as null."""
    if isinstance(results, Mapping):
        return {
            str(key): plain(value)
            for key, value in results.items()
            if not isinstance(value, np.ndarray)
        }
    if isinstance(results, list | tuple):
        return [plain(value) for value in results]
    if isinstance(results, float | np.floating):
        return float(results) if np.isfinite(results) else None
    return results.item() if isinstance(results, np.generic) else results


def table(results: Mapping[str, Any], kind: str = "blocked") -> str:
    """Lays out the scores of one kind of folds, a task a line, in ASCII.

    Below it what the results say is to be said of their inputs: `cautions`.
    """
    names = _encoders(results["downstream"], kind)
    lines = [f"{kind}: R2 or accuracy, * leaked"]
    widths = [max(len(name), 7) + 1 for name in names]
    heads = [f"{name:>{width}}" for name, width in zip(names, widths, strict=True)]
    lines.append(f"{'':22}" + "".join(heads))
    for task, kinds in results["downstream"].items():
        cells = []
        for name, width in zip(names, widths, strict=True):
            entry = kinds.get(kind, {}).get(name, {})
            score = entry.get("score")
            mark = "*" if entry.get("leak") else ""
            cell = "-" if score is None else f"{score:.3f}{mark}"
            cells.append(f"{cell:>{width}}")
        lines.append(f"{task[:22]:22}" + "".join(cells))
    return "\n".join([*lines, *results.get("cautions", [])])


def _encoders(downstream: Mapping[str, Any], kind: str) -> list[str]:
    found = [list(kinds.get(kind, {})) for kinds in downstream.values()]
    return list(dict.fromkeys(name for names in found for name in names))


def write(
    path: pathlib.Path,
    results: Mapping[str, Any],
    embeds: Mapping[str, baselines.Embed],
    grid_deg: float = 1.0,
    seen: Sequence[str] = (),
) -> None:
    """Writes the page; `embeds` are the encoders whose maps are drawn.

    seen: parts of the page that evals/panels.py made.
    """
    downstream = results.get("downstream", {})
    parts = [
        "<h1>Evaluation of a coordinate encoder</h1>",
        "<h2>How to read this</h2><ul>",
        *(f"<li>{html.escape(text)}</li>" for text in CAUTIONS),
        "</ul>",
        *_tasks(results),
        *details.sections(downstream, _encoders(downstream, "blocked")),
        *_maps(embeds, grid_deg),
        *_retrieval(results.get("retrieval", {})),
        *seen,
        *_geolocation(results.get("geolocation", {})),
        *_efficiency(results.get("efficiency", {})),
        *_facts(results),
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title>"
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    with whole.written(path) as part:
        part.write_text(page, encoding="utf-8")


def _tasks(results: Mapping[str, Any]) -> list[str]:
    downstream = results.get("downstream", {})
    kinds = dict.fromkeys(kind for task in downstream.values() for kind in task)
    first = [k for k in ("blocked", "random") if k in kinds]
    parts = []
    for kind in [*first, *(k for k in kinds if k not in first)]:
        parts.append(f"<h2>Downstream, {html.escape(kind)} folds</h2>")
        parts.append("<p>R² or accuracy, 95 % interval of the block bootstrap, ±")
        parts.append(" standard deviation over fold seeds.</p><div class=scroll>")
        names = _encoders(downstream, kind)
        parts.append("<table class=tasks><tr><th>task</th>")
        parts += [f"<th>{html.escape(name)}</th>" for name in names]
        parts.append("</tr>")
        for task, of_kinds in downstream.items():
            if kind in of_kinds:
                parts.append(_task_row(task, of_kinds[kind], names))
        parts.append("</table></div>")
    parts.append("<h2>Left out, drawn, outside</h2><ul class=flags>")
    for task, about in results.get("tasks", {}).items():
        text = "; ".join([f"{about['rows']:,} rows", *about["flags"]])
        parts.append(f"<li>{html.escape(task)}: {html.escape(text)}</li>")
        entries = downstream.get(task, {}).get("blocked", {})
        flags = {f for entry in entries.values() for f in entry.get("flags", [])}
        parts += [
            f"<li>{html.escape(f'{task}: {flag}')}</li>" for flag in sorted(flags)
        ]
    return [*parts, "</ul>"]


def _task_row(task: str, entries: Mapping[str, Any], names: Sequence[str]) -> str:
    scores = {
        name: entry["score"]
        for name, entry in entries.items()
        if entry["score"] is not None and not entry["leak"]
    }
    best = max(scores, key=lambda name: scores[name], default="")
    cells = [f"<td>{html.escape(task)}</td>"]
    for name in names:
        entry = entries.get(name)
        if entry is None or entry["score"] is None:
            cells.append("<td class=none>-</td>")
            continue
        kind = "leak" if entry["leak"] else ("best" if name == best else "")
        mark = f" †<small>{', '.join(entry['leak'])}</small>" if entry["leak"] else ""
        cells.append(
            f'<td class="{kind}">{entry["score"]:.3f}{mark}<small>{entry["low"]:.2f} –'
            f" {entry['high']:.2f}, ±{entry['std']:.3f}</small></td>"
        )
    return f"<tr>{''.join(cells)}</tr>"


def _maps(embeds: Mapping[str, baselines.Embed], grid_deg: float) -> list[str]:
    parts = ["<h2>The Earth's land by what an encoder tells apart</h2>"]
    parts.append("<p>First three principal components of the coordinate embedding as")
    parts.append(" red, green and blue, spread by rank.</p>")
    lat, lon, shape, at = charts.land(grid_deg)
    shown = dict(embeds)
    for name, embed in baselines.features(128).items():
        if name.startswith("fourier") or name == "harmonics10":
            shown[name] = embed
    for name, embed in shown.items():
        z_nd = np.asarray(embed(lat, lon))
        picture = charts.world_map(charts.principal_colours(z_nd), shape, at)
        caption = f"<figcaption>{html.escape(name)}, {z_nd.shape[1]} wide</figcaption>"
        parts.append(f"<figure>{picture.replace('<img', '<img style=width:540px')}")
        parts.append(f"{caption}</figure>")
    return parts


def _retrieval(retrieval: Mapping[str, Any]) -> list[str]:
    parts = []
    for split, result in retrieval.items():
        parts.append(f"<h2>Retrieval, {html.escape(split)}</h2>")
        pairs = {tuple(p.split("->")): s for p, s in result.items() if "+" not in p}
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        share = {pair: score.get("recall@10") for pair, score in pairs.items()}
        any_score = next(iter(pairs.values()))
        parts.append("<p>recall@10 in %, rows ask, columns are searched; gallery of")
        parts.append(f" {any_score['gallery']:,}, chance")
        parts.append(f" {100 * (any_score['chance@10'] or 0):.1f} %.</p>")
        parts.append(charts.heat_map(names, share))
        target = "coords" if "coords" in names else names[-1]
        parts.append(f"<p>Queries that find {html.escape(target)}, missing modalities")
        parts.append(" included: the mean of the cosines of those present.</p>")
        parts.append(charts.curves(_lines(result, target), "k", "recall@k"))
    return parts


def _lines(result: Mapping[str, Any], target: str) -> dict[str, list]:
    """Recall curves of the single queries, the largest ensemble, and the levels."""
    asked = {
        p.split("->")[0]: s for p, s in result.items() if p.endswith(f"->{target}")
    }
    most = max(asked, key=lambda name: name.count("+"))
    kept = [name for name in asked if "+" not in name or name == most]

    def line(score: Mapping[str, Any], what: str) -> list[tuple[float, float]]:
        return [
            (float(key.split("@")[1]), value)
            for key, value in score.items()
            if key.startswith(f"{what}@") and value is not None
        ]

    lines = {name: line(asked[name], "recall") for name in kept}
    lines["chance"] = line(asked[most], "chance")
    lines["block oracle"] = line(asked[most], "block_oracle")
    return lines


def _geolocation(geolocation: Mapping[str, Any]) -> list[str]:
    parts = []
    for split, result in geolocation.items():
        parts.append(
            f"<h2>Geolocation, {html.escape(split)}</h2><table class=tasks><tr>"
        )
        keys = [k for k in next(iter(result.values())) if k not in ("km", "at")]
        parts.append("<th>seen</th>")
        parts.append("".join(f"<th>{key}</th>" for key in keys) + "</tr>")
        for name, entry in result.items():
            cells = "".join(f"<td>{_number(entry.get(key))}</td>" for key in keys)
            parts.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
        parts.append("</table>")
        most = max(result, key=lambda name: name.count("+"))
        entry = result[most]
        if "km" in entry and "at" in entry:
            lat, lon = entry["at"].T
            parts.append(f"<figure>{charts.error_map(lat, lon, entry['km'])}")
            parts.append(f"<figcaption>{html.escape(most)}: error of the best of the")
            parts.append(" gallery, blue 10 km, red 10,000 km</figcaption></figure>")
    return parts


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def _efficiency(efficiency: Mapping[str, Any]) -> list[str]:
    if not efficiency:
        return []
    parts = ["<h2>Score by training rows, blocked folds</h2>"]
    for task, lines in efficiency.items():
        points = {
            name: [(float(rows), score) for rows, score in line.items()]
            for name, line in lines.items()
        }
        drawing = charts.curves(points, "training rows", "R²")
        parts.append(f"<figure><figcaption><b>{html.escape(task)}</b></figcaption>")
        parts.append(f"{drawing}</figure>")
    return parts


def _facts(results: Mapping[str, Any]) -> list[str]:
    facts = json.dumps(plain(results.get("run", {})), indent=1)
    folds = json.dumps(results.get("folds", {}), indent=1)
    return [
        f"<h2>Run</h2><pre>{html.escape(facts)}</pre>",
        "<details><summary>SHA-256 of the fold files</summary>",
        f"<pre>{html.escape(folds)}</pre></details>",
    ]
