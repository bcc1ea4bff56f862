"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """When a lost source is tried again, and for how long; seconds."""

    first: float = 0.25  # wait before the second try; doubles with each further one
    longest: float = 15.0  # wait
    steady: float = 5.0  # frames for this long make the next loss a first one again
    to_start: float = 10.0  # give up if there was no frame at all: likely a wrong address
    to_return: float = float("inf")  # give up on a source that was live


class Backoff:
    """Waits that double up to a limit, each shortened by chance to between half and all of itself.

    Chance keeps many readers of one camera, all cut off at once, from coming back at once.
    """

    def __init__(self, retry: Retry, chance: Callable[[], float] = random.random) -> None:
        self._retry = retry
        self._chance = chance
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now."""
        wait = min(self._retry.longest, self._retry.first * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return wait * (0.5 + 0.5 * self._chance())

    def reset(self) -> None:
        """The source was there for a while: begin with short waits again."""
        self._tries = 0
