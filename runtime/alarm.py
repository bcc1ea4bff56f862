"""A warning with hysteresis: raised once, and again only after a long calm."""

from __future__ import annotations

from dataclasses import dataclass

RELEASE = 2 / 3  # of the limit: below it an update counts as calm


@dataclass
class Alarm:
    """Raised when a level passes `limit`; lowered after `calm` updates in a row below RELEASE.

    Levels are expected to be smooth already: one over the limit is enough.
    """

    words: str  # a few, for people: "darker than calibration"
    limit: float
    calm: int  # updates
    raised: bool = False
    times: int = 0  # that it was raised
    updates: int = 0  # that it stayed raised, all times together
    first: int | None = None  # the update at which it was raised first
    worst: float = 0.0  # the highest level ever
    _seen: int = 0
    _quiet: int = 0

    def update(self, level: float) -> bool:
        """Take the next level; True if this raised the alarm."""
        self._seen += 1
        self.worst = max(self.worst, level)
        self._quiet = self._quiet + 1 if level < self.limit * RELEASE else 0
        if self._quiet >= self.calm:
            self.raised = False
        rises = not self.raised and level > self.limit
        if rises:
            self.raised = True
            self.times += 1
            self.first = self.first or self._seen
        self.updates += self.raised
        return rises
