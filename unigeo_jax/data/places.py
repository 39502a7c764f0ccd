# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Your own places: a table and some rasters become a dataset to train on.

The table is read and checked row by row (`own.table`), places go to splits
(`own.division`), worker processes make shards of records (`own.records`), and the
shards become a TFDS dataset with statistics, a data card, a contact sheet and a
report. A build that was killed goes on where it was and ends with the same bytes; the
order of the rows does not matter.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import time
from typing import Any

import numpy as np

from unigeo_jax.data import datasets, edge_tables
from unigeo_jax.data.datasets import building
from unigeo_jax.data.own import (
    card,
    division,
    nodes,
    photos,
    problems,
    rasters,
    records,
    remote,
    shards,
    statistics,
    table,
    workers,
)

FORMAT = 1  # of the records; another number is another dataset
RECORDS = "unigeo_jax.data.own.records"
STATISTICS = "statistics.json"
LARGE = 1_000_000  # bytes of a table while which is read processes can start


@dataclasses.dataclass(frozen=True)
class Options:
    """How places become a dataset. Distances in metres.

    demographics: columns of numbers; vectors: columns of lists of numbers, a field
    each. text: template with {column}; "" = column text.
    images: folder that paths of images are below; "" = the table's. aerial_px, street:
    pixels of pictures from columns, of street height x width, at most `views`.
    photos: folder of photos with EXIF positions, joined within `photo_m`.
    edges: table of flows between nodes; h3_nodes: those are H3 cells, at their centres
    if the table has no positions. split: a rule of `division`; shares of val and test.
    buffer_m: training places so near a held-out one are dropped; -1 = as
    far as chips overlap, for blocked rules. overlap: chips may overlap across splits.
    max_bad: share of rows that may be dropped or masked. shard: places a file.
    runner: of Apache Beam with its options, "" = processes of this machine.
    """

    sources: tuple[rasters.Source, ...] = ()
    demographics: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    text: str = ""
    images: str = ""
    aerial_px: int = 256
    street_px: tuple[int, int] = (128, 256)
    views: int = 3
    photos: str = ""
    photo_table: str = ""
    photo_m: float = 50.0
    edges: str = ""
    h3_nodes: bool = False
    split: str = "blocked:0.1"
    shares: tuple[float, float] = (0.1, 0.1)
    buffer_m: float = -1.0
    overlap: bool = False
    max_bad: float = 0.01
    shard: int = 1024
    runner: str = ""


def build(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str,
    options: Options,
    processes: int = 2,
) -> pathlib.Path:
    """Make the dataset `<out>/<name>` of a table, and return its folder.

    Raises:
      ValueError: table, rasters or options cannot be used; another dataset of that
        name; chips overlap across splits.
      problems.OverBudget: more bad rows than allowed. The report is written first.
    """
    root = pathlib.Path(out).expanduser() / name
    images = options.images or options.photos or _folder(path, options)
    if not re.fullmatch(r"\w[\w.-]*", name) or name in datasets.builders():
        raise ValueError(
            f"--name: got {name!r}; allowed: letters, digits, _ . -, and not"
            f" {', '.join(datasets.builders())}"
        )
    if remote.is_remote(path):
        path = remote.fetch(os.fspath(path), root / ".remote")
    path = pathlib.Path(path)
    early = path.is_file() and path.stat().st_size > LARGE and not options.runner
    with workers.crew(RECORDS, processes if early else 0) as ready:
        return _build(path, root, images, options, processes, ready)


def _build(
    path: pathlib.Path,
    root: pathlib.Path,
    images: str,
    options: Options,
    processes: int,
    ready: list[Any],
) -> pathlib.Path:
    began, name = time.monotonic(), root.name
    found = problems.Problems()
    own = [s.path for s in options.sources if s.path.startswith(rasters.COLUMN)]
    ids: set[edge_tables.Id] = set()
    places, rows = table.read(path, found, _columns(options, own), ids)
    id = nodes.number(places, ids, options.edges, path)
    opened = [rasters.open_first(s, places, images) for s in options.sources]
    options = dataclasses.replace(options, sources=tuple(r.source for r in opened))
    shared = [r for r in opened if r.source.path not in own]
    places = rasters.drop_swapped(places, shared, found)
    _join_photos(places, options)
    report: dict[str, Any] = {"table": path.name, "rows": rows}
    root.mkdir(parents=True, exist_ok=True)
    try:
        found.check(rows, options.max_bad)
        places, counts, split = _divide(places, options)
        report["splits"] = split
        job = _job(images, name, places, counts, opened, options, id)
        folder = root / job["version"]
        if (folder / shards.DATASET_INFO).is_file():
            return folder
        with building.locked(root / ".lock", name):
            shards.refuse_another(root, folder)
            made = root / f".making-{job['version']}"
            nodes.write(made, options.edges, id, options.h3_nodes)
            _make(made, job, places, counts, found, rows, options, processes, ready)
            report["seconds"] = round(time.monotonic() - began, 1)
            _finish(made, folder, job, places, report, found, opened, options)
    except (problems.OverBudget, division.Leak) as error:
        report |= {"problems": found.plain(), "refused": str(error)}
        card.write_report(root, report)
        raise
    return folder


def _columns(options: Options, own: list[str]) -> table.Columns:
    """What the table is read for; `own`: paths of rasters that it names."""
    return table.Columns(
        demographics=options.demographics,
        template=options.text,
        files=tuple(name.removeprefix(rasters.COLUMN) for name in own),
        vectors=options.vectors,
        cells=options.h3_nodes,
    )


def _folder(path: str | os.PathLike[str], options: Options) -> str:
    """Where images are that are named relative to a table, a folder or an address."""
    at = options.photo_table or os.fspath(path)
    return remote.parent(at) if remote.is_remote(at) else os.path.dirname(at)


def _join_photos(places: list[table.Place], options: Options) -> None:
    """Give each place the paths of the photos near it, of a folder or a table."""
    if not options.photos and not options.photo_table:
        return
    if options.photo_table:
        listed = pathlib.Path(options.photo_table)
        photo = [
            (path, place["lat"], place["lon"])
            for place in table.read(listed, problems.Problems())[0]
            for path in place["street"]
        ]
    else:
        photo = list(photos.positions(pathlib.Path(options.photos)))
    lat_n = np.array([p["lat"] for p in places])
    lon_n = np.array([p["lon"] for p in places])
    near = photos.join(lat_n, lon_n, photo, options.photo_m, options.views)
    for place, paths in zip(places, near, strict=True):
        place["street"] = paths
        place["digest"] = shards.digest([place["digest"], paths])


@table.no_collection()
def _divide(
    places: list[table.Place], options: Options
) -> tuple[list[table.Place], dict[str, int], dict[str, Any]]:
    """Places by split, how many, and what the report says of it.

    Raises:
      ValueError: a rule that does not fit; chips that leave little for training.
      division.Leak: chips or files are on both sides, and that is not allowed.
    """
    split_n, group_n = division.assign(options.split, places, options.shares)
    lat_n = np.array([p["lat"] for p in places])
    lon_n = np.array([p["lon"] for p in places])
    sources = options.sources
    chip = max([s.metres for s in sources], default=0.0)
    metres = options.buffer_m
    if metres < 0:
        blocked = options.split.partition(":")[0] in ("blocked", "s2", "h3", "region")
        metres = chip if blocked and not options.overlap else 0.0
    dropped = division.buffer(lat_n, lon_n, split_n, metres)
    if options.buffer_m < 0:
        division.check_buffer(split_n, dropped, {s.name: s.metres for s in sources})
    cell_n = records.cells(places, lat_n, lon_n)
    found = split_n.tolist(), group_n.tolist(), cell_n.tolist()
    for place, split, group, cell in zip(places, *found, strict=True):
        place |= {"split": split, "block_number": group, "cell_number": cell}
    kept = np.flatnonzero(~dropped)
    files = [[*p.get("aerial", []), *p.get("street", [])] for p in places]
    leak = division.leaks(
        *(lat_n[kept], lon_n[kept], split_n[kept], chip),
        [files[n] for n in kept],
    )
    about = {
        **{"rule": options.split, "buffer_m": metres, "chip_m": chip},
        **{"dropped_by_buffer": int(dropped.sum()), "leaks": leak},
    }
    if sum(leak.values()) and not options.overlap:
        said = ", ".join(f"{k}: {v} places" for k, v in leak.items() if v)
        raise division.Leak(
            f"--split={options.split}: training shows what is held out ({said});"
            f" allowed: --split=blocked:DEGREES with --buffer_m={chip:.0f} or more, or"
            " --allow_overlap"
        )
    rows = {s: kept[split_n[kept] == s].tolist() for s in division.SPLITS}
    ordered = [places[n] for of_split in rows.values() for n in of_split]
    counts = {split: len(of_split) for split, of_split in rows.items()}
    return ordered, {s: n for s, n in counts.items() if n}, about


def _job(
    root: str,
    name: str,
    places: list[table.Place],
    counts: dict[str, int],
    opened: list[rasters.Raster],
    options: Options,
    id: Any,
) -> dict[str, Any]:
    """What workers need to know, and a version that tells datasets apart."""
    columns = sorted(places[0].keys() - {"row", "digest", "split"})
    sizes = {
        "aerial": {"height": options.aerial_px, "width": options.aerial_px, "views": 1},
        "street": {
            **dict(zip(("height", "width"), options.street_px, strict=True)),
            "views": options.views,
        },
    }
    given = [s.name for s in options.sources]
    taken = [n for n in sizes if n in columns]
    if twice := sorted({n for n in [*given, *taken] if [*given, *taken].count(n) > 1}):
        raise ValueError(f"{', '.join(twice)}: given twice, as rasters or columns")
    job = {
        **{"format": FORMAT, "name": name, "splits": counts},
        "columns": columns,
        "photos": {n: sizes[n] for n in taken},
        "sources": [dataclasses.asdict(s) for s in options.sources],
        "stored": {r.source.name: records.stored(r.dtype) for r in opened},
        "demographics": table.width_of(places, "demographics"),
        "shard": options.shard,
    }
    if options.vectors:
        widths = {name: table.width_of(places, name) for name in options.vectors}
        job["vectors"] = {name: width for name, width in widths.items() if width}
    marks = [remote.fingerprint(s.path) for s in options.sources]
    if len(id):
        marks.append(nodes.mark(id, options.edges))
    plain = job | {"sources": [s | {"path": ""} for s in job["sources"]]}
    parts = [*(p["split"] for p in places), *(str(p["block_number"]) for p in places)]
    number = shards.digest([plain, marks, parts], table.digest_of(places))
    version = f"{FORMAT}.0.{int(number[:7], 16)}"
    job["sources"] = [s | {"path": _absolute(s["path"])} for s in job["sources"]]
    if not remote.is_remote(root):
        root = str(pathlib.Path(root).resolve())
    return job | {"version": version, "root": root}


def _absolute(path: str) -> str:
    return str(pathlib.Path(path).resolve()) if os.path.exists(path) else path


def _make(
    folder: pathlib.Path,
    job: dict[str, Any],
    places: list[table.Place],
    counts: dict[str, int],
    found: problems.Problems,
    rows: int,
    options: Options,
    processes: int,
    ready: list[Any],
) -> None:
    """Make all shards in a folder beside, where a killed build left its own."""
    for other in folder.parent.glob(".making-*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    for unfinished in folder.glob(".*.array_record-*"):
        unfinished.unlink()
    shards.write_json(folder / records.JOB, job)
    if not (folder / records.PLACES).is_file():
        scratch = folder / f".{records.PLACES}"
        table.to_parquet(places, scratch)
        os.replace(scratch, folder / records.PLACES)
    progress = building.Progress(job["name"], len(places))

    def done(shard: shards.Shard, notes: dict[str, Any]) -> None:
        found.join([notes["notes"]["problems"]])
        found.check(rows, options.max_bad)
        progress.add(shard.stop - shard.start)

    planned = shards.plan(job["name"], counts, options.shard)
    if options.runner:
        workers.run_beam(RECORDS, folder, planned, options.runner)
        processes = 0  # what is there is read, what is missing made here
    workers.run(RECORDS, folder, planned, processes, done, ready)


@table.no_collection()
def _finish(
    made: pathlib.Path,
    folder: pathlib.Path,
    job: dict[str, Any],
    places: list[table.Place],
    report: dict[str, Any],
    found: problems.Problems,
    opened: list[rasters.Raster],
    options: Options,
) -> None:
    """Turn a folder of shards into the dataset: indexes, graph, statistics, papers."""
    planned = shards.plan(job["name"], job["splits"], job["shard"])
    notes = [workers.read_notes(made, shard) or {} for shard in planned]
    for split in job["splits"]:
        own = [p for p in places if p["split"] == split]
        arrays = {
            "lat": np.array([p["lat"] for p in own], np.float64),
            "lon": np.array([p["lon"] for p in own], np.float64),
            "cell": np.array([p["cell_number"] for p in own], np.int64),
            "block": np.array([p["block_number"] for p in own], np.int32),
        }
        if any(p.get("region") for p in places):
            names = sorted({p.get("region", "") for p in places})
            number = {name: n for n, name in enumerate(names)}
            arrays["region"] = np.array([number[p["region"]] for p in own], np.int32)
        np.savez(made / f"index-{split}.npz", **arrays)
    tallies: dict[str, statistics.Tally] = {}
    for shard, note in zip(planned, notes, strict=True):
        tally = tallies.setdefault(shard.split, statistics.Tally())
        tally.join(note["notes"]["tally"])
    about = card.statistics_of(job, places, tallies, options.edges != "")
    shards.write_json(made / STATISTICS, about)
    rasters_about = {r.source.name: r.about() for r in opened}
    shards.finish(
        *(made, job["name"], job["version"], records.fields_of(job), planned),
        [note["bytes"] for note in notes],
        description=f"{len(places):,} places of {report['table']}",
        metadata={"rasters": rasters_about, "splits": report["splits"]},
    )
    report |= {"problems": found.plain(), "rasters": rasters_about, "places": about}
    card.write_report(made, report)
    card.write_card(made, report)
    card.contact_sheet(made, job["name"], next(iter(job["splits"])), about)
    for file in (*made.glob(f"*{workers.NOTES}"), made / records.JOB):
        file.unlink()
    (made / records.PLACES).unlink()
    os.replace(made, folder)
