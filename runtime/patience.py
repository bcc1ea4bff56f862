"""How long somebody who should speak may be silent."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """Counts silence in two halves.

    After a suspension of the process (Ctrl-Z, fg) the first half has run out although nobody had
    time to speak; the second one is then still to come.

    Args:
        seconds: Silence that is too long.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._since: float | None = None
        self._late = 0

    def rest(self) -> None:
        """Something was heard, or nothing is expected now."""
        self._since, self._late = None, 0

    def ask(self, expected: bool) -> float:
        """Seconds until the next look; `TimeoutError` once it was silent for too long.

        A half in which nothing could be `expected`, because the speaker is known to be away, starts
        the count anew.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since >= self.seconds / 2:
            self._since = now
            self._late = self._late + 1 if expected else 0
            if self._late == 2:
                raise TimeoutError
        return self._since + self.seconds / 2 - now
