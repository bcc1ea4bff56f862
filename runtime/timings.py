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

    @staticmethod
    def of(parts: Sequence[Distribution]) -> Distribution:
        """What all parts counted together; a single part is itself."""
        if len(parts) == 1:
            return parts[0]
        whole = Distribution()
        for part in parts:
            whole.count += part.count
            whole.total += part.total
            for bucket, count in part._buckets.copy().items():
                whole._buckets[bucket] = whole._buckets.get(bucket, 0) + count
        return whole

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

    @staticmethod
    def of(parts: Sequence[Timings]) -> Timings:
        """What all parts timed together; a single part is itself."""
        if len(parts) == 1:
            return parts[0]
        whole = Timings()
        for name in dict.fromkeys(name for part in parts for name in dict(part.stages)):
            timed = [part for part in parts if name in part.stages]
            whole.stages[name] = Distribution.of([part.stages[name] for part in timed])
            whole.cpu[name] = sum(part.cpu.get(name, 0.0) for part in timed)
        return whole

    def add(self, stage: str, wall: float, cpu: float) -> None:
        """Count one run of a stage; seconds."""
        self.stages.setdefault(stage, Distribution()).add(wall)
        self.cpu[stage] = self.cpu.get(stage, 0.0) + cpu

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the body of a `with` as one run of `stage`; a body that raises does not count."""
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.add(stage, time.perf_counter() - wall, time.thread_time() - cpu)


class Rate:
    """Events per second over the last 30 events, for display."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=30)

    def tick(self, now: float) -> float:
        """Count an event at `now` (monotonic seconds); the rate so far, 0 before the second one."""
        self._times.append(now)
        elapsed = now - self._times[0]
        return (len(self._times) - 1) / elapsed if elapsed > 0 else 0.0
