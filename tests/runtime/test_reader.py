"""The reader process: what crosses its border, and that nothing it does can hurt us."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.camera_faults import jpeg
from engines.failures import DeviceMissing, SourceFailed
from runtime.source import Image
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.decoding import rgb
from runtime.sources.feed import Feed, Lost
from runtime.sources.reader_process import EndOfFeed, Opened, ReaderProcess, Received
from runtime.sources.status import State

GUARD = 20.0  # seconds after which a hang becomes a failure


def acted(picture: str, drop: str = "all") -> Feed:
    """A feed of FFmpeg's lavfi in the place of V4L2."""
    return Feed("v4l2", picture, {"driver": "lavfi"}, drop=drop)


def numbered(count: int, size: str = "320x240") -> str:
    """`count` frames, each with another picture, as fast as they are taken."""
    return f"testsrc2=size={size}:rate=30,trim=end_frame={count}"


def received(reader: ReaderProcess) -> Iterator[Received]:
    """All frames of a reader."""
    while True:
        said = reader.receive(GUARD)
        if isinstance(said, Received):
            yield said


def test_frames_cross_the_border_unchanged() -> None:
    from av.video.reformatter import VideoReformatter

    feed, converter = acted(numbered(5)), VideoReformatter()
    here: list[Image] = []
    with pytest.raises(Lost, match="ended"):
        here.extend(rgb(picture.frame, converter) for picture in Capture(feed))
    there: list[Received] = []
    with closing(ReaderProcess(feed)) as reader:
        before = time.monotonic()
        assert reader.receive(GUARD) == Opened("320x240 wrapped_avframe at 30 frames/s", 30.0, ())
        with pytest.raises(Lost, match="it ended the stream"):
            for item in received(reader):
                there.append(item)
    assert len(there) == 5
    assert all(np.array_equal(a, b.image) for a, b in zip(here, there, strict=False))
    captured = [item.captured for item in there]
    assert captured == sorted(captured)
    assert before - GUARD < captured[0] <= captured[-1] < time.monotonic()  # one clock for both
    assert [item.dropped for item in there] == [0] * 5


def test_frames_are_ours_to_keep() -> None:
    with closing(ReaderProcess(acted(numbered(3)))) as reader:
        kept: list[Image] = []
        with pytest.raises(Lost):
            kept.extend(item.image for item in received(reader))
    assert not np.array_equal(kept[0], kept[2])  # the shared memory was used again, these were not
    assert kept[0].flags.writeable


def test_what_was_not_asked_for_is_dropped_and_counted() -> None:
    with closing(ReaderProcess(acted(numbered(300), drop="newest"))) as reader:
        items: list[Received] = []
        with pytest.raises(Lost):
            items.extend(received(reader))
    assert len(items) + items[-1].dropped == 300


def test_a_frame_may_be_larger_than_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "grows.mjpeg"
    path.write_bytes(b"".join(jpeg(size, 0) for size in ((48, 64), (480, 640), (16, 16))))
    feed = Feed("v4l2", str(path), {"driver": "mjpeg"}, drop="all")
    sizes: list[tuple[int, ...]] = []
    with closing(ReaderProcess(feed)) as reader, pytest.raises(Lost):
        sizes.extend(item.image.shape for item in received(reader))
    assert sizes == [(48, 64, 3), (480, 640, 3), (16, 16, 3)]


def test_failures_keep_their_kind() -> None:
    with closing(ReaderProcess(Feed("v4l2", "/dev/null"))) as reader:
        with pytest.raises(SourceFailed, match="it is no camera") as raised:
            list(received(reader))
        assert not isinstance(raised.value, Lost)
    other = ReaderProcess(Feed("nonsense", "x"))
    with closing(other), pytest.raises(Lost, match="KeyError"):
        list(received(other))


def test_a_reader_that_cannot_be_started_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            ReaderProcess(acted(numbered(1)), ["/no/such/program"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_program_may_have_more_open_files_than_select_takes() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 4096:
        pytest.skip(f"no more than {limits[1]} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, limits[0]), limits[1]))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for _ in range(1024):
            stack.enter_context(Path(os.devnull).open("rb"))
        reader = ReaderProcess(acted(numbered(1)))
        reader.close()
    assert not Path(f"/proc/{reader.pid}").exists()


def test_a_password_is_on_no_command_line_and_in_no_environment() -> None:
    with closing(ReaderProcess(Feed("network", "http://admin:s3cr3t@127.0.0.1:9/"))) as reader:
        for what in ("cmdline", "environ"):
            assert b"s3cr3t" not in Path(f"/proc/{reader.pid}/{what}").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_told_by_its_signal(number: signal.Signals) -> None:
    with closing(ReaderProcess(acted("testsrc2=size=64x48"))) as reader:
        next(received(reader))
        os.kill(reader.pid, number)
        with pytest.raises(Lost, match=f"its reader crashed \\({number.name}\\)"):
            list(received(reader))


BAD_READERS = {
    "no JSON": "control.send(b'hello')",
    "no dictionary": "control.send(b'3')",
    "nothing known": "control.send(b'{\"frame\": {}}')",
    "a frame of no size": "say(size=[0, 0])",
    "a frame of a wrong size": "say(size=['a', None])",
    "a frame that is not there": "say(size=[1000, 1000])",
    "a frame too large to be true": "say(size=[1 << 40, 1 << 40])",
    "memory made smaller": "os.ftruncate(memory, 1 << 20); os.ftruncate(memory, 0)",
    "its end": "pass",
}
BAD_READER = """
import json, os, socket, sys
control, memory = socket.socket(fileno=int(sys.argv[-2])), int(sys.argv[-1])
def say(**said):
    rest = dict(captured=0.0, time=None, dropped=0, damaged=0)
    control.send(json.dumps({"frame": {**rest, **said}}).encode())
control.recv(65536)
"""


@pytest.mark.parametrize("body", BAD_READERS.values(), ids=BAD_READERS.keys())
def test_a_reader_that_misbehaves_is_lost_and_nothing_else(body: str) -> None:
    command = (sys.executable, "-S", "-c", BAD_READER + body)
    with closing(ReaderProcess(acted("x"), command)) as reader:
        with pytest.raises((Lost, EndOfFeed)) as raised:
            list(received(reader))
        assert isinstance(raised.value, Lost)


@pytest.mark.parametrize(
    "body", ["import time; time.sleep(1000)", "signal.pause()", "while True: pass"]
)
def test_a_reader_that_ignores_all_signals_is_gone_in_time(body: str) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); control.send(b'{}')\n"
    command = (sys.executable, "-S", "-c", BAD_READER + ignore + body)
    reader = ReaderProcess(acted("x"), command)
    reader._control.recv(10)  # it ignores them by now
    reader.close()
    assert not Path(f"/proc/{reader.pid}").exists()


def test_nothing_is_left_of_a_reader() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    for _ in range(3):
        with closing(ReaderProcess(acted("testsrc2=size=64x48"))) as reader:
            next(received(reader))
    assert held() == before


ORPHAN = """
import sys, time
from runtime.sources.feed import Feed
from runtime.sources.reader_process import ReaderProcess
reader = ReaderProcess(Feed("v4l2", sys.argv[1], {"driver": sys.argv[2]}))
print(reader.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("hung", [False, True])
def test_a_reader_does_not_outlive_a_killed_program(hung: bool, tmp_path: Path) -> None:
    pipe = tmp_path / "device"
    os.mkfifo(pipe)
    device = (str(pipe), "mpegts") if hung else ("testsrc2=size=64x48", "lavfi")
    program = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, *device], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    with program.stdout as printed:
        reader = int(printed.readline())
    program.kill()
    program.wait()
    wait_until(lambda: not Path(f"/proc/{reader}/exe").exists())


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once it holds; fail after GUARD seconds."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Stopping


@pytest.fixture(params=["live", "hung in opening", "refused", "stopped by a debugger"])
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Camera, Callable[[], bool]]:
    """A camera, and what must hold before it is stopped."""
    pipe = tmp_path / "device"
    os.mkfifo(pipe)
    feed = {
        "hung in opening": Feed("v4l2", str(pipe), {"driver": "mpegts"}),
        "refused": Feed("network", "http://127.0.0.1:9/"),
    }.get(request.param, acted("testsrc2=size=64x48,realtime", drop="newest"))
    camera = Camera(feed, "camera", retry=Retry(first=100, longest=100, to_start=1000))

    def frozen() -> bool:
        reader = camera._reader
        if camera.status.state is State.LIVE and isinstance(reader, ReaderProcess):
            os.kill(reader.pid, signal.SIGSTOP)
        return camera.status.state is State.STALLED

    ready: dict[str, Callable[[], bool]] = {
        "live": lambda: camera.status.state is State.LIVE,
        "hung in opening": lambda: camera._reader is not None,
        "refused": lambda: "nothing answers" in camera.status.detail,
        "stopped by a debugger": frozen,
    }
    return camera, ready[request.param]


def test_a_camera_stops_in_every_state(camera: tuple[Camera, Callable[[], bool]]) -> None:
    source, ready = camera
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    others = set(children.read_text().split())
    thread = threading.Thread(target=lambda: list(source), daemon=True)
    thread.start()
    wait_until(ready)
    source.close()
    thread.join(GUARD)
    assert not thread.is_alive()
    assert source.status.state is State.ENDED
    assert source._reader is None
    assert set(children.read_text().split()) <= others


def test_a_camera_survives_the_death_of_its_readers() -> None:
    feed = acted("testsrc2=size=64x48:rate=100,realtime", drop="newest")
    source = Camera(feed, "camera", retry=Retry(first=1e-3))
    indices = []
    with closing(iter(source)) as frames:
        for frame in islice(frames, 40):
            indices.append(frame.index)
            if frame.index in (10, 20, 30):
                reader = source._reader
                assert isinstance(reader, ReaderProcess)
                os.kill(reader.pid, signal.SIGSEGV)
    assert indices == list(range(40))
    assert source.status.reconnects == 3


def test_a_missing_device_is_no_source_failure() -> None:
    source = Camera(Feed("x", "y"), "camera")

    def refuse(_: Feed) -> ReaderProcess:
        raise DeviceMissing("no argus")

    source._open_reader = refuse
    with pytest.raises(DeviceMissing):
        list(source)
