# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a command that is killed just before one of its operations on a folder's files.

python benchmarks/fault_points.py FOLDER LOG POINT COUNT launch/train.py ...

Points are operations as Python's audit events name them, with the path below FOLDER:
"os.rename N.tmp". `files K` is the moment at which a save has K files, which is between
its arrays: those are written by threads that Python does not see. SIGKILL comes at the
COUNTth passage of POINT. Each point is written to LOG when it is passed; with POINT
`none` nothing is killed, and LOG is the list of all of them.
"""

import os
import pathlib
import re
import runpy
import signal
import sys
import threading
import time
from typing import Any

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open")
WRITES = os.O_WRONLY | os.O_RDWR
FILES = "files "


def path_of(event: str, args: tuple[Any, ...]) -> str:
    """The file that an operation changes, "" where it changes none."""
    if event not in CHANGES or not isinstance(args[0], str | bytes | os.PathLike):
        return ""
    if event == "open" and not (args[2] or 0) & WRITES:
        return ""
    name = os.fsdecode(args[0])
    at = args[-1] if event in ("os.remove", "os.rmdir") else -1
    if isinstance(at, int) and at >= 0:  # below a folder that is open
        name = os.path.join(os.readlink(f"/proc/self/fd/{at}"), name)
    return os.path.abspath(name)


def label(event: str, path: str, folder: str) -> str:
    """The same of every save: without its step, temporary names and hashes."""
    below = os.path.relpath(path, folder).replace(".orbax-checkpoint-tmp", ".tmp")
    below = re.sub(r"\b[0-9a-f]{32}\b", "HASH", below)
    return f"{event} {re.sub(r'^[0-9]+', 'N', below)}"


class Killer:
    """Counts the points and kills this very process at one of them."""

    def __init__(self, folder: str, log: str, point: str, count: int) -> None:
        self.folder, self.point, self.count = os.path.abspath(folder), point, count
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.passed = 0
        self.lock = threading.Lock()

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        path = path_of(event, args)
        if path.startswith(self.folder + os.sep):
            self.passes(label(event, path, self.folder))

    def passes(self, point: str) -> None:
        with self.lock:
            os.write(self.log, (point + "\n").encode())
            self.passed += point == self.point
            if point == self.point and self.passed == self.count:
                os.kill(os.getpid(), signal.SIGKILL)

    def look(self) -> None:
        """Watches the files of saves that are under way."""
        seen: dict[pathlib.Path, int] = {}
        while True:
            for save in pathlib.Path(self.folder).glob("*tmp*"):
                count = sum(len(files) for _, _, files in os.walk(save))
                for number in range(seen.get(save, 0) + 1, count + 1):
                    self.passes(f"{FILES}{number}")
                seen[save] = max(seen.get(save, 0), count)
            time.sleep(2e-4)


def main(folder: str, log: str, point: str, count: str, *command: str) -> None:
    killer = Killer(folder, log, point, int(count))
    threading.Thread(target=killer.look, daemon=True).start()
    sys.addaudithook(killer.hook)
    sys.argv = [*command]
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
