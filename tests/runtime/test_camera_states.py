"""The state machine of a camera that is lost and found, on a clock and with luck of the test's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.failures import DeviceMissing, SourceFailed
from runtime.sources.backoff import Backoff, Retry
from runtime.sources.camera import SLACK, STALL, UNKNOWN_RATE, Camera
from runtime.sources.feed import Feed, Lost
from runtime.sources.reader_process import EndOfFeed, Opened, Received
from runtime.sources.status import State

FEED = Feed("network", "rtsp://admin:secret@camera/1", opening=8.0, reading=4.0)
OPENED = Opened("64x48 h264 at 25 frames/s", 25.0, ("mjpeg 64x48",))


@dataclass
class Clock:
    """Time that passes only when the camera waits."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


Step = Opened | Received | Exception | float  # said, raised, or seconds of silence


@dataclass
class ScriptedReader:
    """Says what its script does, one step after the other; then nothing, for ever."""

    steps: list[Step]
    clock: Clock
    closed: bool = False
    interrupted: bool = False

    def receive(self, timeout: float) -> Opened | Received | None:
        assert not self.closed
        assert timeout > 0
        step = self.steps.pop(0) if self.steps else float("inf")
        if isinstance(step, float):
            if step > timeout:
                self.steps.insert(0, step - timeout)
                self.clock.now += timeout
                return None
            self.clock.now += step
            return self.receive(max(1e-9, timeout - step))
        if isinstance(step, Exception):
            raise step
        return step

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """A camera whose connections are scripts, and what it told."""

    scripts: list[list[Step]]
    retry: Retry = field(default_factory=Retry)
    feed: Feed = FEED
    clock: Clock = field(default_factory=Clock)
    readers: list[ScriptedReader] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def camera(self) -> Camera:
        camera = Camera(
            self.feed,
            self.feed.address,
            retry=self.retry,
            tell=self.told.append,
            open_reader=self._open,
            clock=self.clock,
            chance=lambda: 1.0,
        )
        waiting = camera._closed.wait

        def wait(seconds: float) -> bool:
            self.waits.append(seconds)
            self.clock.now += seconds
            return waiting(0)

        camera._closed.wait = wait  # type: ignore[method-assign, assignment]
        return camera

    def _open(self, feed: Feed) -> ScriptedReader:
        assert feed is self.feed
        assert all(reader.closed for reader in self.readers)  # one at a time
        self.readers.append(ScriptedReader(self.scripts.pop(0), self.clock))
        return self.readers[-1]


def frame(size: tuple[int, int] = (48, 64), dropped: int = 0, damaged: int = 0) -> Received:
    return Received(np.zeros((*size, 3), np.uint8), 100.0, None, dropped, damaged)


def states(world: World) -> list[str]:
    """The states that were told, in order."""
    return [line.split(": ", 1)[1].split(",")[0] for line in world.told if ": " in line]


def test_from_the_first_try_to_the_first_frame() -> None:
    world = World([[1.0, OPENED, 0.5, frame()]])
    camera = world.camera()
    assert camera.status.state == "starting"
    with closing(iter(camera)) as frames:
        first = next(frames)
        assert (first.index, first.time) == (0, 0.0)
        assert camera.status.state == "live"
        assert camera.status.since == 101.5
        assert camera.fps == 25
    assert camera.status.state is State.ENDED
    assert world.readers[0].closed
    assert world.told[0].endswith("offers mjpeg 64x48")
    assert world.told[1].endswith("live, 64x48 h264 at 25 frames/s")


def test_a_stall_is_seen_and_passes() -> None:
    world = World([[OPENED, frame(), STALL + 0.5, frame(), 0.1, frame()]])
    camera = world.camera()
    seen: list[State] = []
    camera._tell = lambda line: seen.append(camera.status.state)
    with closing(iter(camera)) as frames:
        assert len(list(islice(frames, 3))) == 3
    assert seen[1:] == [State.LIVE, State.STALLED, State.LIVE]
    assert camera.status.reconnects == 0


def test_a_slow_consumer_is_not_a_silent_camera() -> None:
    world = World([[OPENED, frame(), 0.1, frame(), 0.1, frame()]])
    camera = world.camera()
    with closing(iter(camera)) as frames:
        for _ in range(3):
            next(frames)
            world.clock.now += 100  # paused, or suspended
    assert states(world) == ["live"]
    assert len(world.readers) == 1


def test_a_slow_camera_is_not_stalled() -> None:
    slow = Opened("64x48 mjpeg at 1 frames/s", 1.0, ())
    world = World([[slow, frame(), 2.9, frame(), 3.1, frame()]])
    with closing(iter(world.camera())) as frames:
        assert len(list(islice(frames, 3))) == 3
    assert states(world) == ["live", "stalled", "live"]


def test_a_reader_that_hangs_is_replaced() -> None:
    world = World([[OPENED, frame()], [OPENED, frame()]])
    camera = world.camera()
    with closing(iter(camera)) as frames:
        numbers = [item.index for item in islice(frames, 2)]
    assert numbers == [0, 1]
    assert states(world) == ["live", "stalled", "reconnecting", "live"]
    assert camera.status.reconnects == 1
    assert world.clock.now == pytest.approx(100 + SLACK + FEED.reading + Retry().first)


@pytest.mark.parametrize("opened", [[], [OPENED]])
def test_one_that_never_delivers_is_given_up(opened: Sequence[Step]) -> None:
    world = World([list(opened) for _ in range(5)])
    camera = world.camera()
    with pytest.raises(SourceFailed, match=r"rtsp://\*\*\*@camera/1: it gave no frame for 9 s"):
        list(camera)
    assert camera.status.state is State.FAILED
    assert len(world.readers) == 2  # after 9 s a second try begins; 18 s are more than 10
    assert all(reader.closed for reader in world.readers)


def test_a_wrong_password_is_not_tried_twice() -> None:
    world = World([[SourceFailed("it refuses the user or password")]])
    with pytest.raises(SourceFailed, match=r"^rtsp://\*\*\*@camera/1: it refuses the user"):
        list(world.camera())
    assert len(world.readers) == 1


def test_a_missing_backend_keeps_its_exit_code() -> None:
    with pytest.raises(DeviceMissing):
        list(World([[DeviceMissing("no argus")]]).camera())


def test_a_lost_camera_is_tried_for_ever_with_growing_waits() -> None:
    scripts: list[list[Step]] = [[OPENED, frame(), Lost("it ended the stream")]]
    scripts += [[Lost("nothing answers")] for _ in range(50)]
    world = World([*scripts, [OPENED, frame()]])
    camera = world.camera()
    with closing(iter(camera)) as frames:
        assert len(list(islice(frames, 2))) == 2
    assert world.waits[:8] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert len(world.waits) == 51
    assert camera.status.reconnects == 1  # lost once, found once
    assert set(states(world)[1:-1]) == {"reconnecting"}


def test_a_lost_camera_can_be_given_up() -> None:
    scripts: list[list[Step]] = [[OPENED, frame(), Lost("gone")]]
    scripts += [[Lost("gone")] for _ in range(50)]
    world = World(scripts, Retry(to_return=60))
    with pytest.raises(SourceFailed, match="gone"):
        list(world.camera())
    assert 60 <= world.clock.now - 100 < 60 + 15


def test_waits_begin_anew_after_a_steady_while() -> None:
    gone = Lost("gone")
    world = World(
        [[frame(), gone], [gone], [frame(), 1.0, frame(), gone], [*steady(6.0), gone], [frame()]]
    )
    with closing(iter(world.camera())) as frames:
        list(islice(frames, 10))
    assert world.waits == [0.25, 0.5, 1.0, 0.25]


def steady(seconds: float) -> list[Step]:
    """A frame each second."""
    return [step for _ in range(int(seconds)) for step in (1.0, frame())]


def test_counts_go_on_across_connections() -> None:
    gone = Lost("gone")
    world = World([[frame(dropped=2, damaged=1), gone], [frame(), frame(dropped=3, damaged=4)]])
    camera = world.camera()
    with closing(iter(camera)) as frames:
        list(islice(frames, 3))
    assert (camera.status.dropped, camera.damaged) == (5, 5)


def test_a_change_of_size_is_told() -> None:
    world = World([[OPENED, frame(), frame((96, 128)), frame((96, 128))]])
    with closing(iter(world.camera())) as frames:
        sizes = [item.image.shape[:2] for item in islice(frames, 3)]
    assert sizes == [(48, 64), (96, 128), (96, 128)]
    assert [line for line in world.told if "frames are" in line] == [
        "rtsp://***@camera/1: live, frames are 128x96 now"
    ]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_senseless_rate_is_not_believed(rate: float) -> None:
    camera = World([[Opened("", rate, ()), frame()]]).camera()
    with closing(iter(camera)) as frames:
        next(frames)
    assert camera.fps == UNKNOWN_RATE


def test_a_file_ends_and_is_not_read_again() -> None:
    feed = Feed("network", "http://host/a.mp4", live=False)
    received = Received(np.zeros((2, 2, 3), np.uint8), 101.0, 7.5, 0, 0)
    camera = World([[OPENED, received, EndOfFeed()]], feed=feed).camera()
    assert not camera.live
    assert [item.time for item in camera] == [0.0]  # on the file's clock
    assert camera.status.state is State.ENDED
    world = World([[OPENED, received, Lost("it stopped")]], feed=feed)
    with pytest.raises(SourceFailed, match="it stopped"):
        list(world.camera())


def test_closing_while_it_waits_for_a_frame_or_for_the_next_try() -> None:
    world = World([[OPENED, frame()]])
    camera = world.camera()
    with closing(iter(camera)) as frames:
        next(frames)
        camera.close()
        assert list(frames) == []
    assert world.readers[0].interrupted
    assert world.readers[0].closed

    again = World([[Lost("gone")]])
    other = again.camera()
    other._tell = lambda line: other.close()
    assert list(other) == []
    assert len(again.readers) == 1


def test_closed_before_it_began() -> None:
    world = World([])
    camera = world.camera()
    camera.close()
    assert list(camera) == []


def test_no_process_to_start_is_a_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([OSError(24, "Too many open files")])
    world = World([[OPENED, frame()]])
    opens = world._open

    def limited(feed: Feed) -> ScriptedReader:
        for failure in failures:
            raise failure
        return opens(feed)

    camera = world.camera()
    camera._open_reader = limited
    with closing(iter(camera)) as frames:
        next(frames)
    assert any("Too many open files" in line for line in world.told)


def test_passwords_are_never_told() -> None:
    lost = Lost("could not open rtsp://admin:secret@camera/1")
    world = World([[lost], [OPENED, frame(), lost], [SourceFailed(str(lost))]])
    camera = world.camera()
    with pytest.raises(SourceFailed) as raised:
        list(camera)
    for text in (*world.told, str(raised.value), repr(camera.status), camera.name, repr(FEED)):
        assert "secret" not in text


@given(st.integers(0, 40), st.floats(0, 1), st.floats(0.01, 1), st.floats(1, 60))
def test_waits_are_bounded(tries: int, luck: float, first: float, longest: float) -> None:
    backoff = Backoff(Retry(first=first, longest=longest), lambda: luck)
    waits = [backoff.next() for _ in range(tries + 1)]
    assert all(wait <= longest for wait in waits)
    assert waits == sorted(waits)
    assert waits[0] >= first / 2
    backoff.reset()
    assert backoff.next() == waits[0]


def test_many_cameras_do_not_come_back_at_once() -> None:
    luck = iter(np.linspace(0, 1, 20))
    waits = [Backoff(Retry(first=1.0), lambda: float(next(luck))).next() for _ in range(20)]
    assert (min(waits), max(waits)) == (0.5, 1.0)
    assert len(set(waits)) == 20
