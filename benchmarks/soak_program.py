"""`runtime/stream.py` as a process: what it holds, what it says of itself, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engines.failures import Failure

ROOT = Path(__file__).parents[1]
ASKED = 10.0  # s for an answer
STARTED = 120.0  # s until it serves
GONE = 60.0  # s after a signal, then it is killed
MIB = 2**20
LINE = re.compile(r'^(\w+)\{stream="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Holdings:
    """What the program and its readers hold."""

    main_mb: float  # resident memory of the program itself
    readers_mb: float  # ... of its reader processes
    files: int  # of the program itself
    threads: int
    readers: int


class Program:
    """The running program."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self.exit_seconds = 0.0
        self._process = process

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def holdings(self) -> Holdings:
        """Of this moment; a process that ends meanwhile counts as nothing."""
        own = Path(f"/proc/{self._process.pid}")
        readers = [mb for mb in map(resident_mb, children(self._process.pid)) if mb]
        files, threads = (len(list((own / kind).iterdir())) for kind in ("fd", "task"))
        return Holdings(resident_mb(own), sum(readers), files, threads, len(readers))

    def metrics(self) -> dict[tuple[str, str], float]:
        """`/metrics`, by name and stream."""
        return {(name, of): float(x) for name, of, x in LINE.findall(self._ask("GET", "/metrics"))}

    def record(self, stream: str, on: bool) -> None:
        """Press the page's button."""
        path = f"/api/streams/{stream}/recording"
        self._ask("POST", path, json.dumps({"on": on}))

    def stop(self) -> None:
        """SIGTERM, and wait."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(GONE)
        finally:
            self._process.kill()
            self.exit_seconds = time.monotonic() - began

    def _ask(self, method: str, path: str, body: str | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASKED)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Failure(f"{method} {path} was answered with {answer.status}: {text}")
        return text


@contextmanager
def running(
    cameras: Sequence[str], bundle: Path, folder: Path, log: Path, extra: Sequence[str] = ()
) -> Iterator[Program]:
    """The program, serving; recordings go to `folder`, what it says to `log`."""
    command = [sys.executable, str(ROOT / "runtime" / "stream.py"), "--headless", *extra]
    command += [word for camera in cameras for word in ("--camera", camera)]
    command += ["--bundle", str(bundle.resolve()), "--precision", "int8", "--alpha", "0.3"]
    command += ["--serve", "127.0.0.1:0", "--recordings", str(folder)]
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, cwd=ROOT, text=True) as it,
    ):
        try:
            yield Program(it, port_of(it, log))
        finally:
            it.kill()


def port_of(process: subprocess.Popen[str], log: Path) -> int:
    """Where it serves, from the line it prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"page http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise Failure(f"the program ended before it served: {log.read_text()[-500:]}")


def children(parent: int) -> list[Path]:
    """The folders in /proc of the processes that a process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(folder)
    return found


def resident_mb(process: Path) -> float:
    """Resident memory in MiB; 0 once it is gone."""
    try:
        pages = int((process / "statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
