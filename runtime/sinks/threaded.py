"""A sink in a thread of its own, so that a slow disk or encoder slows nothing else."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from runtime.journal import tell
from runtime.lane import Result
from runtime.sinks.sink import Sink
from runtime.timings import Timings

DEPTH = 4  # results that wait: a hiccup of 0.15 s at 25 frames/s, 22 MB of 1280x720 with a picture
DRAIN = 0.3  # seconds after `stop` in which results that wait are still written
GRACE = 0.7  # seconds that a sink then gets to finish its file
NEVER = float("inf")
Cause = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Threaded:
    """Hands results to `sink` in its own thread; a sink itself.

    When the sink is too slow, results of a camera that `waits`, a file's, make `put` wait, and the
    stream with it, so that nothing is lost. Of other cameras the oldest result that waits is
    dropped. The counts are exact: results put = `written` + `dropped`, once the `with` is left.

    What the sink raises is raised here, by the next `put` or at the end.

    Args:
        sink: Entered here; used and left by the thread.
        waits: For each camera, whether its results may not be dropped.
        timings: Get a stage of the sink's name.
    """

    def __init__(self, sink: Sink, waits: Sequence[bool], timings: Timings) -> None:
        self.name = sink.name
        self.written = 0
        self.core_seconds = 0.0  # of the thread
        self._taken = 0  # by the thread
        self._lost = 0  # without the thread having seen them
        self.sink = sink
        self._waits = waits
        self._timings = timings
        self._results: deque[Result] = deque()
        self._changed = threading.Condition()
        self._ended = False  # nothing follows
        self._until = NEVER  # when results that wait are given up
        self._done = False  # the thread is
        self._cause: Cause = (None, None, None)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    @property
    def dropped(self) -> int:
        """Results that were put and never written; one that is being written counts, too."""
        return self._lost + self._taken - self.written

    def put(self, result: Result) -> bool:
        """Take a result; False once the sink ended the stream, or `stop` was called."""
        with self._changed:
            if self._waits[result.camera]:
                self._changed.wait_for(lambda: self._closed() or len(self._results) < DEPTH)
            if self._error is not None:
                raise self._error
            if self._closed() or not self._make_room():
                self._lost += 1
                return not self._closed()
            self._results.append(result)
            self._changed.notify_all()
        return True

    def stop(self) -> None:
        """From any thread: nobody waits any more, and the sink finishes soon."""
        with self._changed:
            self._until = min(self._until, time.monotonic() + DRAIN)
            self._changed.notify_all()

    def __enter__(self) -> Threaded:
        self.sink.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.stop()
        with self._changed:
            self._cause, self._ended = (kind, error, trace), True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done or self._until < NEVER)
        self._thread.join(max(0.0, min(self._until - time.monotonic(), DRAIN)) + GRACE)
        with self._changed:
            self._lost += len(self._results)
            self._results.clear()
        if not self._done:
            tell("a sink hangs, and was left behind", logging.WARNING, sink=self.name)
        if self._error is not None and error is None:
            raise self._error

    def _closed(self) -> bool:
        return self._done or self._until < NEVER

    def _make_room(self) -> bool:
        """Drop the oldest result that may be; False if there is no room, and no such result."""
        if len(self._results) < DEPTH:
            return True
        for place, result in enumerate(self._results):
            if not self._waits[result.camera]:
                del self._results[place]
                self._lost += 1
                return True
        return False

    def _work(self) -> None:
        try:
            try:
                self._write_all()
            except Exception as error:
                self._cause = type(error), error, error.__traceback__
                raise
            finally:
                self.sink.__exit__(*self._cause)
        except Exception as error:  # raised again where the stream's user is
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _write_all(self) -> None:
        goes_on = True
        while goes_on and (result := self._next()) is not None:
            with self._timings.measure(self.name):
                goes_on = self.sink.put(result)
            self.written += goes_on
            self.core_seconds = time.thread_time()

    def _next(self) -> Result | None:
        """The next result, None after the last one that is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed() or self._ended or bool(self._results))
            if not self._results or time.monotonic() > self._until:
                return None
            self._changed.notify_all()
            self._taken += 1
            return self._results.popleft()
