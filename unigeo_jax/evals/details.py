# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the report that say where scores come from: residuals, places, distances."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from unigeo_jax.evals import charts

PARTS = {
    "by_continent": "by continent",
    "by_distance": "by distance to the nearest training row",
    "by_pretraining": "by distance to the nearest place the encoder was trained on",
}


def sections(
    downstream: Mapping[str, Any], names: Sequence[str], kind: str = "blocked"
) -> list[str]:
    """Moran's I of all tasks, then a fold-out a task with its scores by parts."""
    tasks = {
        task: {n: e for n, e in kinds[kind].items() if e.get("moran") is not None}
        for task, kinds in downstream.items()
        if kind in kinds
    }
    tasks = {task: entries for task, entries in tasks.items() if entries}
    if not tasks:
        return []
    parts = ["<h2>What is left in the residuals: Moran's I, blocked folds</h2>"]
    parts.append("<p>0: no pattern left on the map; 1: a smooth one, so neighbours")
    parts.append(" are wrong alike. Over the 8 nearest rows of each row.</p>")
    parts.append(_table({t: _column(e, "moran") for t, e in tasks.items()}, names))
    parts.append("<h2>Scores by continent and by distance, blocked folds</h2>")
    parts.append("<p>R² about the mean of the part itself, or accuracy; no score below")
    parts.append(" 30 rows. Each task folds out.</p>")
    for number, (task, entries) in enumerate(tasks.items()):
        opened = " open" if number == 0 else ""
        parts.append(f"<details{opened}><summary>{html.escape(task)}</summary>")
        for key, title in PARTS.items():
            parts += _part(entries, key, title)
        parts.append("</details>")
    return parts


def _column(entries: Mapping[str, Any], key: str) -> dict[str, float | None]:
    return {name: entry.get(key) for name, entry in entries.items()}


def _part(entries: Mapping[str, Any], key: str, title: str) -> list[str]:
    found = {name: entry[key] for name, entry in entries.items() if entry.get(key)}
    if not found:
        return []
    bins = next(iter(found.values()))
    kept = [label for label, part in bins.items() if part["n"]]
    titles = [f"{label}<small>{bins[label]['n']:,}</small>" for label in kept]
    rows = {
        name: {label: part[label]["score"] for label in kept}
        for name, part in found.items()
    }
    return [
        f"<h3>{html.escape(title)}, rows of all seeds</h3>",
        _table(rows, kept, titles),
    ]


def _table(
    rows: Mapping[str, Mapping[str, float | None]],
    columns: Sequence[str],
    titles: Sequence[str] = (),
) -> str:
    """Numbers from 0 to 1, shaded by how large they are."""
    heads = titles or [html.escape(column) for column in columns]
    head = "".join(f"<th>{title}</th>" for title in heads)
    lines = [f"<tr><th></th>{head}</tr>"]
    for name, values in rows.items():
        cells = []
        for column in columns:
            value = values.get(column)
            if value is None:
                cells.append("<td class=none>-</td>")
                continue
            cells.append(f'<td style="{charts.shade(value)}">{value:.2f}</td>')
        lines.append(f"<tr><th>{html.escape(name)}</th>{''.join(cells)}</tr>")
    return f"<div class=scroll><table class=heat>{''.join(lines)}</table></div>"
