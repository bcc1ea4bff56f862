"""How long things take, over streams that run for months: bounded memory, exact counts."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

GROWTH = 1.02  # bucket edges grow by 2 %: a percentile is at most 1 % off
SHORTEST = 1e-6  # seconds; shorter times count as this


class Distribution:
    """Durations in seconds, as a histogram with logarithmic buckets.

    A day at 40 frames/s is 3.5 million durations; 1 µs to 1000 s is 1047 buckets.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0  # seconds
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = round(math.log(max(seconds, SHORTEST) / SHORTEST) / math.log(GROWTH))
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds

    def cumulative(self, edges: Sequence[float]) -> list[int]:
        """How many durations were at most each of the rising `edges`, in seconds.

        From any thread while another one adds; an edge inside a bucket is up to 1 % off.
        """
        buckets = sorted(self._buckets.copy().items())  # dict.copy is one step for other threads
        counts, seen, place = [], 0, 0
        for edge in edges:
            while place < len(buckets) and SHORTEST * GROWTH ** buckets[place][0] <= edge:
                seen += buckets[place][1]
                place += 1
            counts.append(seen)
        return counts

    def percentile_ms(self, percent: float) -> float:
        """The smallest duration, in ms, that at least `percent` of all do not exceed; 0 if none."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket, count in sorted(self._buckets.copy().items()):
            seen += count
            if seen >= wanted:
                return 1e3 * SHORTEST * GROWTH**bucket
        return 0.0

    def to_json(self) -> dict[str, float]:
        """Median and 99th percentile, in ms."""
        return {
            name: round(self.percentile_ms(p), 3) for name, p in (("p50_ms", 50), ("p99_ms", 99))
        }


class Timings:
    """Wall time and CPU time of named stages; each stage is timed by one thread."""

    def __init__(self) -> None:
        self.stages: dict[str, Distribution] = {}
        self.cpu: dict[str, float] = {}  # seconds of the timing thread, per stage

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the body of a `with` as one run of `stage`; a body that raises does not count."""
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.stages.setdefault(stage, Distribution()).add(time.perf_counter() - wall)
        self.cpu[stage] = self.cpu.get(stage, 0.0) + time.thread_time() - cpu


class Rate:
    """Events per second over the last 30 events, for display."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=30)

    def tick(self, now: float) -> float:
        """Count an event at `now` (monotonic seconds); the rate so far, 0 before the second one."""
        self._times.append(now)
        elapsed = now - self._times[0]
        return (len(self._times) - 1) / elapsed if elapsed > 0 else 0.0
