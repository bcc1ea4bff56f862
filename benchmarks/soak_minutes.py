"""An endurance run in a row for each minute: what its JSON keeps of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak_verdict import Sample


@dataclass(frozen=True)
class Minute:
    """The samples of one minute: medians, and counts at its end."""

    minute: int
    memory_mb: float
    main_mb: float
    files: float
    threads: float
    live: float  # share of looks
    frames: int
    reconnects: int
    dropped: int
    load: float


def by_minute(samples: Sequence[Sample]) -> list[Minute]:
    """A row for each minute."""
    rows = []
    for minute in range(int(samples[-1].at // 60) + 1):
        part = [s for s in samples if s.at // 60 == minute]
        last = part[-1].looks
        shown = [look.live for s in part for look in s.looks]
        rows.append(
            Minute(
                minute,
                middle([s.memory_mb for s in part]),
                middle([s.holdings.main_mb for s in part]),
                middle([s.holdings.files for s in part]),
                middle([s.holdings.threads for s in part]),
                round(sum(shown) / len(shown), 3),
                sum(look.frames for look in last),
                sum(look.reconnects for look in last),
                sum(look.dropped for look in last),
                middle([s.load for s in part]),
            )
        )
    return rows


def middle(values: Sequence[float]) -> float:
    """The median, to a tenth."""
    return round(sorted(values)[len(values) // 2], 1)
