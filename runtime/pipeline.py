"""The stream: capture, inference and drawing overlapped in three threads.

    capture thread          inference thread      drawing thread                  your thread
    read, decode, resize ─▶ session.run ────────▶ evidence of the frames before, ─▶ for result
                                                  labels or CRF, overlay            in stream

That is `runtime.cpu_path`. On a GPU, `runtime.gpu_path`, the pixels stay there from the resize to
the overlay, all in the inference thread.

Each arrow is a `Slot`. A live source puts the newest frame into the first one and the newest result
into the last one, so neither a slow model nor a slow consumer makes frames old; a file waits
everywhere and loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.failures import SourceFailed
from engines.session import Session
from runtime.cpu_path import CpuPath
from runtime.drop_policy import DropPolicy, drop_policy
from runtime.frame_path import Drawer, FramePath, Labels, Refiner, Watch
from runtime.slot import Ended, Slot
from runtime.source import Frame, FrameSource, Image
from runtime.sources.status import State
from runtime.timings import Distribution, Rate

if TYPE_CHECKING:
    from crf.temporal import TemporalEvidence

PATIENCE = 10.0  # seconds a live source may take to open, or to deliver the next frame
SHUTDOWN = 1.0  # seconds that threads get to end before they are abandoned


@dataclass(frozen=True)
class Result:
    """One segmented frame."""

    frame: Frame
    labels: Labels
    picture: Image | None  # with the overlay, if the stream draws one
    age: float  # seconds from capture until the stream handed it over


class Stream:
    """`with Stream(source, session) as stream: for result in stream: ...`

    Args:
        source: Where frames come from; it is iterated once.
        session: A loaded model; it stays the caller's to close.
        temporal: Steadies the logits by the frames before; it serves this stream alone.
        refiner: A CRF instead of the plain arg max of the logits.
        drawer: Draws `Result.picture`; without one it is None.
        watch: Sees each frame that is drawn.
        patience: Seconds without a frame after which a live source counts as failed.
        path: How frames are worked on; None: a `CpuPath` of the five above.
        drop: What to do with frames that are too many; None: the newest counts if the source is
            live, else all do.
    """

    def __init__(
        self,
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
    ) -> None:
        self.source = source
        self.path = path or CpuPath(session, temporal, refiner, drawer, watch)
        self.timings = self.path.timings
        self.ages = Distribution()
        self._patience = patience
        policy = drop or drop_policy("auto", live=source.live)
        self._captured: Slot[tuple[Frame, Any]] = Slot(policy)
        self._inferred: Slot[tuple[Frame, Any]] = Slot()
        self._finished: Slot[tuple[Frame, Labels, Image | None]] = Slot(policy)
        self.stopped = False  # by `stop`, not by the end of the source
        self._running = threading.Event()  # cleared while paused
        self._running.set()
        self._error: Exception | None = None
        self._threads: list[threading.Thread] = []
        self._overheads: list[float] = []  # CPU seconds of each thread that ended
        self._consumer_start = 0.0
        self._first = self._last = 0.0  # monotonic time of the first and last hand-over

    @property
    def dropped(self) -> int:
        """Frames of a live source that a newer one replaced before they were handed over."""
        return self.source.status.dropped + self._captured.dropped + self._finished.dropped

    @property
    def reconnects(self) -> int:
        """How often the source was lost and found again."""
        return self.source.status.reconnects

    @property
    def paused(self) -> bool:
        """Whether `pause` holds the stream."""
        return not self._running.is_set()

    @property
    def fps(self) -> float:
        """Results per second between the first and the last one so far; 0 before the second."""
        elapsed = self._last - self._first
        return (self.ages.count - 1) / elapsed if elapsed > 0 else 0.0

    def overhead_core_ms(self) -> float:
        """CPU time in core-ms per frame of everything but source, engine, temporal and CRF.

        It is the thread CPU time of the closed stream's threads, less what they spent in reading
        the source, in `session.run`, in the evidence of earlier frames and in the CRF, plus the
        calling thread's since it entered.
        """
        consumer = time.thread_time() - self._consumer_start
        return 1e3 * (sum(self._overheads) + consumer) / max(1, self.ages.count)

    def __enter__(self) -> Stream:
        self._consumer_start = time.thread_time()
        self._start(("capture",), self._capture, None, self._captured)
        self._start(("infer",), self._infer, self._captured, self._inferred)
        self._start(("crf", "temporal"), self._draw, self._inferred, self._finished)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result]:
        """Results in order, until the source ends, `stop` is called, or a stage fails.

        A failure of any stage is raised here, after the results that were finished before it.
        """
        with suppress(Ended):
            while True:
                frame, labels, picture = self._finished.take()
                self._last = time.monotonic()
                self._first = self._first or self._last
                age = self._last - frame.captured
                self.ages.add(age)
                yield Result(frame, labels, picture, age)
        if self._error is not None and not self.stopped:
            raise self._error

    def stop(self) -> None:
        """From any thread: end the iteration now; unfinished frames are discarded."""
        self.stopped = True
        self.source.close()
        self._running.set()
        for slot in (self._captured, self._inferred, self._finished):
            slot.close()

    def pause(self) -> None:
        """From any thread: infer nothing more until `resume`.

        A live source is still read, so that the first frame afterwards is a new one.
        """
        self._running.clear()

    def resume(self) -> None:
        """From any thread: go on after `pause`."""
        self._running.set()

    def close(self) -> None:
        """Stop, and wait for the threads.

        One that hangs, in a driver for example, is abandoned after `SHUTDOWN`: it is a daemon
        thread, so it cannot keep the process alive.
        """
        self.stop()
        deadline = time.monotonic() + SHUTDOWN
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(
        self,
        main_stages: tuple[str, ...],
        body: Callable[[], None],
        source: Slot[Any] | None,
        output: Slot[Any],
    ) -> None:
        """Run `body` in a thread; when it ends, for whatever reason, its neighbours end too.

        The CPU time of `main_stages` is not overhead; everything else that the thread does is.
        """

        def run() -> None:
            try:
                body()
            except Ended:
                pass
            except Exception as error:  # whatever it is, the consumer gets it
                self._error = self._error or error
            finally:
                if source is not None:
                    source.close()
                main = sum(self.timings.cpu.get(stage, 0.0) for stage in main_stages)
                self._overheads.append(time.thread_time() - main)
                output.end()

        thread = threading.Thread(target=run, name=main_stages[0], daemon=True)
        self._threads.append(thread)
        thread.start()

    def _capture(self) -> None:
        with closing(iter(self.source)) as frames:
            empty = True
            while (frame := self._read(frames)) is not None:
                empty = False
                self._captured.put((frame, self.path.prepare(frame)))
        if empty and not self.stopped:
            raise SourceFailed(f"{self.source.name} has not a single frame: is the file complete?")

    def _read(self, frames: Iterator[Frame]) -> Frame | None:
        with self.timings.measure("capture"):
            return next(frames, None)

    def _infer(self) -> None:
        while True:
            self._inferred.wait_for_room()
            self._running.wait()
            frame, prepared = self._next_frame()
            self._inferred.put((frame, self.path.infer(prepared)))

    def _next_frame(self) -> tuple[Frame, Any]:
        if not self.source.live:
            return self._captured.take()
        # Two halves: after a suspension (Ctrl-Z, fg) the first has run out although the camera
        # had no time to deliver.
        late = 0
        while late < 2:
            with suppress(TimeoutError):
                return self._captured.take(self._patience / 2)
            # One that is not live knows it: it reconnects, or gives up with a better reason.
            late = late + 1 if self.source.status.state is State.LIVE else 0
        raise SourceFailed(
            f"{self.source.name} gave no frame for {self._patience:g} s: plug it in again, or "
            "see that no other program uses it (fuser -v /dev/video*)"
        )

    def _draw(self) -> None:
        rate = Rate()
        while True:
            frame, inferred = self._inferred.take()
            labels = self.path.label(frame, inferred)
            fps = rate.tick(time.monotonic())
            age = time.monotonic() - frame.captured
            picture = self.path.draw(frame, inferred, labels, fps, age)
            self._finished.put((frame, labels, picture))
