"""Several cameras and one model: each gets what it would get alone, and none stops another one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from crf.temporal import TemporalEvidence
from engines.failures import Refused, SourceFailed, UsageError
from runtime import pipeline
from runtime.batches import OneByOne, Work
from runtime.cpu_path import CpuPath
from runtime.frame_path import Labels, Logits
from runtime.lane import Lane, Result
from runtime.pipeline import Stream, one_camera
from runtime.source import Frame, FrameSource, Image

GUARD = 10  # seconds after which a hang becomes a failure

MakeFrame = Callable[..., Frame]
MakeSource = Callable[..., FrameSource]


def scene(seed: int, count: int = 12, size: tuple[int, int] = (48, 64)) -> list[Frame]:
    """Noise around a still picture, of another size for each seed."""
    rng = np.random.default_rng(seed)
    still = rng.integers(60, 190, (size[0] + 8 * seed, size[1] + 4 * seed, 3))
    images = [(still + rng.integers(-20, 20, still.shape)).astype(np.uint8) for _ in range(count)]
    return [Frame(image, i, time.monotonic(), i / 25) for i, image in enumerate(images)]


def by_camera(results: Sequence[Result], count: int) -> list[list[Result]]:
    return [[result for result in results if result.camera == camera] for camera in range(count)]


def indices(results: Sequence[Result]) -> list[int]:
    return [result.frame.index for result in results]


def lane_of(session: Any, source: FrameSource, **path: Any) -> Lane:
    return Lane(source, CpuPath(session, **path))


class Round:
    """A `Batches` that takes several frames, and keeps who was in each round."""

    def __init__(self, most_frames: int) -> None:
        self.most_frames = most_frames
        self.rounds: list[list[Any]] = []

    def infer(self, work: Sequence[Work]) -> list[Any]:
        self.rounds.append([path for path, _ in work])
        return OneByOne().infer(work)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_each_camera_gets_what_it_gets_alone(
    session: Any, make_source: MakeSource, most: int
) -> None:
    scenes = [scene(seed, count) for seed, count in ((0, 12), (1, 5), (2, 9))]
    lanes = [lane_of(session, make_source(it), temporal=TemporalEvidence()) for it in scenes]
    batches = Round(most)
    with Stream(lanes, batches) as stream:
        results = by_camera(list(stream), 3)
    for frames, own in zip(scenes, results, strict=True):
        with one_camera(make_source(frames), session, temporal=TemporalEvidence()) as alone:
            expected = list(alone)
        assert indices(own) == indices(expected) == list(range(len(frames)))
        for result, other in zip(own, expected, strict=True):
            np.testing.assert_array_equal(result.labels, other.labels)
    assert [lane.ages.count for lane in lanes] == [12, 5, 9]
    assert stream.ages.count == 26
    assert stream.timings.stages["infer"].count == 26
    assert all(len(set(chosen)) == len(chosen) <= most for chosen in batches.rounds)
    assert not stream.failures


def test_cameras_that_are_always_ready_take_turns(session: Any, make_source: MakeSource) -> None:
    def all_ready() -> None:
        end = time.monotonic() + GUARD
        while not (seen or all(lane.captured.filled and lane.inferred.room for lane in lanes)):
            assert time.monotonic() < end
            time.sleep(1e-3)

    lanes = [lane_of(session, make_source(scene(seed, 1000))) for seed in range(3)]
    session.before = all_ready  # that of the running lane is filled again, too
    batches, seen = Round(1), False
    with Stream(lanes, batches) as stream:
        for result in stream:
            if result.frame.index == 4:
                seen = True  # nothing fills a slot any more once the stream ends
                break
    order = [[lane.path for lane in lanes].index(path) for (path,) in batches.rounds]
    assert sorted(order[:3]) == [0, 1, 2]
    assert order[:12] == order[:3] * 4


def breaking(frames: list[Frame], error: Exception) -> Iterator[Frame]:
    yield from frames
    raise error


def test_one_that_fails_leaves_the_others_alone_and_is_told(
    session: Any, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "deeplab")
    sources = [
        make_source(breaking(scene(0, 3), SourceFailed("the cable"))),
        make_source(scene(1, 40)),
        make_source([]),
    ]
    with Stream([lane_of(session, source) for source in sources]) as stream:
        results = by_camera(list(stream), 3)
    assert [indices(own) for own in results] == [[0, 1, 2], list(range(40)), []]
    errors = [lane.error for lane in stream.lanes]
    assert str(errors[0]) == "the cable"
    assert errors[1] is None
    assert "not a single frame" in str(errors[2])
    assert stream.lanes[1].complete
    told = [record.message for record in caplog.records]
    assert sorted(told) == ["camera ended", "camera failed", "camera failed"]


def test_the_first_failure_is_raised_once_all_have_failed(
    session: Any, make_source: MakeSource
) -> None:
    sources = [make_source(breaking(scene(i, 2), SourceFailed(f"cable {i}"))) for i in range(2)]
    with (
        pytest.raises(SourceFailed, match="cable 0"),
        Stream([lane_of(session, source) for source in sources]) as stream,
    ):
        assert len(list(stream)) == 4


@pytest.mark.parametrize("stage", ["refiner", "batch"])
def test_a_failure_on_a_cameras_frame_is_its_own(
    stage: str, session: Any, make_source: MakeSource
) -> None:
    class TooSmall:
        def refine(self, frame: Image, logits: Logits) -> Labels:
            raise UsageError("too small")

    class Refusing(OneByOne):
        def infer(self, work: Sequence[Work]) -> list[Any]:
            (outcome,) = super().infer(work)
            return [UsageError("too small") if work[0][0] is lanes[0].path else outcome]

    refiner = TooSmall() if stage == "refiner" else None
    sources: list[Any] = [make_source(scene(0, 10**3)), make_source(scene(1, 20))]
    lanes = [lane_of(session, sources[0], refiner=refiner), lane_of(session, sources[1])]
    with Stream(lanes, Refusing() if stage == "batch" else None) as stream:
        results = list(stream)
        assert sources[0].closed  # the device is free for others, though the stream goes on
    assert [result.camera for result in results] == [1] * 20
    assert isinstance(lanes[0].error, UsageError)


@pytest.mark.parametrize("where", ["engine", "drawer"])
def test_a_bug_or_a_failure_of_the_engine_stops_all(
    where: str, session: Any, make_source: MakeSource
) -> None:
    class Painter:
        def draw(self, frame: Image, labels: Labels, fps: float, age: float) -> Image:
            raise RuntimeError("drawer")

    class Broken(OneByOne):
        def infer(self, work: Sequence[Work]) -> list[Any]:
            raise Refused("engine")

    lanes = [
        lane_of(session, make_source(scene(0, 10**3)), drawer=Painter()),
        lane_of(session, make_source(scene(1, 10**3))),
    ]
    with (
        pytest.raises((RuntimeError, Refused), match=where),
        Stream(lanes, Broken() if where == "engine" else None) as stream,
    ):
        list(stream)
    for thread in stream.threads:
        thread.join(GUARD)
    assert not any(thread.is_alive() for thread in stream.threads)


@pytest.fixture
def hung_camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[Frame]]:
    """A camera whose driver never returns from a read."""
    monkeypatch.setattr(pipeline, "SHUTDOWN", 0.05)
    release = threading.Event()

    def hang() -> Iterator[Frame]:
        release.wait()
        yield from ()

    yield hang()
    release.set()


def test_one_that_hangs_is_given_up_and_delays_no_other(
    session: Any, make_source: MakeSource, hung_camera: Iterator[Frame]
) -> None:
    lanes = [
        Lane(make_source(hung_camera, live=True), CpuPath(session), patience=0.05),
        lane_of(session, make_source(scene(1, 50))),
    ]
    with Stream(lanes) as stream:
        results = list(stream)
    assert indices(results) == list(range(50))
    assert "gave no frame for 0.05 s" in str(lanes[0].error)


def test_one_that_hangs_does_not_hold_up_stopping(
    session: Any, make_source: MakeSource, hung_camera: Iterator[Frame]
) -> None:
    lanes = [
        Lane(make_source(hung_camera, live=True), CpuPath(session)),
        lane_of(session, make_source(scene(1, 10**3))),
    ]
    with Stream(lanes) as stream:
        for result in stream:
            assert result.camera == 1
            if result.frame.index == 5:
                stream.stop()
    assert lanes[0].error is None


def test_live_frames_are_handed_over_or_counted_for_each(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    sources = [
        make_source((make_frame(index) for index in range(count)), live=True) for count in (200, 90)
    ]
    with Stream([lane_of(session, source) for source in sources]) as stream:
        results = by_camera(list(stream), 2)
    for own, lane, count in zip(results, stream.lanes, (200, 90), strict=True):
        assert indices(own) == sorted(indices(own))
        assert own[-1].frame.index == count - 1
        assert len(own) + lane.dropped == count
    assert stream.dropped == sum(lane.dropped for lane in stream.lanes)


def test_one_may_be_paused_alone(session: Any, make_source: MakeSource) -> None:
    lanes = [lane_of(session, make_source(scene(seed, 30))) for seed in range(2)]
    stream = Stream(lanes)
    stream.pause(0)
    cameras = []
    with stream:
        for result in stream:
            cameras.append(result.camera)
            if result.camera == 1 and result.frame.index == 29:
                assert cameras == [1] * 30
                stream.resume(0)
    assert cameras == [1] * 30 + [0] * 30


def test_no_more_are_drawn_at_once_than_the_machine_has_room_for(
    session: Any, make_source: MakeSource
) -> None:
    drawing, most = 0, 0
    lock, met = threading.Lock(), threading.Event()

    class Counting:
        def refine(self, frame: Image, logits: Logits) -> Labels:
            nonlocal drawing, most
            with lock:
                drawing += 1
                most = max(most, drawing)
                if most == 2:
                    met.set()
            assert met.wait(GUARD)  # the first waits for a second one
            with lock:
                drawing -= 1
            return np.zeros(frame.shape[:2], np.uint8)

    lanes = [
        lane_of(session, make_source(scene(seed, 10)), refiner=Counting()) for seed in range(4)
    ]
    with Stream(lanes, most_busy=2) as stream:
        assert len(list(stream)) == 40
    assert most == 2
