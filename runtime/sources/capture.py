"""Pictures of a feed, with the time each was taken: what the reader process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import av
from av.container import InputContainer

from runtime.sources import gstreamer, network, v4l2
from runtime.sources.decoding import pictures, reason
from runtime.sources.feed import Feed, Lost
from runtime.sources.stamps import ArrivalClock, device_time

Opener = Callable[[Feed], AbstractContextManager[InputContainer]]
OPENERS: dict[str, Opener] = {
    "v4l2": v4l2.opened,
    "network": network.opened,
    "gstreamer": gstreamer.opened,
}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, not yet RGB: most of a fast camera's are never looked at."""

    frame: av.VideoFrame
    captured: float  # time.monotonic()
    time: float | None  # s, on the source's own clock


class Capture:
    """The pictures of a feed; iterated once, by one thread.

    Failures raise `Lost` where another try may help, and any other `Failure` where it will not.
    """

    def __init__(self, feed: Feed) -> None:
        self.damaged = 0
        self._feed = feed
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Picture, None, None]:
        feed = self._feed
        timed = _clock(feed)
        with self.connected(feed) as container:
            stream = container.streams.video[0]
            if not feed.live:
                stream.thread_type = "AUTO"  # frame threads add frames of delay
            try:
                for frame in pictures(container, lambda: not self._closed.is_set(), self._damage):
                    yield Picture(frame, timed(frame.time, time.monotonic()), frame.time)
            except (av.FFmpegError, OSError) as error:
                raise Lost(f"it stopped ({reason(error)})") from error
            if feed.live and not self._closed.is_set():
                raise Lost("it ended the stream")

    def close(self) -> None:
        """From any thread: end after the packet being waited for."""
        self._closed.set()

    def connected(self, feed: Feed) -> AbstractContextManager[InputContainer]:
        """The open device."""
        return OPENERS[feed.kind](feed)

    def _damage(self, packets: int) -> None:
        self.damaged += packets


def _clock(feed: Feed) -> Callable[[float | None, float], float]:
    """What turns a picture's stamp and its arrival into the time it was taken."""
    if feed.kind == "v4l2":
        return device_time
    if feed.live and feed.address.startswith(("rtsp:", "rtsps:")):
        return ArrivalClock().captured
    return lambda _, now: now  # MJPEG and pipes carry no time stamps of their own
