"""When the last picture of a camera must not pass for a live one any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.overlay import font_size, stamp, status_strip
from runtime.source import Image

STALL = 1.5  # s without a picture after which the last one is old,
PERIODS = 3  # or as many times the wait for it, if it is a slow stream


class Silence:
    """Of one camera.

    Args:
        clock: Monotonic seconds; a test gives another one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None  # when the last picture came
        self._gap = 0.0  # seconds between it and the one before
        self._told = False

    def end(self) -> None:
        """A picture came."""
        now = self._clock()
        if self._last is not None and not self._told:
            self._gap = now - self._last
        self._last, self._told = now, False

    def begins(self) -> bool:
        """Whether the last picture has become old in this moment: true once in a silence."""
        if self._last is None or self._told:
            return False
        self._told = self._clock() - self._last > max(STALL, PERIODS * self._gap)
        return self._told

    def faded(self, picture: Image) -> Image:
        """The last picture [H, W, 3], dark, under the time of day when it came."""
        assert self._last is not None
        came = time.localtime(time.time() - (self._clock() - self._last))
        dark = picture // 3
        height, width = dark.shape[:2]
        text = time.strftime("no frame since %H:%M:%S", came)
        stamp(dark, status_strip(text, width, font_size(height)), top=True)
        return dark
