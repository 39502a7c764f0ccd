# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Starts commands as forks of a process that has imported everything and done nothing.

Importing costs most of a tiny run; the fork is a process of its own, that is killed or
stopped for real. The parent never starts a backend of JAX, so no thread is lost.
"""

import json
import os
import pathlib
import queue
import runpy
import select
import signal
import subprocess
import sys
import threading
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
ONE = "--xla_force_host_platform_device_count=1"


class Child:
    """One command: `pid`, `wait`, `kill`, and what it printed."""

    def __init__(self, number: int, folder: pathlib.Path) -> None:
        self.number, self.pid = number, 0
        self.out_path, self.err_path = (
            folder / f"{number}.out",
            folder / f"{number}.err",
        )
        self._code: queue.Queue[int] = queue.Queue()
        self.code: int | None = None

    def wait(self, timeout: float = 300.0) -> int:
        """The exit code, negative for a signal; TimeoutError if it lives on."""
        if self.code is None:
            try:
                self.code = self._code.get(timeout=timeout)
            except queue.Empty as error:
                raise TimeoutError(f"process {self.pid} after {timeout} s") from error
        return self.code

    def done(self, code: int) -> None:
        self._code.put(code)

    def alive(self) -> bool:
        return self.code is None and self._code.empty()

    def send(self, sign: int) -> None:
        if self.alive():
            os.kill(self.pid, sign)

    def kill(self) -> int:
        """SIGKILL, if it still lives; the exit code."""
        self.send(signal.SIGKILL)
        return self.wait(60)

    def out(self) -> str:
        return self.out_path.read_text(errors="replace")

    def err(self) -> str:
        return self.err_path.read_text(errors="replace")


class Server:
    """Forks on request; `folder` takes what the children print."""

    def __init__(self, folder: pathlib.Path, xla_flags: str = ONE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._children: dict[int, Child] = {}
        self._started: queue.Queue[tuple[int, int]] = queue.Queue()
        environment = os.environ | {
            "GLIBC_TUNABLES": "",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": xla_flags,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self, argv: list[str], environment: dict[str, str] | None = None
    ) -> Child:
        """Runs `python argv...` with more environment variables."""
        number = len(self._children)
        child = self._children[number] = Child(number, self._folder)
        job = {"number": number, "argv": argv, "environment": environment or {}}
        job |= {"out": str(child.out_path), "err": str(child.err_path)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        _, child.pid = self._started.get(timeout=120)
        return child

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            said = json.loads(line)
            if "pid" in said:
                self._started.put((said["number"], said["pid"]))
            else:
                self._children[said["number"]].done(said["code"])

    def close(self) -> None:
        """Ends all children and the server."""
        for child in self._children.values():
            if child.pid and child.alive():
                child.kill()
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def serve() -> None:
    """The server's own loop: a job a line in, what became of it out."""
    import_all()
    running: dict[int, int] = {}
    buffer = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.01 if running else None)
        if ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                job = json.loads(line)
                pid = os.fork()
                if not pid:
                    become(job)
                running[pid] = job["number"]
                tell({"number": job["number"], "pid": pid})
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            code = os.waitstatus_to_exitcode(status)
            tell({"number": running.pop(pid), "code": code})


def tell(what: dict[str, int]) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def import_all() -> None:
    """What the commands import, but nothing that defines flags or starts a thread."""
    import grain  # noqa: F401
    import tensorboardX  # noqa: F401
    import tensorflow_datasets  # noqa: F401
    from tensorflow_datasets.proto import tf_example_pb2  # noqa: F401

    from unigeo_jax import train  # noqa: F401


def become(job: dict[str, Any]) -> None:
    """Turns a fork into the command and never returns."""
    code = 1
    try:
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(job["environment"])
        sys.argv = job["argv"]
        runpy.run_path(job["argv"][0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    serve()
