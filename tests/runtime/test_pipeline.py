"""The stream: nothing lost from files, only counted losses from cameras, and nothing that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from crf.temporal import TemporalEvidence
from engines.failures import SourceFailed
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from runtime import pipeline
from runtime.frame_path import Labels, Logits
from runtime.pipeline import Stream, one_camera
from runtime.source import Frame, FrameSource, Image
from runtime.sources.status import State, Status

GUARD = 10  # seconds after which a hang becomes a failure

MakeFrame = Callable[..., Frame]
MakeSource = Callable[..., FrameSource]


class Painter:
    """A drawer whose picture is the frame, and which may fail."""

    def __init__(self, fail_at: int = -1) -> None:
        self.calls = 0
        self._fail_at = fail_at

    def draw(self, frame: Image, labels: Labels, fps: float, age: float) -> Image:
        if self.calls == self._fail_at:
            raise RuntimeError("painter")
        self.calls += 1
        return frame


def finished(stream: Stream) -> bool:
    """Whether all threads of a closed stream have ended."""
    for thread in stream.threads:
        thread.join(GUARD)
    return not any(thread.is_alive() for thread in stream.threads)


def test_a_file_loses_nothing_and_keeps_its_order(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    source = make_source(make_frame(index, level=index) for index in range(200))
    with one_camera(source, session) as stream:
        results = list(stream)
    assert [result.frame.index for result in results] == list(range(200))
    assert stream.dropped == 0
    assert finished(stream)


@pytest.mark.parametrize("size", [(48, 64), (100, 140), (37, 51), (5, 7)])
def test_results_equal_the_steps_done_one_after_the_other(
    session: Any, make_source: MakeSource, size: tuple[int, int]
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    source = make_source(Frame(image, i, time.monotonic(), 0.0) for i, image in enumerate(images))
    with one_camera(source, session) as stream:
        results = list(stream)
    for image, result in zip(images, results, strict=True):
        logits = session.run(fit_frame(image, session.spec.input_size)[None])[0]
        assert np.array_equal(result.labels, upsample_argmax(logits, size))
        assert result.labels.shape == size
        assert result.picture is None


@pytest.mark.parametrize("crf", [True, False])
def test_evidence_of_the_frames_before_comes_before_the_crf(
    crf: bool, session: Any, make_source: MakeSource
) -> None:
    class ArgMax:
        def refine(self, frame: Image, logits: Logits) -> Labels:
            return upsample_argmax(logits, (frame.shape[0], frame.shape[1]))

    rng = np.random.default_rng(3)
    still = rng.integers(75, 87, (48, 64, 3), dtype=np.uint8)  # dark or middle, hard to tell
    images = [still + rng.integers(0, 8, still.shape, dtype=np.uint8) for _ in range(6)]
    times = [0.0, 0.1, 0.2, 0.1, 5.0, 5.9]  # a file that starts over, and one that pauses
    source = make_source(Frame(images[n], n, 0.0, at) for n, at in enumerate(times))
    refiner = ArgMax() if crf else None
    with one_camera(source, session, temporal=TemporalEvidence(), refiner=refiner) as stream:
        results = list(stream)

    expected, alone = TemporalEvidence(), []
    for image, result in zip(images, results, strict=True):
        if result.frame.index in (3, 4):
            expected.forget()
        logits = session.run(image[None])[0]
        labels = upsample_argmax(expected.update(image, logits), (48, 64))
        np.testing.assert_array_equal(result.labels, labels)
        alone.append(bool(np.array_equal(labels, upsample_argmax(logits, (48, 64)))))
    assert alone == [True, False, False, True, True, False]


def test_a_live_source_drops_exactly_what_came_while_the_model_ran(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    running, sent, taken = threading.Event(), threading.Event(), threading.Event()
    waits = iter([sent, taken])

    def camera() -> Iterator[Frame]:
        yield make_frame(0)
        running.wait(GUARD)  # the model is busy with frame 0 ...
        for index in range(1, 10):
            yield make_frame(index)  # ... while nine more come
        sent.set()

    def before_run() -> None:
        running.set()
        next(waits).wait(GUARD)

    session.before = before_run
    indices = []
    with one_camera(make_source(camera(), live=True), session) as stream:
        for result in stream:
            indices.append(result.frame.index)
            taken.set()
    assert indices == [0, 9]
    assert stream.dropped == 8


def test_a_slow_consumer_of_a_live_source_gets_the_newest_result(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    taken, drawn = threading.Event(), threading.Event()

    def camera() -> Iterator[Frame]:
        yield make_frame(0)
        taken.wait(GUARD)  # the consumer works on frame 0 ...
        for index in range(1, 6):
            ready.clear()
            yield make_frame(index)
            ready.wait(GUARD)  # ... while five more are segmented, one by one
        drawn.set()

    ready = threading.Event()

    class Signalling(Painter):
        def draw(self, frame: Image, labels: Labels, fps: float, age: float) -> Image:
            ready.set()
            return frame

    source = make_source(camera(), live=True)
    indices = []
    with one_camera(source, session, drawer=Signalling()) as stream:
        for result in stream:
            indices.append(result.frame.index)
            taken.set()
            drawn.wait(GUARD)
    assert indices[0] == 0
    assert indices[-1] == 5
    assert indices == sorted(indices)
    assert len(indices) + stream.dropped == 6
    assert stream.dropped >= 3  # of 1..5, at most the last two are still to come


def test_live_frames_are_handed_over_or_counted(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    source = make_source((make_frame(index) for index in range(300)), live=True)
    with one_camera(source, session) as stream:
        indices = [result.frame.index for result in stream]
    assert indices == sorted(indices)
    assert indices[-1] == 299
    assert len(indices) + stream.dropped == 300


def test_age_counts_from_capture(session: Any, make_source: MakeSource) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    old = Frame(image, 0, time.monotonic() - 5, 0.0)
    with one_camera(make_source([old]), session) as stream:
        (result,) = stream
    assert result.age >= 5
    assert stream.ages.percentile_ms(50) >= 5000 * 0.99


def failing_source(make_frame: MakeFrame) -> Iterator[Frame]:
    yield make_frame(0)
    yield make_frame(1)
    raise SourceFailed("the cable")


@pytest.mark.parametrize("stage", ["source", "session", "refiner", "drawer"])
def test_a_failure_in_any_stage_reaches_the_consumer_and_stops_all(
    stage: str, session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    class Failing:
        def refine(self, frame: Image, logits: Logits) -> Labels:
            raise RuntimeError("refiner")

    def fail_in_session() -> None:
        raise RuntimeError("session")

    frames = (make_frame(index) for index in range(10**6))
    if stage == "session":
        session.before = fail_in_session
    source = make_source(failing_source(make_frame) if stage == "source" else frames)
    refiner = Failing() if stage == "refiner" else None
    drawer = Painter(fail_at=0 if stage == "drawer" else -1)
    messages = {"source": "the cable", "drawer": "painter"}
    with (
        pytest.raises((SourceFailed, RuntimeError), match=messages.get(stage, stage)),
        one_camera(source, session, refiner=refiner, drawer=drawer) as stream,
    ):
        list(stream)
    assert finished(stream)


def test_what_was_finished_before_a_failure_is_still_handed_over(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    indices = []
    with (
        pytest.raises(SourceFailed, match="the cable"),
        one_camera(make_source(failing_source(make_frame)), session) as stream,
    ):
        for result in stream:
            indices.append(result.frame.index)
    assert indices == [0, 1]


def test_an_exception_of_the_consumer_stops_all(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    source = make_source(make_frame(index) for index in range(10**6))
    with pytest.raises(KeyError), one_camera(source, session) as stream:
        for _ in stream:
            raise KeyError
    assert finished(stream)


def test_a_source_without_frames_is_a_failure(session: Any, make_source: MakeSource) -> None:
    with (
        pytest.raises(SourceFailed, match="script has not a single frame"),
        one_camera(make_source([]), session) as stream,
    ):
        list(stream)


def test_stopping_is_no_failure_and_closes_the_source(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    source: Any = make_source(make_frame(index) for index in range(10**6))
    with one_camera(source, session) as stream:
        for result in stream:
            if result.frame.index == 3:
                threading.Thread(target=stream.stop).start()
    assert stream.stopped
    assert source.closed
    assert finished(stream)


@pytest.fixture
def hung_camera() -> Iterator[Iterator[Frame]]:
    """A camera whose driver never returns from a read."""
    release = threading.Event()

    def hang() -> Iterator[Frame]:
        release.wait()
        yield from ()

    yield hang()
    release.set()


def test_a_hung_camera_does_not_hold_up_stopping(
    session: Any,
    make_source: MakeSource,
    hung_camera: Iterator[Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "SHUTDOWN", 0.05)
    with one_camera(make_source(hung_camera, live=True), session) as stream:
        threading.Thread(target=stream.stop).start()
        assert list(stream) == []
    reader = next(thread for thread in stream.threads if thread.name == "capture")
    assert reader.is_alive()
    assert reader.daemon  # so it cannot keep the process alive


def test_a_hung_camera_is_a_failure_after_a_while(
    session: Any,
    make_source: MakeSource,
    hung_camera: Iterator[Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "SHUTDOWN", 0.05)
    source = make_source(hung_camera, live=True)
    with (
        pytest.raises(SourceFailed, match=r"script gave no frame for 0\.02 s: .*fuser"),
        one_camera(source, session, patience=0.02) as stream,
    ):
        list(stream)


def test_a_camera_that_knows_it_is_away_may_be_silent(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    def camera() -> Iterator[Frame]:
        source.status = Status(State.RECONNECTING)
        threading.Event().wait(0.1)  # ten times the patience
        yield make_frame(0)

    source: Any = make_source(camera(), live=True)
    source.status = Status(State.STARTING)
    with one_camera(source, session, patience=0.01) as stream:
        assert len(list(stream)) == 1


def test_overhead_leaves_out_source_engine_temporal_and_crf(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    def burn(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    class Burning:
        def refine(self, frame: Image, logits: Logits) -> Labels:
            burn(0.02)
            return np.zeros(frame.shape[:2], np.uint8)

    def camera() -> Iterator[Frame]:
        for index in range(4):
            burn(0.02)
            yield make_frame(index)

    class Remembering(TemporalEvidence):
        def update(self, frame: Image, logits: Any) -> Logits:
            burn(0.02)
            return np.asarray(logits)

    session.before = lambda: burn(0.02)
    source = make_source(camera())
    with one_camera(source, session, temporal=Remembering(), refiner=Burning()) as stream:
        for _ in stream:
            burn(0.01)
    assert 10 <= stream.overhead_core_ms() < 30  # the consumer's 10, and none of the four 20s
    assert stream.timings.stages.keys() == {"capture", "prepare", "infer", "temporal", "crf"}


def test_frames_per_second_count_intervals(
    session: Any, make_source: MakeSource, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_camera(make_source(make_frame(i) for i in range(3)), session) as stream:
        assert stream.fps == 0
        list(stream)
    lane = stream.lanes[0]
    lane.first, lane.last = 10.0, 10.5
    assert stream.fps == pytest.approx(4)  # three results, two intervals of a quarter second


def test_a_paused_live_stream_goes_on_with_a_new_frame(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    held = threading.Event()

    def frames() -> Iterator[Frame]:
        yield make_frame(0)
        assert held.wait(GUARD)
        for index in range(1, 9):  # the camera goes on while nobody looks
            yield make_frame(index)
        assert stream.lanes[0].paused
        stream.resume()

    stream = one_camera(make_source(frames(), live=True), session)
    with stream:
        results = iter(stream)
        assert next(results).frame.index == 0
        stream.pause()
        held.set()
        while (index := next(results).frame.index) < 8:  # one may have been on its way
            assert index == 1
        assert index == 8


def test_a_paused_stream_can_be_stopped(
    session: Any, make_source: MakeSource, make_frame: MakeFrame
) -> None:
    source = make_source(make_frame(index) for index in range(100))
    stream = one_camera(source, session)
    stream.pause()  # before its threads begin: nothing can slip through
    with stream:
        threading.Timer(0.05, stream.stop).start()
        assert list(stream) == []
    assert finished(stream)
