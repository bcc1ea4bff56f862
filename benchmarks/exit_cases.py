"""A running stream that is told to end, or has a stage that fails like a bug, and what it leaves.

The stream reads a network camera through a reader process, records, and serves a page with a viewer
of its picture.
"""

from __future__ import annotations

import http.client
import importlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av

from benchmarks.camera_faults import HEADER, Viewer, http_camera
from benchmarks.soak_program import ROOT, Program, children, port_of
from engines.failures import Failure

START = "import sys; from benchmarks.exit_cases import main; sys.exit(main(*sys.argv[1:]))"
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
STAGES = {  # what fails: module, class, method
    "capture": ("runtime.lane", "Lane", "_read"),
    "prepare": ("runtime.cpu_path", "CpuPath", "prepare"),
    "infer": ("runtime.cpu_path", "CpuPath", "infer"),
    "label": ("runtime.cpu_path", "CpuPath", "label"),
    "draw": ("runtime.cpu_path", "CpuPath", "draw"),
    "record": ("runtime.sinks.recorder", "Recorder", "put"),
    "publish": ("runtime.serving.channel", "Channel", "publish"),
    "page": ("runtime.serving.channel", "Channel", "_make"),
}
GOES_ON = "page"  # a picture for viewers may fail: the stream goes on, until SIGTERM
INJECTED = "a bug, injected"
SIZE, RATE = (360, 480), 20.0  # of the camera: height, width; frames/s
FRAMES = 10  # before it happens
GUARD = 120.0  # s for each step, on however busy a machine


@dataclass(frozen=True)
class Exit:
    """How a stream ended."""

    cause: str
    seconds: float  # from the signal, or the order to fail, until the process was gone
    core_seconds: float  # of processor time in between, of all its processes
    exit_code: int
    recorded: int  # frames that decode
    readers_left: int  # of its reader processes
    port_free: bool
    files: tuple[str, ...]  # in the folder it recorded to
    said: str  # on stderr

    @property
    def clean(self) -> bool:
        """Whether everything is as it should be."""
        expected = int(self.cause in STAGES and self.cause != GOES_ON)
        told = self.cause in SIGNALS or INJECTED in self.said
        kept = self.recorded > 0 and self.files == ("out.mp4",)
        return self.exit_code == expected and told and kept and self.released

    @property
    def released(self) -> bool:
        """Whether camera and port are free."""
        return not self.readers_left and self.port_free


def steady(viewer: Viewer) -> None:
    """A camera without fault, larger than the model's logits, as the CRF wants."""
    viewer.send(HEADER)
    viewer.frames(1 << 30, SIZE, RATE)


def leave(cause: str, bundle: Path, folder: Path, precision: str = "auto") -> Exit:
    """Start a stream, let it be ended by `cause`, and look at what is left.

    Args:
        cause: A key of `SIGNALS` or `STAGES`.
        bundle: The model.
        folder: Empty; the recording and the log go there.
        precision: For `--precision`.
    """
    films, log, order = folder / "films", folder / "log", folder / "order"
    films.mkdir()
    command = [
        sys.executable,
        "-c",
        START,
        cause,
        str(order),
        "--headless",
        "--precision",
        precision,
    ]
    command += ["--bundle", str(bundle.resolve()), "--record", str(films / "out.mp4")]
    with http_camera(steady) as camera, log.open("w") as said:
        command += ["--serve", "127.0.0.1:0", "--camera", f"http://127.0.0.1:{camera}/live"]
        with _started(command, said) as process:
            try:
                program = Program(process, port_of(process, log))
                spent, readers = _end(program, cause, process, order, log)
            except (OSError, http.client.HTTPException):
                raise Failure(f"the stream ended too early: {log.read_text()[-500:]}") from None
            finally:
                process.kill()
    return Exit(
        cause,
        *spent,
        process.returncode,
        frames_of(films / "out.mp4"),
        sum(reader.exists() for reader in readers),
        _free(program.port),
        tuple(sorted(path.name for path in films.iterdir())),
        log.read_text(),
    )


def _started(command: Sequence[str], said: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT)


def _end(
    program: Program, cause: str, process: subprocess.Popen[str], order: Path, log: Path
) -> tuple[tuple[float, float], list[Path]]:
    """Watch some frames, and end it; seconds and core-seconds that this took, and its readers."""
    viewer, own = _join(program.port), Path(f"/proc/{process.pid}")
    try:
        _until(lambda: _frames(program) >= FRAMES)
        readers = children(process.pid)
        if cause == GOES_ON:
            order.touch()
            _until(lambda: INJECTED in log.read_text())
            goal = _frames(program) + FRAMES
            _until(lambda: _frames(program) >= goal)
        began, worked = time.monotonic(), sum(map(core_seconds, [own, *readers]))
        before = children_core_seconds()
        if cause in STAGES and cause != GOES_ON:
            order.touch()
        else:
            process.send_signal(SIGNALS.get(cause, signal.SIGTERM))
        process.wait(GUARD)
        seconds = time.monotonic() - began
        return (seconds, max(0.0, children_core_seconds() - before - worked)), readers
    finally:
        viewer.close()


def _join(port: int) -> http.client.HTTPConnection:
    """A viewer of the picture who takes nothing but the first bytes."""
    viewer = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)
    viewer.request("GET", "/api/streams/camera/video.mjpeg")
    viewer.getresponse().read(100)
    return viewer


def _frames(program: Program) -> float:
    return program.metrics()["deeplab_frames_total", "camera"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GUARD
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"the stream did not come so far within {GUARD:g} s")
        time.sleep(0.02)


def frames_of(film: Path) -> int:
    """How many frames of a recording decode; 0 if it is none."""
    with suppress(av.FFmpegError, OSError), av.open(str(film)) as container:
        return sum(1 for _ in container.decode(video=0))
    return 0


def core_seconds(process: Path) -> float:
    """That a running process has used; `process` is its folder in /proc."""
    words = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def children_core_seconds() -> float:
    """That our processes, and theirs, used which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def break_stage(stage: str, ordered: Callable[[], bool]) -> None:
    """From now on the stage's method raises once, as soon as it is `ordered`."""
    module, owner, name = STAGES[stage]
    kind = getattr(importlib.import_module(module), owner)
    works = getattr(kind, name)
    broken = False

    def fails(*arguments: Any) -> Any:
        nonlocal broken
        if not broken and ordered():
            broken = True
            raise RuntimeError(INJECTED)
        return works(*arguments)

    setattr(kind, name, fails)


def main(cause: str, order: str, *words: str) -> int:
    """The stream, which fails in a stage or waits for a signal."""
    from runtime.stream import main as stream

    if cause in STAGES:
        break_stage(cause, Path(order).exists)
    return stream(list(words))
