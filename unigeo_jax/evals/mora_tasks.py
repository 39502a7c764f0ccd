# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""MobCLIP's eleven tasks: what they are, which labels exist, how to bring others."""

from collections.abc import Iterable
from typing import NamedTuple


class Listed(NamedTuple):
    """A task of the benchmark.

    public: whether its labels were published; where not, a folder brings them.
    r2: of the released 128-d vectors by the published protocol, June 2025.
    """

    target: str
    level: str
    unit: str
    transform: str  # of the better protocol; the published one takes raw targets
    source: str
    public: bool
    r2: float


TASKS = {
    "POP": Listed(
        "population density", "cell", "", "log1p", "WorldPop", True, 0.814606
    ),
    "EDU": Listed(
        *("years of education", "county", "years", "none", "census 2020"),
        *(True, 0.859050),
    ),
    "ELD": Listed(
        "share aged 65+", "county", "%", "none", "census 2020", True, 0.812507
    ),
    "HSR": Listed(
        *("hukou separation ratio", "county", "", "log1p", "census 2020"),
        *(True, 0.777108),
    ),
    "CRI": Listed(
        "crime cases", "cell", "", "log1p", "Zhang et al. 2025", True, 0.708313
    ),
    "NTL": Listed("night-time light", "cell", "", "log1p", "MOSAIKS", True, 0.597496),
    "HOU": Listed(
        *("housing area a head", "county", "m²", "none", "census 2020"),
        *(True, 0.691934),
    ),
    "ENE": Listed(
        *("energy consumption", "city", "", "log1p", "city yearbooks"),
        *(False, 0.719280),
    ),
    "COS": Listed(
        "off-line consumption", "cell", "", "log1p", "Tencent", False, 0.859583
    ),
    "ELE": Listed("elevation", "cell", "m", "none", "MOSAIKS", True, 0.838759),
    "FOR": Listed("forest cover", "cell", "%", "none", "MOSAIKS", True, 0.741846),
}


def listed_as(name: str) -> str | None:
    """The id of TASKS that labels of this name feed, None: of none.

    A name is an id, or `china_<level>_<id in small letters>` with the task's own level.
    """
    if name in TASKS:
        return name
    for key, task in TASKS.items():
        if name == f"china_{task.level}_{key.lower()}":
            return key
    return None


def lacking(names: Iterable[str]) -> str:
    """Lines on the tasks of TASKS that no labels of these names feed.

    Of those whose labels were never published: what to bring, as `needs` says.
    """
    found = {listed_as(name) for name in names}
    lines = []
    for key, task in TASKS.items():
        if key not in found:
            about = "labels published, not in this folder"
            if not task.public:
                about = "labels never published; to bring them:"
            lines.append(
                f"not run: {key} ({task.target}, by {task.level}, {task.source}):"
                f" {about}"
            )
            lines += [] if task.public else [f"  {line}" for line in needs(key)]
    return "\n".join(lines)


def needs(key: str) -> list[str]:
    """What files feed a task of TASKS: columns, units and how cells are joined."""
    task = TASKS[key]
    unit = task.unit or "any one unit: the release states none"
    known = "" if task.transform == "none" else "; scored raw and as log1p, so above -1"
    mean = f"a {task.level}'s vector is the plain mean of those of its cells"
    if task.level == "cell":
        mean = "each cell has its own vector"
    more = "" if task.level == "cell" else f", {task.level} (code, empty: in none)"
    return [
        f'tasks.json  [{{"name": "{key}", "file": "{key}.csv", "target": "value"}}]',
        f"{key}.csv     {task.level} (code), value ({task.target}, {unit}{known})",
        f"cells.csv   cell (id), lat, lon (degrees){more}; {mean}",
    ]
