"""Every fault of a camera that benchmarks/sources.py injects, and what became of the camera."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from benchmarks import camera_faults
from benchmarks.camera_faults import http_camera
from engines.failures import SourceFailed
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.feed import Feed
from runtime.sources.network import network_feed
from runtime.sources.reader_process import ReaderProcess
from runtime.sources.status import State

ENOUGH = 40  # frames of one connection that show it to be well; faulty ones deliver at most 30
GUARD = 900.0  # s after which a camera that did not recover counts as lost
EAGER = Retry(first=0.01, longest=0.02, to_start=float("inf"))
OPENING, READING = 1.5, 1.0  # s; the watchdog adds one. A user's are 8 and 4
RTSP_SERVER = Path(__file__).parents[1] / "tests" / "runtime" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL = "sudo apt-get install $(grep -v '#' tests/debian-packages.txt)"


@dataclass(frozen=True)
class FaultRow:
    """What became of a camera; growth of this process in files, threads and MB."""

    name: str
    how: str
    times: int
    survived: int
    seconds: float  # each time, until frames came again or the reason was known
    said: str
    files: int
    threads: int
    megabytes: float

    def outcome(self) -> str:
        """For the table."""
        share = "" if self.survived == self.times else f"{self.survived} of {self.times}: "
        growth = f"files {self.files:+d}, threads {self.threads:+d}, {self.megabytes:+.1f} MB"
        return f"{share}{self.said}; {self.seconds:.2f} s each; {growth}"


@dataclass
class Seen:
    """What a camera did."""

    frames: int = 0
    shown: set[str] = field(default_factory=set)  # sizes
    damaged: int = 0
    reconnects: int = 0
    reason: str = ""  # why it ended by itself


Act = Callable[[int], tuple[int, str]]  # times -> survived, outcome in words


@dataclass(frozen=True)
class Fault:
    """A fault and the act that injects it some times in a row into one camera."""

    name: str
    how: str
    act: Act
    slow: bool = False  # each time waits for a time-out
    needs_gstreamer: bool = False


def suffer(fault: Fault, times: int) -> FaultRow:
    """Inject a fault `times` times."""
    files, threads, memory = held()
    began = time.monotonic()
    survived, said = fault.act(times)
    seconds = (time.monotonic() - began) / times
    after = held()
    growth = (after[0] - files, after[1] - threads, (after[2] - memory) / 2**20)
    return FaultRow(fault.name, fault.how, times, survived, seconds, said, *growth)


def held() -> tuple[int, int, int]:
    """Open files, threads, and bytes of memory of this process."""
    gc.collect()
    files = len(list(Path("/proc/self/fd").iterdir()))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return files, threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE")


def quick(feed: Feed) -> Camera:
    """A camera with little patience for its readers and much for the fault."""
    return Camera(replace(feed, opening=OPENING, reading=READING), "camera", retry=EAGER)


def watch(camera: Camera, each: Callable[[int], None] = lambda count: None) -> Seen:
    """Take frames until one connection gave `ENOUGH`, the camera gave up, or time is over.

    `each` is called with the number of frames of the connection so far.
    """
    seen, run, lost = Seen(), 0, 0
    timer = threading.Timer(GUARD, camera.close)
    timer.start()
    try:
        with closing(iter(camera)) as frames:
            for frame in frames:
                run = run + 1 if camera.status.reconnects == lost else 1
                lost = camera.status.reconnects
                seen.frames += 1
                seen.shown.add(f"{frame.image.shape[1]}x{frame.image.shape[0]}")
                if run >= ENOUGH:
                    break
                each(run)
    except SourceFailed as failure:
        seen.reason = str(failure)
    finally:
        timer.cancel()
    seen.damaged, seen.reconnects = camera.damaged, camera.status.reconnects
    return seen


def passes(fault: camera_faults.Fault) -> Act:
    """Connections with the fault, then a healthy one, which the camera must reach."""

    def act(times: int) -> tuple[int, str]:
        with http_camera(*[fault] * times, camera_faults.healthy) as port:
            seen = watch(quick(network_feed(f"http://127.0.0.1:{port}/live")))
        return (times if seen.frames >= ENOUGH else 0), "live again"

    return act


def endured(fault: camera_faults.Fault) -> Act:
    """A connection that goes on in spite of the fault."""

    def act(times: int) -> tuple[int, str]:
        survived, damaged, sizes = 0, 0, set[str]()
        for _ in range(times):
            with http_camera(fault) as port:
                seen = watch(quick(network_feed(f"http://127.0.0.1:{port}/live")))
            survived += seen.frames >= ENOUGH and not seen.reconnects
            damaged += seen.damaged
            sizes |= seen.shown
        said = f"stays live; sizes {', '.join(sorted(sizes))}"
        return survived, said + (
            f"; {damaged} damaged pictures counted, none shown" * bool(damaged)
        )

    return act


def ends(fault: camera_faults.Fault, words: str, user: str = "") -> Act:
    """A fault that no patience helps against: the camera must say `words` and stop."""

    def act(times: int) -> tuple[int, str]:
        survived = 0
        for _ in range(times):
            with http_camera(fault) as port:
                seen = watch(quick(network_feed(f"http://{user}127.0.0.1:{port}/live")))
            survived += words in seen.reason and "wrong" not in seen.reason
        return survived, f"ends: “{words}”"

    return act


def refuses(times: int) -> tuple[int, str]:
    """A closed port; then a camera listens there."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    camera = quick(network_feed(f"http://127.0.0.1:{port}/live"))
    tries = 0

    def count(line: str) -> None:
        nonlocal tries
        tries += "nothing answers" in line
        if tries == times:
            ready.set()

    ready, camera._tell = threading.Event(), count
    seen: list[Seen] = []
    thread = threading.Thread(target=lambda: seen.append(watch(camera)))
    thread.start()
    ready.wait(GUARD * 10)
    with http_camera(camera_faults.healthy, port=port):
        thread.join()
    return (times if seen[0].frames >= ENOUGH else 0), "live once it listens"


def reader_signalled(number: signal.Signals) -> Act:
    """A reader that crashes in a decoder, or freezes as in a driver."""

    def act(times: int) -> tuple[int, str]:
        feed = Feed("v4l2", "testsrc2=size=64x48:rate=200,realtime", {"driver": "lavfi"})
        camera = quick(feed)

        def strike(run: int) -> None:
            reader = camera._reader
            if run == 5 and camera.status.reconnects < times and isinstance(reader, ReaderProcess):
                os.kill(reader.pid, number)

        return watch(camera, strike).reconnects, "live again"

    return act


@contextmanager
def rtsp_server(size: str = "64x48", port: int = 0, *credentials: str) -> Iterator[tuple[int, int]]:
    """GStreamer's RTSP server with H.264; its port and process."""
    width, _, height = size.partition("x")
    pipeline = (
        f"videotestsrc is-live=true ! video/x-raw,width={width},height={height},framerate=50/1 ! "
        "x264enc tune=zerolatency key-int-max=10 speed-preset=ultrafast ! rtph264pay name=pay0"
    )
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), pipeline, *credentials],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        with server.stdout as printed:
            yield int(printed.readline()), server.pid
    finally:
        server.kill()
        server.wait()


def rtsp_struck(number: signal.Signals, sizes: tuple[str, ...] = ("64x48",)) -> Act:
    """An RTSP server that is killed or frozen after some frames, and started again each time."""

    def act(times: int) -> tuple[int, str]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        camera = quick(network_feed(f"rtsp://127.0.0.1:{port}/live"))
        seen: list[Seen] = []
        thread = threading.Thread(target=lambda: seen.append(watch(camera)))
        for index in range(times + 1):
            with rtsp_server(sizes[index % len(sizes)], port) as (_, process):
                if not index:
                    thread.start()
                wait_for(lambda: camera.status.state is State.LIVE)
                if index == times:
                    thread.join()
                    break
                os.kill(process, number)
                wait_for(lambda: camera.status.state is State.RECONNECTING)
        return seen[0].reconnects, f"live again; sizes {', '.join(sorted(seen[0].shown))}"

    return act


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once it holds, or after `GUARD` seconds."""
    deadline = time.monotonic() + GUARD
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def rtsp_login(times: int) -> tuple[int, str]:
    """A password that is wrong, and the right one."""
    words, survived = "it refuses the user or password", 0
    with rtsp_server("64x48", 0, "admin", "secret") as (port, _):
        for _ in range(times):
            wrong = watch(quick(network_feed(f"rtsp://admin:wrong@127.0.0.1:{port}/live")))
            right = watch(quick(network_feed(f"rtsp://admin:secret@127.0.0.1:{port}/live")))
            refused = words in wrong.reason and "wrong" not in wrong.reason
            survived += refused and right.frames >= ENOUGH
    return survived, f"ends: “{words}”; live with the right one"


def publisher_killed(times: int) -> tuple[int, str]:
    """ffmpeg publishes MPEG-TS with H.264 over HTTP, is killed and started again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = "-f lavfi -re -i testsrc2=size=64x48:rate=50 -c:v libx264 -tune zerolatency -g 10"
    command = f"ffmpeg -loglevel quiet {words} -f mpegts -listen 1 http://127.0.0.1:{port}/live"
    camera = quick(network_feed(f"http://127.0.0.1:{port}/live"))
    seen: list[Seen] = []
    thread = threading.Thread(target=lambda: seen.append(watch(camera)))
    thread.start()
    while thread.is_alive():
        with _published(command) as ended:
            _until_live(camera, thread, ended)
            if camera.status.reconnects >= times:
                thread.join()
        wait_for(lambda: not thread.is_alive() or not _live(camera))
    return min(times, seen[0].reconnects), "live again"


def _until_live(camera: Camera, thread: threading.Thread, ended: Callable[[], bool]) -> None:
    wait_for(lambda: not thread.is_alive() or ended() or _live(camera))


@contextmanager
def _published(command: str) -> Iterator[Callable[[], bool]]:
    """A program that publishes, killed in the end; gives whether it ended before."""
    publisher = subprocess.Popen(command.split(), stdin=subprocess.DEVNULL)
    try:
        yield lambda: publisher.poll() is not None
    finally:
        publisher.kill()
        publisher.wait()


def _live(camera: Camera) -> bool:
    return camera.status.state is State.LIVE


def missing_packages() -> list[str]:
    """Why the RTSP faults cannot be injected here."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    found = (
        shutil.which(SYSTEM_PYTHON)
        and subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode == 0
    )
    return [] if found and shutil.which("ffmpeg") else [f"RTSP server, ffmpeg: {INSTALL}"]


@dataclass(frozen=True)
class OpeningRow:
    """A faulty camera opened and read in this process again and again, and what that left."""

    name: str
    times: int
    files: int
    threads: int
    megabytes: float  # from after the first tenth on


def open_often(fault: camera_faults.Fault, times: int) -> OpeningRow:
    """Open a faulty camera and take up to three pictures, `times` times, without a reader."""
    files, threads, memory = held()
    with http_camera(fault) as port:
        feed = replace(network_feed(f"http://127.0.0.1:{port}/live"), opening=5.0, reading=5.0)
        for index in range(times):
            if index == times // 10:
                memory = held()[2]
            with suppress(SourceFailed), closing(iter(Capture(feed))) as pictures:
                list(islice(pictures, 3))
    after = held()
    growth = (after[0] - files, after[1] - threads, (after[2] - memory) / 2**20)
    return OpeningRow(fault.__name__.replace("_", " "), times, *growth)


AT_ONCE = [  # faults that no time-out has to pass for
    camera_faults.no_http,
    camera_faults.garbage,
    camera_faults.failing,
    camera_faults.missing,
    camera_faults.unauthorised,
    camera_faults.redirects_to_a_file,
    camera_faults.redirects_for_ever,
    camera_faults.playlist,
]
FAULTS = [
    Fault("refuses", "HTTP: closed port", refuses),
    Fault("dies", "HTTP MJPEG: ends after 30 frames", passes(camera_faults.dies)),
    Fault("is reset", "HTTP MJPEG: TCP reset after 30 frames", passes(camera_faults.resets)),
    Fault("is no camera", "random bytes instead of HTTP", passes(camera_faults.no_http)),
    Fault("sends garbage", "random bytes as MJPEG", passes(camera_faults.garbage)),
    Fault("is busy", "HTTP 503", passes(camera_faults.failing)),
    Fault("has not this path", "HTTP 404", passes(camera_faults.missing)),
    Fault("redirects to a file", "Location: file:///", passes(camera_faults.redirects_to_a_file)),
    Fault("redirects for ever", "Location: itself", passes(camera_faults.redirects_for_ever)),
    Fault("sends a playlist", "M3U8 naming a local file", passes(camera_faults.playlist)),
    Fault("claims 65500x65500", "JPEG header", passes(camera_faults.giant)),
    Fault("says nothing", "accepts, then silence", passes(camera_faults.silent), slow=True),
    Fault("hangs", "half a frame, then silence", passes(camera_faults.hangs_in_a_frame), slow=True),
    Fault("has no end of headers", "1 kB lines", passes(camera_faults.endless_header), slow=True),
    Fault("has no end of a line", "one header", passes(camera_faults.endless_line), slow=True),
    Fault("drips", "10 bytes/s", passes(camera_faults.drips), slow=True),
    Fault("cuts pictures", "every 2nd JPEG half", endured(camera_faults.half_pictures), slow=True),
    Fault("mixes noise in", "every 3rd JPEG random", endured(camera_faults.garbage_between), True),
    Fault("changes size", "64x48, 96x80, 32x32", endured(camera_faults.changes_size), slow=True),
    Fault("lies of lengths", "parts of “2 GB”", endured(camera_faults.false_length), slow=True),
    Fault(
        "wants a password",
        "HTTP 401",
        ends(camera_faults.unauthorised, "it refuses the user or password", "admin:wrong@"),
        slow=True,
    ),
    Fault("decoder crashes", "reader: SIGSEGV", reader_signalled(signal.SIGSEGV)),
    Fault("driver hangs", "reader: SIGSTOP", reader_signalled(signal.SIGSTOP), slow=True),
    Fault("RTSP dies", "server: SIGKILL", rtsp_struck(signal.SIGKILL), True, True),
    Fault("RTSP hangs", "server: SIGSTOP", rtsp_struck(signal.SIGSTOP), True, True),
    Fault(
        "RTSP changes size",
        "server killed, comes back",
        rtsp_struck(signal.SIGKILL, ("64x48", "128x96")),
        True,
        True,
    ),
    Fault("RTSP password", "wrong, then right (digest)", rtsp_login, True, True),
    Fault("publisher dies", "ffmpeg, MPEG-TS: SIGKILL", publisher_killed, True, True),
]
