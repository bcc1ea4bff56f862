"""What was sampled in an endurance run, and whether it stays within the limits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.soak_program import Holdings
from runtime.serving.channel import STALE

SLOPE = 1.0  # MB/min of resident memory
PERIODS = 2  # that a picture may be old, beside its processing, and be shown as live


@dataclass(frozen=True)
class Look:
    """One camera at one moment."""

    live: bool  # as the program says
    age: float  # s since the picture on the viewer's screen was sent; inf before the first
    limit: float  # s: two periods and this picture's processing
    frames: int
    reconnects: int
    dropped: int


@dataclass(frozen=True)
class Sample:
    """One moment."""

    at: float  # s since the start
    recording: bool
    holdings: Holdings
    looks: tuple[Look, ...]
    load: float  # of the machine

    @property
    def memory_mb(self) -> float:
        """Of all processes."""
        return self.holdings.main_mb + self.holdings.readers_mb


@dataclass(frozen=True)
class Check:
    """A limit, and what was measured; it passed up to and including the limit."""

    name: str
    measured: float
    limit: float
    passed: bool


@dataclass(frozen=True)
class Freshness:
    """How old pictures on the screens were while the program said that they were live; seconds.

    `older` ones were older than two periods and their processing; `noticed` ones of these also
    older than the half second that the program allows itself, so that a hiccup does not make its
    banner flicker. `p50` and `p99` are of the way from camera to screen, of all pictures.
    """

    looks: int
    oldest: float
    older: int
    noticed: int
    p50: float
    p99: float


def freshness(samples: Sequence[Sample], lags: Sequence[float]) -> Freshness:
    """From samples, and the ways of all pictures in seconds."""
    live = [look for sample in samples for look in sample.looks if look.live]
    older = [look for look in live if look.age > look.limit]
    noticed = [look for look in older if look.age > STALE]
    oldest = max((look.age for look in live), default=0.0)
    p50, p99 = map(float, np.percentile(lags or [0.0], (50, 99)))
    return Freshness(len(live), oldest, len(older), len(noticed), p50, p99)


def slope_per_minute(seconds: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): outliers do not bend it."""
    x, y = np.asarray(seconds) / 60, np.asarray(values)
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def growth(samples: Sequence[Sample], count: Callable[[Sample], int]) -> float:
    """Medians of the last third less those of the first one, the larger of with and without a
    recording, which has files and threads of its own."""
    third = len(samples) // 3
    changes = [0.0]
    for recording in (False, True):
        first, last = (
            [count(sample) for sample in part if sample.recording is recording]
            for part in (samples[:third], samples[-third:])
        )
        if first and last:
            changes.append(statistics.median(last) - statistics.median(first))
    return max(changes)


def judge(samples: Sequence[Sample], fresh: Freshness) -> list[Check]:
    """The checks of samples after the warm-up."""
    slope = slope_per_minute([s.at for s in samples], [s.memory_mb for s in samples])
    files = growth(samples, lambda sample: sample.holdings.files)
    threads = growth(samples, lambda sample: sample.holdings.threads)
    return [
        Check("memory growth, MB/min", slope, SLOPE, slope < SLOPE),
        Check("open files, growth", files, 0, files <= 0),
        Check("threads, growth", threads, 0, threads <= 0),
        Check("old pictures shown as live", fresh.noticed, 0, fresh.noticed == 0),
    ]
