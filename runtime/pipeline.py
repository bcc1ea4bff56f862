"""The stream: capture, inference and drawing overlapped, for any number of cameras and one model.

    capture thread          inference thread      drawing thread                  your thread
    read, decode, resize ─▶ session.run ────────▶ evidence of the frames before, ─▶ for result
                                                  labels or CRF, overlay            in stream

Each camera has a `Lane` with a capture and a drawing thread of its own; one inference thread serves
them all, each in turn (`runtime.turns`). That is `runtime.cpu_path`. On a GPU, `runtime.gpu_path`,
the pixels stay there from the resize to the overlay, all in the inference thread.

Each arrow is a `Slot`. A live source puts the newest frame into the first one and the newest result
into the last one, so neither a slow model nor a slow consumer makes frames old; a file waits
everywhere and loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engines.failures import SourceFailed
from engines.machine import usable_cores
from engines.session import Session
from runtime.batches import Batches, OneByOne
from runtime.cpu_path import CpuPath
from runtime.drop_policy import DropPolicy
from runtime.frame_path import Drawer, FramePath, Refiner, Watch
from runtime.journal import tell
from runtime.lane import PATIENCE, Lane, Result
from runtime.slot import Ended
from runtime.source import FrameSource
from runtime.timings import Distribution, Timings
from runtime.turns import Turns

if TYPE_CHECKING:
    from crf.temporal import TemporalEvidence

SHUTDOWN = 1.0  # seconds that threads get to end before they are abandoned
IDLE = 0.1  # seconds between two calls of `Stream.idle`


class Stream:
    """`with Stream(lanes) as stream: for result in stream: ...`

    Args:
        lanes: One for each camera.
        batches: Runs the frames of several lanes together; None: one after the other.
        most_busy: Once frames of so many lanes are being drawn, nothing is inferred; None: as many
            as there are cores, two at least. More would take the cores from each other: eight
            cameras of 10 core-ms to infer and 20 to draw, on two busy cores, had frames 222 ms old
            with this limit, 255 with one more, 313 without, at the same rate.

    Attributes:
        idle: Called by the thread that iterates, again and again while no result comes; False ends
            the iteration.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        batches: Batches | None = None,
        most_busy: int | None = None,
    ) -> None:
        self.lanes = tuple(lanes)
        self.stopped = False  # by `stop`, not by the end of the sources
        self.idle: Callable[[], bool] | None = None
        self._batches = batches or OneByOne()
        self._most_busy = most_busy or max(2, usable_cores())
        self._work = threading.Event()  # something changed for the inference thread
        self._results = threading.Event()  # ... for the consumer
        self._error: Exception | None = None  # a bug's or the engine's, which concerns all lanes
        self._thread = threading.Thread(target=self._run, name="infer", daemon=True)
        self._overhead = 0.0  # CPU seconds of the inference thread, once it ended
        self._consumer_start = 0.0
        for lane in self.lanes:
            lane.captured.changed = lane.inferred.changed = self._work.set
            lane.finished.changed = self._results.set

    @property
    def dropped(self) -> int:
        """Frames of live sources that a newer one replaced before they were handed over."""
        return sum(lane.dropped for lane in self.lanes)

    @property
    def reconnects(self) -> int:
        """How often sources were lost and found again."""
        return sum(lane.reconnects for lane in self.lanes)

    @property
    def ages(self) -> Distribution:
        """From capture to hand-over, of the frames of all lanes."""
        return Distribution.of([lane.ages for lane in self.lanes])

    @property
    def timings(self) -> Timings:
        """Of all stages, of the frames of all lanes."""
        return Timings.of([lane.timings for lane in self.lanes])

    @property
    def fps(self) -> float:
        """Results per second between the first and the last one so far; 0 before the second."""
        begun = [lane for lane in self.lanes if lane.first]
        if not begun:
            return 0.0
        elapsed = max(lane.last for lane in begun) - min(lane.first for lane in begun)
        return (sum(lane.ages.count for lane in begun) - 1) / elapsed if elapsed > 0 else 0.0

    @property
    def failures(self) -> list[Exception]:
        """Why lanes ended before their sources did."""
        return [lane.error for lane in self.lanes if lane.error is not None]

    def overhead_core_ms(self) -> float:
        """CPU time in core-ms per frame of everything but source, engine, temporal and CRF.

        It is the thread CPU time of the closed stream's threads, less what they spent in reading
        the source, in `session.run`, in the evidence of earlier frames and in the CRF, plus the
        calling thread's since it entered.
        """
        consumer = time.thread_time() - self._consumer_start
        lanes = sum(sum(lane.overheads) for lane in self.lanes)
        return 1e3 * (lanes + self._overhead + consumer) / max(1, self.ages.count)

    def __enter__(self) -> Stream:
        self._consumer_start = time.thread_time()
        for lane in self.lanes:
            lane.start(self._abort)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result]:
        """Results, of each camera in order, until all sources end, `stop` is called, or a failure.

        A camera that fails is told to the log while others go on; a failure of all of them, or of
        the model, is raised here, after the results that were finished before it.
        """
        turns, going = Turns(len(self.lanes)), set(range(len(self.lanes)))
        while going:
            self._results.clear()
            result = self._next_result(turns)
            if result is not None:
                yield result
                continue
            ended = {camera for camera in going if self.lanes[camera].over}
            going -= ended
            if not ended:
                if not self._wait():
                    return
            elif len(self.lanes) > 1 and not self.stopped:
                self._tell_ends(ended, len(going))
        if not self.stopped and (self._error or len(self.failures) == len(self.lanes)):
            raise self._error or self.failures[0]

    def stop(self) -> None:
        """From any thread: end the iteration now; unfinished frames are discarded."""
        self.stopped = True
        for lane in self.lanes:
            lane.close()

    def pause(self, camera: int | None = None) -> None:
        """From any thread: infer nothing more of one or all cameras until `resume`."""
        self._set_paused(camera, True)

    def resume(self, camera: int | None = None) -> None:
        """From any thread: go on after `pause`."""
        self._set_paused(camera, False)

    def close(self) -> None:
        """Stop, and wait for the threads.

        One that hangs, in a driver for example, is abandoned after `SHUTDOWN`: it is a daemon
        thread, so it cannot keep the process alive.
        """
        self.stop()
        deadline = time.monotonic() + SHUTDOWN
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def threads(self) -> list[threading.Thread]:
        """Those that were started."""
        started = [self._thread] if self._thread.ident is not None else []
        return [*started, *(thread for lane in self.lanes for thread in lane.threads)]

    def _next_result(self, turns: Turns) -> Result | None:
        """One that is there, of the camera whose turn it is."""
        for camera in turns.choose(lambda camera: self.lanes[camera].finished.filled, 1):
            with suppress(Ended):
                return self.lanes[camera].take(camera)
        return None

    def _wait(self) -> bool:
        """Until anything may have changed; False if the iteration is to end."""
        if self.idle is None:
            return self._results.wait()
        return self._results.wait(IDLE) or self.idle()

    def _set_paused(self, camera: int | None, paused: bool) -> None:
        for lane in self.lanes if camera is None else (self.lanes[camera],):
            lane.paused = paused
        self._work.set()

    def _tell_ends(self, ended: set[int], left: int) -> None:
        """Say which of several cameras are over, and how many are left."""
        for camera in ended:
            lane = self.lanes[camera]
            name, reason = lane.source.name, str(lane.error)
            if lane.error is None:
                tell("camera ended", camera=camera, name=name, left=left)
            else:
                tell("camera failed", logging.ERROR, camera=camera, left=left, reason=reason)

    def _abort(self, error: Exception) -> None:
        """From any thread: end all lanes because of a bug or a failure of the engine."""
        self._error = self._error or error
        for lane in self.lanes:
            lane.captured.close()

    def _run(self) -> None:
        try:
            self._infer()
        except Exception as error:  # whatever it is, the consumer gets it
            self._abort(error)
        finally:
            main = sum(lane.timings.cpu.get("infer", 0.0) for lane in self.lanes)
            self._overhead = time.thread_time() - main
            for lane in self.lanes:
                lane.inferred.end()

    def _infer(self) -> None:
        turns = Turns(len(self.lanes))
        while True:
            self._work.clear()
            wait = self._look_after_lanes()
            if all(lane.inferred.ended for lane in self.lanes):
                return
            chosen = turns.choose(lambda i: self.lanes[i].ready, self._room())
            if chosen:
                self._run_round([self.lanes[i] for i in chosen])
            else:
                self._work.wait(wait)

    def _room(self) -> int:
        """How many frames may be inferred now."""
        busy = sum(lane.busy for lane in self.lanes)
        return self._batches.most_frames if busy < self._most_busy else 0

    def _look_after_lanes(self) -> float | None:
        """Pass ends on and give up silent sources; seconds until one might be silent too long."""
        waits = []
        for lane in self.lanes:
            lane.pass_end()
            try:
                wait = lane.silence()
            except SourceFailed as failure:
                lane.fail(failure)
                continue
            if wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    def _run_round(self, lanes: Sequence[Lane]) -> None:
        """One frame of each of the lanes."""
        taken = [(lane, *item) for lane in lanes if (item := lane.next_frame()) is not None]
        outcomes = self._batches.infer([(lane.path, prepared) for lane, _, prepared in taken])
        for (lane, frame, _), outcome in zip(taken, outcomes, strict=True):
            lane.pass_on(frame, outcome)


def one_camera(
    source: FrameSource,
    session: Session,
    *,
    temporal: TemporalEvidence | None = None,
    refiner: Refiner | None = None,
    drawer: Drawer | None = None,
    watch: Watch | None = None,
    patience: float = PATIENCE,
    path: FramePath[Any, Any] | None = None,
    drop: DropPolicy | None = None,
) -> Stream:
    """The stream of a single camera.

    Args:
        source: Where frames come from; it is iterated once.
        session: A loaded model; it stays the caller's to close.
        temporal, refiner, drawer, watch: Of its `CpuPath`.
        patience: Seconds without a frame after which a live source counts as failed.
        path: Instead of the `CpuPath` of the five above.
        drop: What to do with frames that are too many; see `Lane`.
    """
    path = path or CpuPath(session, temporal, refiner, drawer, watch)
    return Stream([Lane(source, path, drop, patience)])
