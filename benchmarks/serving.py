"""What viewers cost the stream: frame rate, frame age and CPU time with 0, 1 and 200 of them.

A live street, the bundle's INT8 model and no CRF run as in stream.py --serve. The phases take turns
in one run, so that a slow minute of the machine meets all of them. Viewers are sockets that take
MJPEG as fast as it comes and throw it away, in a process of their own (whose CPU time is reported,
as it competes for the same cores).

`page_core_ms` is the CPU time of blending and JPEG per frame, `server_core_ms` that of the server's
thread per frame: both are 0 where nobody watches. `sent` are pictures that viewers took, per viewer
and second.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # this folder comes first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from engines.command import parser, run_command
from engines.failures import UsageError
from engines.machine import describe_machine

if TYPE_CHECKING:
    from runtime.lane import Result
    from runtime.serving.channel import Channel

PACKAGES = ("aiohttp", "numpy", "onnxruntime", "pillow")
SETTLE = 1.0  # seconds after a phase's viewers have joined or left


@dataclass(frozen=True)
class Options:
    """Which model, how fast a camera, how many viewers, and for how long."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    fps: float = 15.0
    viewers: tuple[int, ...] = (0, 1, 200)
    seconds: float = 6.0  # of each phase
    rounds: int = 3
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.viewers) < 0 or self.rounds < 1 or self.seconds <= 0:
            raise UsageError("--viewers 0 or more, --rounds 1 or more, --seconds above 0")


@dataclass(frozen=True)
class Row:
    """One number of viewers, over all rounds."""

    viewers: int
    fps: float
    age_p50_ms: float
    age_p99_ms: float
    page_core_ms: float
    server_core_ms: float
    sent: float
    client_cores: float


@dataclass(frozen=True)
class Comparison:
    """All rows, and the machine."""

    results: tuple[Row, ...]
    settings: str
    machine: dict[str, Any]


class Phase:
    """What is counted while a number of viewers watches."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.seconds = self.page = self.server = self.client = 0.0
        self.sent = 0.0


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python benchmarks/serving.py --json serving.json")
    p.add_argument("--bundle", type=Path, default=Options.bundle, metavar="DIR", help="the model")
    p.add_argument("--fps", type=float, default=Options.fps, metavar="X", help="of the camera")
    p.add_argument(
        "--viewers", type=int, nargs="+", default=Options.viewers, metavar="N",
        help="of each phase",
    )  # fmt: skip
    p.add_argument("--seconds", type=float, default=Options.seconds, metavar="X", help="of a phase")
    p.add_argument("--rounds", type=int, default=Options.rounds, metavar="N", help="of all phases")
    values = vars(p.parse_args(argv))
    return Options(**{**values, "viewers": tuple(values["viewers"])})


def run(options: Options) -> Comparison:
    """Serve a stream, and let viewers come and go."""
    phases = {count: Phase() for count in options.viewers}
    with _served(options) as (channel, port, ages):
        for _ in range(options.rounds):
            for count, phase in phases.items():
                _measure(channel, port, count, phase, ages, options.seconds)
    rows = tuple(_row(count, phase, options.rounds) for count, phase in phases.items())
    settings = f"street {options.fps:g} fps, 480x360, int8, no CRF"
    return Comparison(rows, settings, describe_machine(*PACKAGES))


@contextmanager
def _served(options: Options) -> Iterator[tuple[Channel, int, list[float]]]:
    """A running stream: its channel, the server's port, and where ages of results go."""
    from engines.bundle import Bundle
    from engines.session import open_session
    from runtime.pipeline import one_camera
    from runtime.serving.access import Access
    from runtime.serving.address import Address
    from runtime.serving.channel import Channel
    from runtime.serving.server import Server
    from runtime.source import open_source
    from runtime.switches import Settings, Switches

    bundle = Bundle.open(options.bundle)
    ages: list[float] = []

    def consume(results: Iterator[Result], channel: Channel) -> None:
        for result in results:
            channel.publish(result)
            ages.append(result.age)

    with ExitStack() as stack:
        session = stack.enter_context(open_session(bundle, "int8", "cpu"))
        stream = one_camera(open_source(f"street:?fps={options.fps:g}"), session)
        switches = Switches(Settings(0.5, "off", "int8"))
        channel = stack.enter_context(Channel("camera", stream.lanes[0], session, switches))
        server = Server([channel], Access(Address("127.0.0.1", 0)))
        port = stack.enter_context(server).address.port
        stack.enter_context(stream)
        results = iter(stream)
        threading.Thread(target=consume, args=(results, channel), daemon=True).start()
        while channel.latest is None:
            time.sleep(0.05)
        yield channel, port, ages


def _measure(
    channel: Channel, port: int, count: int, phase: Phase, ages: list[float], seconds: float
) -> None:
    """One phase of `count` viewers, added to what was counted before."""
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    watching = spawn.Process(target=watch, args=(port, count, seconds, sending))
    watching.start()
    while channel.viewers < count:
        time.sleep(0.01)
    time.sleep(SETTLE)
    first, start = len(ages), time.monotonic()
    page, server = _page_seconds(channel), _server_seconds()
    time.sleep(seconds)
    phase.seconds += time.monotonic() - start
    phase.ages += ages[first:]
    phase.page += _page_seconds(channel) - page
    phase.server += _server_seconds() - server
    sent, cores = receiving.recv()
    watching.join()
    phase.sent += sent
    phase.client += cores
    while channel.viewers:
        time.sleep(0.01)


def watch(port: int, count: int, seconds: float, result: Connection) -> None:
    """`count` viewers for a time, in this process: how many pictures each took a second, and how
    many cores that needed."""
    head = b"GET /api/streams/camera/video.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        for _ in range(count):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            line.sendall(head)
            ready.register(line, selectors.EVENT_READ, line)
        _take(ready, SETTLE)
        start, cpu = time.monotonic(), time.process_time()
        taken = _take(ready, seconds)
        elapsed = time.monotonic() - start
        cores = (time.process_time() - cpu) / elapsed
    result.send((taken / max(1, count) / elapsed, cores))


def _take(ready: selectors.BaseSelector, seconds: float) -> int:
    """How many pictures came within a time."""
    taken, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for key, _ in ready.select(left):
            taken += key.data.recv(1 << 18).count(b"--frame\r\n")
    return taken


def _page_seconds(channel: Channel) -> float:
    return channel.lane.timings.cpu.get("page", 0.0)


def _server_seconds() -> float:
    """CPU time of the server's thread so far."""
    (thread,) = (t for t in threading.enumerate() if t.name == "server")
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _row(count: int, phase: Phase, rounds: int) -> Row:
    ages = np.sort(phase.ages)
    frames = len(ages)
    return Row(
        viewers=count,
        fps=round(frames / phase.seconds, 2),
        age_p50_ms=round(1e3 * float(np.percentile(ages, 50)), 1),
        age_p99_ms=round(1e3 * float(np.percentile(ages, 99)), 1),
        page_core_ms=round(1e3 * phase.page / frames, 3),
        server_core_ms=round(1e3 * phase.server / frames, 3),
        sent=round(phase.sent / rounds, 2),
        client_cores=round(phase.client / rounds, 3),
    )


def show(result: Comparison) -> None:
    """Print the table."""
    print(f"{result.settings}; load {result.machine['load']} on {result.machine['cores']} cores")
    print(f"{'viewers':>8}{'fps':>8}{'age p50':>9}{'p99 ms':>9}", end="")
    print(f"{'page':>8}{'server core-ms':>16}{'sent/s':>8}{'client cores':>14}")
    for row in result.results:
        print(
            f"{row.viewers:8}{row.fps:8.2f}{row.age_p50_ms:9.1f}{row.age_p99_ms:9.1f}"
            f"{row.page_core_ms:8.2f}{row.server_core_ms:16.2f}{row.sent:8.2f}"
            f"{row.client_cores:14.2f}"
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
