"""One camera's way through the stream: its threads, what waits between them, and its counts.

    capture thread             the stream's one         draw thread                    your thread
                               inference thread
    read, decode, prepare ─▶ captured ─▶ infer ─▶ inferred ─▶ label, draw ─▶ finished ─▶ take

A lane shares nothing with another one but the threads in the middle and at the end, so one that
fails, ends or hangs leaves the others alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from engines.failures import Failure, SourceFailed
from runtime.drop_policy import DropPolicy, drop_policy
from runtime.frame_path import FramePath, Labels
from runtime.patience import Patience
from runtime.slot import Ended, Slot
from runtime.source import Frame, FrameSource, Image
from runtime.sources.status import State
from runtime.timings import Distribution, Rate

PATIENCE = 10.0  # seconds a live source may take to open, or to deliver the next frame


@dataclass(frozen=True)
class Result:
    """One segmented frame."""

    frame: Frame
    labels: Labels
    picture: Image | None  # with the overlay, if the stream draws one
    age: float  # seconds from capture until the stream handed it over
    camera: int = 0  # which of the stream's cameras it is of


class Lane:
    """A camera in a `Stream`, which starts it.

    Args:
        source: Where frames come from; it is iterated once.
        path: How frames are worked on; it serves this lane alone.
        drop: What to do with frames that are too many; None: the newest counts if the source is
            live, else all do.
        patience: Seconds without a frame after which a live source counts as failed.

    Attributes:
        error: Why the lane ended before its source did, if it has.
        complete: Whether the source came to its end by itself.
        paused: While true nothing is inferred; a live source is still read, so that the first frame
            afterwards is a new one. `Stream.pause` sets it.
    """

    def __init__(
        self,
        source: FrameSource,
        path: FramePath[Any, Any],
        drop: DropPolicy | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.source = source
        self.path = path
        self.timings = path.timings
        self.ages = Distribution()
        self.error: Exception | None = None
        self.complete = False
        self.paused = False
        policy = drop or drop_policy("auto", live=source.live)
        self.captured: Slot[tuple[Frame, Any]] = Slot(policy)
        self.inferred: Slot[tuple[Frame, Any]] = Slot()
        self.finished: Slot[tuple[Frame, Labels, Image | None]] = Slot(policy)
        self.threads: list[threading.Thread] = []
        self.overheads: list[float] = []  # CPU seconds of each thread that ended
        self.first = self.last = 0.0  # monotonic time of the first and last hand-over
        self._handed_on = self._drawn = 0  # frames; each is counted by one thread
        self._patience = Patience(patience)
        self._stopped = False

    @property
    def dropped(self) -> int:
        """Frames of a live source that a newer one replaced before they were handed over."""
        return self.source.status.dropped + self.captured.dropped + self.finished.dropped

    @property
    def reconnects(self) -> int:
        """How often the source was lost and found again."""
        return self.source.status.reconnects

    @property
    def fps(self) -> float:
        """Results per second between the first and the last one so far; 0 before the second."""
        elapsed = self.last - self.first
        return (self.ages.count - 1) / elapsed if elapsed > 0 else 0.0

    @property
    def over(self) -> bool:
        """Whether the last result was taken."""
        return self.finished.drained

    @property
    def busy(self) -> bool:
        """Whether the draw thread has work."""
        return self._handed_on > self._drawn and not self.inferred.ended

    @property
    def ready(self) -> bool:
        """Whether a frame waits for the model, and the draw thread has room for it."""
        return not self.paused and self.captured.filled and self.inferred.room

    def start(self, failed: Callable[[Exception], None]) -> None:
        """Start both threads; `failed` hears of exceptions that are no `Failure` but bugs."""
        self._start("capture", ("capture",), self._capture, None, self.captured, failed)
        self._start("draw", ("crf", "temporal"), self._draw, self.inferred, self.finished, failed)

    def next_frame(self) -> tuple[Frame, Any] | None:
        """For the inference thread: what is `ready`; None if the lane was closed in this moment.

        It is not taken before the draw thread has room: so the model starts on the newest frame
        there is, not on one that then waits, growing old, for the stage behind it.
        """
        self._patience.rest()
        with suppress(Ended):
            return self.captured.take()
        return None

    def pass_on(self, frame: Frame, outcome: Any) -> None:
        """For the inference thread: hand on a frame's outcome; a `Failure` ends the lane."""
        if isinstance(outcome, Failure):
            self.fail(outcome)
            return
        with suppress(Ended):
            self._handed_on += 1
            self.inferred.put((frame, outcome))

    def silence(self) -> float | None:
        """For the inference thread: seconds after which to ask again; None: when anything changes.

        Raises:
            SourceFailed: The source is live, and was waited for longer than `patience`.
        """
        expected = not self.captured.filled and not self.captured.ended and self.inferred.room
        if not self.source.live or self.paused or not expected:
            self._patience.rest()
            return None
        try:
            # One that is not live knows it: it reconnects, or gives up with a better reason.
            return self._patience.ask(self.source.status.state is State.LIVE)
        except TimeoutError:
            raise SourceFailed(
                f"{self.source.name} gave no frame for {self._patience.seconds:g} s: plug it in "
                "again, or see that no other program uses it (fuser -v /dev/video*)"
            ) from None

    def pass_end(self) -> None:
        """For the inference thread: an end on one side of it is one on the other, too."""
        if self.captured.drained:
            self.inferred.end()
        elif self.inferred.ended:
            self.source.close()
            self.captured.close()

    def fail(self, error: Exception) -> None:
        """For the inference thread: end here; results that are on their way are still finished."""
        self.error = self.error or error
        self.source.close()
        self.captured.close()
        self.inferred.end()

    def take(self, camera: int) -> Result:
        """The next result, which is there; `Ended` if the lane was closed in this moment."""
        frame, labels, picture = self.finished.take()
        self.last = time.monotonic()
        self.first = self.first or self.last
        age = self.last - frame.captured
        self.ages.add(age)
        return Result(frame, labels, picture, age, camera)

    def close(self) -> None:
        """From any thread: end now; unfinished frames are discarded."""
        self._stopped = True
        self.source.close()
        for slot in (self.captured, self.inferred, self.finished):
            slot.close()

    def _start(
        self,
        name: str,
        main_stages: tuple[str, ...],
        body: Callable[[], None],
        source: Slot[Any] | None,
        output: Slot[Any],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `body` in a thread; when it ends, for whatever reason, its neighbours end too.

        The CPU time of `main_stages` is not overhead; everything else that the thread does is.
        """

        def run() -> None:
            try:
                body()
            except Ended:
                pass
            except Exception as error:
                if not self._stopped:
                    self.error = self.error or error
                    if not isinstance(error, Failure):
                        failed(error)
            finally:
                if source is not None:
                    source.close()
                main = sum(self.timings.cpu.get(stage, 0.0) for stage in main_stages)
                self.overheads.append(time.thread_time() - main)
                output.end()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _capture(self) -> None:
        with closing(iter(self.source)) as frames:
            empty = True
            while (frame := self._read(frames)) is not None:
                empty = False
                self.captured.put((frame, self.path.prepare(frame)))
        if self._stopped:
            return
        self.complete = True
        if empty:
            raise SourceFailed(f"{self.source.name} has not a single frame: is the file complete?")

    def _read(self, frames: Iterator[Frame]) -> Frame | None:
        with self.timings.measure("capture"):
            return next(frames, None)

    def _draw(self) -> None:
        rate = Rate()
        while True:
            frame, inferred = self.inferred.take()
            labels = self.path.label(frame, inferred)
            fps = rate.tick(time.monotonic())
            age = time.monotonic() - frame.captured
            picture = self.path.draw(frame, inferred, labels, fps, age)
            self._drawn += 1
            self.inferred.changed()  # it is not busy any more, though nothing was taken or put
            self.finished.put((frame, labels, picture))
