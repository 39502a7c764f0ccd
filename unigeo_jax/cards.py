# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of an exported model, made from the run and nothing else."""

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from unigeo_jax.data import datasets

# Of teachers that are others' work.
CREDITS = {
    "geoclip": "geoclip is the location encoder of GeoCLIP (Vivanco Cepeda, Nayak and"
    " Shah, 2023), MIT licence, Copyright (c) 2024 Vicente Vivanco."
}
SCORES = "scores.json"
KEPT = ("score", "std", "low", "high", "metric", "n", "leak", "flags")
FILES = "## Files\n\n"
DATA_CARD = pathlib.Path(__file__).parent / "data" / "bundle" / "DATA_CARD.md"


UNKNOWN = "unknown: weights that were imported"  # training data of no dataset


def training_data(data: Any) -> str:
    """Which dataset and split a run's config names, or UNKNOWN where it names none."""
    return f"{data.name}:{data.split}" if data.name else UNKNOWN


def scores(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Results that lie in a workdir: of its last step, evaluate.py, distill.py."""
    found = {}
    for name, path in (
        ("retrieval", folder / "eval" / f"{step}.json"),
        ("evaluation", folder / "evaluation" / "results.json"),
        ("fidelity", folder / "fidelity.json"),
    ):
        if path.exists():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def downstream(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `SCORES` keeps of an evaluation: blocked scores, folds by hash, the run."""
    whole = found.get("evaluation", {})
    tasks = {
        task: {
            encoder: {k: entry[k] for k in KEPT if k in entry}
            for encoder, entry in kinds["blocked"].items()
        }
        for task, kinds in whole.get("downstream", {}).items()
        if "blocked" in kinds
    }
    if not tasks:
        return {}
    run = {k: v for k, v in whole.get("run", {}).items() if k != "workdir"}
    # A card is read elsewhere: of absolute paths the last part is kept.
    run["command"] = re.sub(r"(?<=[ =])/\S*/(?=[^/\s])", "", run.get("command", ""))
    return {"blocked": tasks, "run": run, "folds": whole.get("folds", {})}


def write(about: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return the card, Markdown with the header that Hugging Face reads."""
    head = (
        f"---\nlibrary_name: unigeo_jax\nlicense: {about['licence']}\n"
        "tags:\n- geospatial\n- location-encoder\n- feature-extraction\n---\n"
    )
    return head + "\n".join(
        [
            f"# {about['model_id']}\n",
            _what(about),
            "## Use\n\n" + _use(about),
            "## Training data and licence\n\n" + _data(about),
            "## Intended and out-of-scope use\n\n" + _scope(about),
            "## Scores\n\n" + _scores(found),
            FILES + _files(about),
        ]
    )


def go_on(card: str, about: Mapping[str, Any]) -> str:
    """The card of a folder with other files: its list of them is made anew."""
    return card.partition(FILES)[0] + FILES + _files(about)


def _what(about: Mapping[str, Any]) -> str:
    left = "".join(
        f"\nNot exported: {name} ({why}).\n" for name, why in about["left_out"].items()
    )
    origin = f"Trained by unigeo_jax (commit {about['commit']}), step {about['step']}"
    if about["training_data"] == UNKNOWN:
        origin = "Imported from weights that others trained, not trained by unigeo_jax"
    return (
        f"Vectors of {about['dim']} numbers for places on Earth, from"
        f" {', '.join(about['towers'])}. {origin}; exported by version"
        f" {about['package_version']} in float32.\n{left}"
    )


def _use(about: Mapping[str, Any]) -> str:
    return (
        "```python\nimport unigeo_jax\n\nenc = unigeo_jax.load(PATH)\n"
        "z = enc.embed(lat=[48.86], lon=[2.35])  # float32 (1, "
        f"{about['dim']}), degrees WGS 84\n```\n" + _time(about)
    )


def _time(about: Mapping[str, Any]) -> str:
    """How the tower of coordinates takes a time; "" where it takes none."""
    towers = about.get("training", {}).get("towers", {})
    scale = towers.get("coords", {}).get("net", {}).get("time")
    if not scale:
        return ""
    return (
        '\nIt takes a time: `embed(lat=, lon=, time="2021-06-30")`, one a place or one'
        " for all. The month counts as sine and cosine on the circle of the year, the"
        f" year less {scale[0]:.2f} over {scale[1]:.2f}, mean and deviation of the"
        " training places, at most 3 either way. A place without a time is one of an"
        " unknown time, as which training also showed some that have one. Program and"
        " ONNX file take year (with its fraction) and month (1 to 12) behind latitude"
        " and longitude, 0 for unknown.\n"
    )


def _data(about: Mapping[str, Any]) -> str:
    known = about["training_data"].startswith(("earth", "us_places"))
    where = (
        "DATA_CARD.md lists every source with licence and credit; some ask for credit"
        " (CC BY), the article leads for share alike (CC BY-SA)."
        if known
        else "A dataset of the user's: its licences are known to who trained this."
    )
    if about["training_data"] == UNKNOWN:
        where = (
            "Where its training places lie is not known here, nor what their data were:"
            " ask who published the weights, for their licence too."
        )
    training = about.get("training", {})
    if training:
        where = " ".join([where, *datasets.cautions(training)])
    taught = training.get("taught_by")
    by = f" Taught by: {', '.join(taught)}." if taught else ""
    by += "".join(f" {CREDITS[name]}" for name in taught or () if name in CREDITS)
    return (
        f"`{about['training_data']}`.{by} {where} The code is Apache-2.0; the weights:"
        f" `{about['licence']}`"
        + (
            ", see the licences of the data.\n"
            if about["licence"] == "other"
            else ".\n"
        )
    )


def _scope(about: Mapping[str, Any]) -> str:
    coarse = about["training_data"].startswith(("earth", "us_places"))
    scale = (
        " It was trained at region scale (7 km a pixel and more): it knows nothing of"
        " streets, buildings or fields."
        if coarse
        else ""
    )
    far = "; `explain` tells how far the nearest training place is"
    if about["training_data"] == UNKNOWN:
        far = ", and nothing here tells where it extrapolates"
    return (
        "For: features of places in statistics and machine learning, maps, search for"
        f" similar places.{scale} Judge it on held-out regions, not on random rows.\n\n"
        "Not for: decisions about single people or households, surveillance, locating"
        " people by their pictures or texts, navigation, property-level prices or"
        " risks. Places that the data describe thinly (poor, remote, little mapped) get"
        f" worse vectors{far}.\n"
    )


def _scores(found: Mapping[str, Any]) -> str:
    parts = []
    for split, pairs in found.get("retrieval", {}).items():
        if split in ("test", "val") and isinstance(pairs, dict):
            parts.append(_retrieval(split, pairs))
    if scored := downstream(found):
        parts.append(_downstream(scored))
    if "fidelity" in found:
        text = json.dumps(found["fidelity"], indent=1)
        parts.append(f"Fidelity to the teacher:\n\n```json\n{text}\n```\n")
    return "\n".join(filter(None, parts)) or "Not run.\n"


def _retrieval(split: str, pairs: Mapping[str, Any]) -> str:
    rows = [
        f"| {pair} | {100 * score['recall@10']:.1f} | {score['median_km']:.0f}"
        f" | {score['gallery']} |"
        for pair, score in pairs.items()
        if {"recall@10", "median_km", "gallery"} <= set(score)
    ]
    if not rows:
        return ""
    head = "| pair | recall@10, % | median km | gallery |\n|---|--:|--:|--:|\n"
    return f"Retrieval, `{split}` (held-out blocks):\n\n{head}" + "\n".join(rows) + "\n"


def _downstream(scored: Mapping[str, Any]) -> str:
    tasks, run = scored["blocked"], scored["run"]
    names = sorted({encoder for entries in tasks.values() for encoder in entries})
    rows = []
    for task, entries in tasks.items():
        cells = [_score(entries[n]) if n in entries else "not run" for n in names]
        metric = next(iter(entries.values()), {}).get("metric", "")
        rows.append(f"| {task}, {metric} | " + " | ".join(cells) + " |")
    head = "| task | " + " | ".join(names) + " |\n|---|" + "--:|" * len(names) + "\n"
    legend = (
        f"Probes, blocked folds, mean ± deviation over {run.get('seeds')} seeds of the"
        " folds; * the encoder saw what reveals the label. From"
        f" `{run['command']}`, commit {run.get('commit')}; intervals and the"
        f" SHA-256 of the folds: `{SCORES}`.\n\n"
    )
    return legend + head + "\n".join(rows) + "\n"


def _score(entry: Mapping[str, Any]) -> str:
    if entry["score"] is None:
        return ", ".join(entry["flags"])
    return f"{entry['score']:.3f} ±{entry['std']:.3f}" + "*" * bool(entry.get("leak"))


def _files(about: Mapping[str, Any]) -> str:
    rows = [
        f"| `{name}` | {entry['bytes']:,} | `{entry['sha256']}` |"
        for name, entry in about["files"].items()
    ]
    return "| file | bytes | SHA-256 |\n|---|--:|---|\n" + "\n".join(rows) + "\n"
