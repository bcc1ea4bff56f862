"""A thread between the stream and a sink: order, exact counts, failures, an end in time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from engines.failures import Failure
from runtime.lane import Result
from runtime.sinks.threaded import DEPTH, Threaded
from runtime.timings import Timings

Make = Callable[..., Result]


class Gate:
    """A sink that takes a result only when it may, and remembers all."""

    name = "gate"

    def __init__(self, *, is_open: bool = True, last: int | None = None) -> None:
        self.taken: list[tuple[int, int]] = []
        self.opened = threading.Event()
        self.begun = threading.Event()  # `put` was called
        self.left: list[type[BaseException] | None] = []
        self.error: Exception | None = None
        self._last = last
        if is_open:
            self.opened.set()

    def put(self, result: Result) -> bool:
        self.begun.set()
        self.opened.wait()
        if self.error is not None:
            raise self.error
        self.taken.append((result.camera, result.frame.index))
        return result.frame.index != self._last

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.left.append(kind)


def test_every_frame_of_a_file_arrives_in_order(make_result: Make) -> None:
    gate, timings = Gate(), Timings()
    with Threaded(gate, [True], timings) as sink:
        assert all(sink.put(make_result(index)) for index in range(50))
    assert gate.taken == [(0, index) for index in range(50)]
    assert (sink.written, sink.dropped, gate.left) == (50, 0, [None])
    assert timings.stages["gate"].count == 50


def test_a_file_waits_for_a_slow_sink(make_result: Make) -> None:
    gate = Gate(is_open=False)
    with Threaded(gate, [True], Timings()) as sink:
        feeder = threading.Thread(
            target=lambda: [sink.put(make_result(index)) for index in range(2 * DEPTH)]
        )
        feeder.start()
        assert gate.begun.wait(10)
        gate.opened.set()
        feeder.join()
    assert (len(gate.taken), sink.dropped) == (2 * DEPTH, 0)


def test_a_live_camera_never_waits_and_what_is_dropped_is_counted(make_result: Make) -> None:
    gate = Gate(is_open=False)
    with Threaded(gate, [False], Timings()) as sink:
        assert sink.put(make_result(0))
        assert gate.begun.wait(10)  # it has taken the first one
        for index in range(1, 20):
            assert sink.put(make_result(index))
        gate.opened.set()
    newest = [(0, index) for index in range(20 - DEPTH, 20)]
    assert gate.taken == [(0, 0), *newest]
    assert (sink.written, sink.dropped) == (1 + DEPTH, 19 - DEPTH)


def test_a_live_camera_never_takes_the_place_of_a_files_frame(make_result: Make) -> None:
    gate = Gate(is_open=False)
    with Threaded(gate, [True, False], Timings()) as sink:
        assert sink.put(make_result(0, camera=1))
        assert gate.begun.wait(10)
        for index in range(DEPTH):
            assert sink.put(make_result(index, camera=0))
        assert sink.put(make_result(1, camera=1))  # no room, and nothing that may be dropped
        gate.opened.set()
    assert gate.taken == [(1, 0), *((0, index) for index in range(DEPTH))]
    assert (sink.written, sink.dropped) == (1 + DEPTH, 1)


def test_a_sink_that_has_enough_ends_the_stream(make_result: Make) -> None:
    gate = Gate(last=3)
    with Threaded(gate, [True], Timings()) as sink:
        index = 0
        while sink.put(make_result(index)):
            index += 1
    assert gate.taken == [(0, index) for index in range(4)]
    assert sink.written + sink.dropped == index + 1


def test_a_failure_comes_back_to_whoever_puts(make_result: Make) -> None:
    gate = Gate()
    gate.error = Failure("the disk is full")
    with (
        pytest.raises(Failure, match="the disk is full"),
        Threaded(gate, [True], Timings()) as sink,
    ):
        for index in range(10 * DEPTH):
            sink.put(make_result(index))
    assert gate.left == [Failure]


def test_a_failure_at_the_end_is_raised_there(make_result: Make) -> None:
    gate = Gate(is_open=False)
    sink = Threaded(gate, [True], Timings())
    sink.__enter__()
    sink.put(make_result(0))
    gate.error = Failure("the disk is full")
    gate.opened.set()
    with pytest.raises(Failure, match="the disk is full"):
        sink.__exit__(None, None, None)
    assert (sink.written, sink.dropped) == (0, 1)


def test_the_sink_hears_why_the_stream_ended(make_result: Make) -> None:
    gate = Gate()
    with pytest.raises(ZeroDivisionError), Threaded(gate, [True], Timings()) as sink:
        sink.put(make_result(0))
        _ = 1 / 0
    assert (gate.left, gate.taken) == ([ZeroDivisionError], [(0, 0)])


def test_stop_frees_a_waiting_put_and_what_waits_is_still_written(make_result: Make) -> None:
    gate = Gate(is_open=False)
    answers = []
    with Threaded(gate, [True], Timings()) as sink:
        sink.put(make_result(0))
        assert gate.begun.wait(10)
        for index in range(1, 1 + DEPTH):
            sink.put(make_result(index))
        waiting = threading.Thread(target=lambda: answers.append(sink.put(make_result(99))))
        waiting.start()
        sink.stop()
        waiting.join()
        gate.opened.set()
    assert answers == [False]
    assert gate.left == [None]
    assert sink.written + sink.dropped == 2 + DEPTH
    assert (0, 99) not in gate.taken


def test_a_sink_that_hangs_is_left_behind(
    make_result: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("runtime.sinks.threaded.DRAIN", 0.01)
    monkeypatch.setattr("runtime.sinks.threaded.GRACE", 0.01)
    gate = Gate(is_open=False)
    with Threaded(gate, [True], Timings()) as sink:
        sink.put(make_result(0))
        assert gate.begun.wait(10)
        sink.put(make_result(1))
        sink.stop()
    assert (sink.written, sink.dropped) == (0, 2)
    assert "a sink hangs" in caplog.text
    gate.opened.set()
