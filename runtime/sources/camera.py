"""A source that may be lost and found again: a state machine around a reader process."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace

from engines.failures import Failure, SourceFailed
from runtime.redaction import redact
from runtime.source import Frame
from runtime.sources.backoff import Backoff, Retry
from runtime.sources.feed import Feed, Lost
from runtime.sources.reader_process import EndOfFeed, Opened, Reader, ReaderProcess, Received
from runtime.sources.status import State, Status

UNKNOWN_RATE = 30.0  # frames/s of almost every camera; only a recording's header uses it
STALL = 1.5  # s without a frame after which a camera counts as stalled,
PERIODS = 3  # or as many of its frames, if it is a slow one
SLACK = 1.0  # s that FFmpeg's own, kinder time-outs get before the reader is killed


class Camera:
    """Frames of a feed, read in a process of its own that is watched, killed and started again.

    Neither a driver that hangs nor a decoder that crashes concerns the caller: it sees frames, or
    `SourceFailed` once trying again is pointless. Stopping takes at most `reader_process.GRACE`.

    Args:
        feed: What to read.
        name: What the user calls it; shown without its credentials.
        retry: How patiently.
        tell: Gets a line for people at each change of state.
        open_reader, clock, chance: What a test replaces.
    """

    def __init__(
        self,
        feed: Feed,
        name: str,
        *,
        retry: Retry | None = None,
        tell: Callable[[str], None] = lambda line: None,
        open_reader: Callable[[Feed], Reader] = ReaderProcess,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = redact(name)
        self.live = feed.live
        self.fps = UNKNOWN_RATE
        self.damaged = 0
        self._feed = feed
        self._retry = retry or Retry()
        self._tell = tell
        self._open_reader = open_reader
        self._clock = clock
        self._backoff = Backoff(self._retry, chance)
        self._status = Status(State.STARTING, since=clock())
        self._opened = Opened("", 0.0, ())
        self._size = ""  # of the last frame
        self._lasted = clock()  # when there was the last frame, or else the first try
        self._closed = threading.Event()
        self._reader: Reader | None = None
        self._lock = threading.Lock()  # of `_reader`, which `close` interrupts

    @property
    def status(self) -> Status:
        """Live, or why not."""
        return self._status

    def __iter__(self) -> Generator[Frame, None, None]:
        self._lasted = self._clock()
        start: float | None = None
        index = 0
        try:
            for received in self._all_received():
                at = received.captured if self.live or received.time is None else received.time
                start = at if start is None else start
                yield Frame(received.image, index, received.captured, at - start)
                index += 1
        except Failure as failure:
            self._become(State.FAILED, str(failure))
            raise type(failure)(redact(f"{self.name}: {failure}")) from failure
        finally:
            if self._status.state is not State.FAILED:
                self._become(State.ENDED)

    def close(self) -> None:
        """End now, whatever the source is doing."""
        self._closed.set()
        with self._lock:
            if self._reader is not None:
                self._reader.interrupt()

    def _all_received(self) -> Generator[Received, None, None]:
        """The frames of one connection after the other."""
        while not self._closed.is_set():
            try:
                yield from self._connection()
                return
            except Lost as lost:
                if self._closed.is_set():
                    return
                wait = self._given_up_or_wait(lost)
            self._closed.wait(wait)

    def _connection(self) -> Generator[Received, None, None]:
        """The frames of one reader; returns at the end of a file or when closed."""
        began, dropped, damaged = self._clock(), self._status.dropped, self.damaged
        reader = self._started()
        frames = 0
        try:
            while not self._closed.is_set():
                said = self._next(reader, began if not frames else self._clock(), frames > 0)
                if isinstance(said, Opened):
                    self._found(said)
                    continue
                frames += 1
                self._lasted = self._clock()
                self._status = replace(self._status, dropped=dropped + said.dropped)
                self.damaged = damaged + said.damaged
                self._delivered(said)
                yield said
        except EndOfFeed:
            pass
        finally:
            with self._lock:
                self._reader = None
            reader.close()
            if frames and self._lasted - began >= self._retry.steady:
                self._backoff.reset()

    def _next(self, reader: Reader, since: float, live: bool) -> Opened | Received:
        """What the reader says next; `Lost` if it is silent for too long after `since`.

        Time that our consumer takes between two frames is not the camera's silence.
        """
        limit = SLACK + (self._feed.reading if live else self._feed.opening)
        overdue = max(STALL, PERIODS / self.fps)
        while not self._closed.is_set():
            silent = self._clock() - since
            if live and silent >= overdue and self._status.state is State.LIVE:
                self._become(State.STALLED, f"no frame for {silent:.1f} s")
            if silent >= limit:
                raise Lost(f"it gave no frame for {limit:g} s")
            pause = min(overdue, limit) if live and silent < overdue else limit
            said = reader.receive(pause - silent)
            if said is not None:
                return said
        raise EndOfFeed

    def _given_up_or_wait(self, lost: Lost) -> float:
        """Seconds until the next try; raises if there shall be none."""
        starting = self._status.state is State.STARTING
        patience = self._retry.to_start if starting else self._retry.to_return
        if not self.live or self._clock() - self._lasted >= patience:
            raise SourceFailed(str(lost)) from lost
        wait = self._backoff.next()
        state = State.STARTING if starting else State.RECONNECTING
        self._become(state, f"{lost}; next try in {wait:.1f} s")
        return wait

    def _started(self) -> Reader:
        """A new reader, which `close` can interrupt from now on."""
        try:
            reader = self._open_reader(self._feed)
        except OSError as error:  # no memory, no more processes or open files
            raise Lost(f"no reader process could be started ({error})") from error
        with self._lock:
            self._reader = reader
        if self._closed.is_set():  # between the last look and now
            reader.interrupt()
        return reader

    def _found(self, opened: Opened) -> None:
        """Take over what the reader found; the choices are told once."""
        self.fps = opened.rate if 0 < opened.rate <= 1000 else UNKNOWN_RATE
        if self._status.state is State.STARTING:
            for line in opened.offers:
                self._tell(f"{self.name} offers {line}")
        self._opened = opened

    def _delivered(self, received: Received) -> None:
        """A frame came: the source is live, and may have been found again or changed its size."""
        height, width = received.image.shape[:2]
        size = f"{width}x{height}"
        if self._status.state is not State.LIVE:
            found = self._status.state is State.RECONNECTING
            self._status = replace(self._status, reconnects=self._status.reconnects + found)
            self._become(State.LIVE, self._opened.text)
        elif size != self._size:
            self._become(State.LIVE, f"frames are {size} now")
        self._size = size

    def _become(self, state: State, detail: str = "") -> None:
        """Change the state, or its detail, and tell it."""
        changed = state is not self._status.state
        since = self._clock() if changed else self._status.since
        detail = redact(detail)
        self._status = replace(self._status, state=state, detail=detail, since=since)
        if state not in (State.ENDED, State.FAILED):  # whoever iterates knows, and tells
            self._tell(f"{self.name}: {state.value}" + (f", {detail}" if detail else ""))
