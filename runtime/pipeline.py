"""The stream: capture, inference and drawing overlapped in three threads.

    capture thread          inference thread      drawing thread                  your thread
    read, decode, resize ─▶ session.run ────────▶ evidence of the frames before, ─▶ for result
                                                  labels or CRF, overlay            in stream

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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.failures import SourceFailed
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from engines.session import Session
from runtime.slot import Ended, Slot
from runtime.source import Frame, FrameSource, Image
from runtime.timings import Distribution, Rate, Timings

if TYPE_CHECKING:
    from crf.temporal import TemporalEvidence

Labels = NDArray[np.uint8]  # [H, W]
Logits = NDArray[np.float32]  # [C, h, w]

PATIENCE = 10.0  # seconds a live source may take to open, or to deliver the next frame
SHUTDOWN = 1.0  # seconds that threads get to end before they are abandoned
GAP = 1.0  # seconds between two frames after which the earlier one says nothing about the later


class Refiner(Protocol):
    """Turns logits into labels with the help of the frame; see `runtime.refiner`."""

    def refine(self, frame: Image, logits: Logits) -> Labels: ...


class Watch(Protocol):
    """Looks at every frame, as the model sees it; see `runtime.drift`."""

    def see(self, image: Image) -> None: ...


class Drawer(Protocol):
    """Makes the picture that sinks show; see `runtime.overlay`."""

    def draw(self, frame: Image, labels: Labels, fps: float, age: float) -> Image: ...


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
    ) -> None:
        self.source = source
        self.timings = Timings()
        self.ages = Distribution()
        self._session = session
        self._temporal = temporal
        self._refiner = refiner
        self._drawer = drawer
        self._watch = watch
        self._patience = patience
        self._captured: Slot[tuple[Frame, Image]] = Slot(newest=source.live)
        self._inferred: Slot[tuple[Frame, Image, Logits]] = Slot()
        self._finished: Slot[tuple[Frame, Labels, Image | None]] = Slot(newest=source.live)
        self.stopped = False  # by `stop`, not by the end of the source
        self._error: Exception | None = None
        self._threads: list[threading.Thread] = []
        self._overheads: list[float] = []  # CPU seconds of each thread that ended
        self._consumer_start = 0.0
        self._first = self._last = 0.0  # monotonic time of the first and last hand-over

    @property
    def dropped(self) -> int:
        """Frames of a live source that a newer one replaced before they were handed over."""
        return self._captured.dropped + self._finished.dropped

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
        for slot in (self._captured, self._inferred, self._finished):
            slot.close()

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
                with self.timings.measure("prepare"):
                    image = fit_frame(frame.image, self._session.spec.input_size)
                self._captured.put((frame, image))
        if empty and not self.stopped:
            raise SourceFailed(f"{self.source.name} has not a single frame: is the file complete?")

    def _read(self, frames: Iterator[Frame]) -> Frame | None:
        with self.timings.measure("capture"):
            return next(frames, None)

    def _infer(self) -> None:
        while True:
            self._inferred.wait_for_room()
            frame, image = self._next_frame()
            with self.timings.measure("infer"):
                logits = self._session.run(image[None])
            self._inferred.put((frame, image, logits[0]))

    def _next_frame(self) -> tuple[Frame, Image]:
        if not self.source.live:
            return self._captured.take()
        # Two halves: after a suspension (Ctrl-Z, fg) the first has run out although the camera
        # had no time to deliver.
        with suppress(TimeoutError):
            return self._captured.take(self._patience / 2)
        try:
            return self._captured.take(self._patience / 2)
        except TimeoutError:
            raise SourceFailed(
                f"{self.source.name} gave no frame for {self._patience:g} s: plug it in again, or "
                "see that no other program uses it (fuser -v /dev/video*)"
            ) from None

    def _draw(self) -> None:
        rate, before = Rate(), 0.0
        while True:
            frame, image, logits = self._inferred.take()
            if self._watch is not None:
                with self.timings.measure("drift"):
                    self._watch.see(image)
            if self._temporal is not None:
                with self.timings.measure("temporal"):
                    if not 0 < frame.time - before <= GAP:
                        self._temporal.forget()
                    before, logits = frame.time, self._temporal.update(image, logits)
            labels = self._label(frame.image, logits)
            fps = rate.tick(time.monotonic())
            picture = None
            if self._drawer is not None:
                with self.timings.measure("draw"):
                    age = time.monotonic() - frame.captured
                    picture = self._drawer.draw(frame.image, labels, fps, age)
            self._finished.put((frame, labels, picture))

    def _label(self, image: Image, logits: Logits) -> Labels:
        if self._refiner is not None:
            with self.timings.measure("crf"):
                return self._refiner.refine(image, logits)
        with self.timings.measure("labels"):
            return upsample_argmax(logits, (image.shape[0], image.shape[1]))
