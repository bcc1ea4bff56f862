"""What it costs to read a camera in a process of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from av.video.reformatter import VideoReformatter

from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.decoding import rgb
from runtime.sources.feed import Feed
from runtime.sources.reader_process import ReaderProcess

SIZES = ("480x360", "1280x720")
RATE = 60  # frames/s: what USB cameras reach at most
WARM = 20  # frames before the clock starts: imports and first conversions are not counted


@dataclass(frozen=True)
class CostRow:
    """CPU time per frame, both processes together, in core-ms; hand-over in ms from capture."""

    size: str  # WIDTHxHEIGHT
    inside_core_ms: float
    isolated_core_ms: float
    inside_ms: float
    isolated_ms: float


def costs(frames: int, rounds: int) -> list[CostRow]:
    """A row for each size; the two ways take turns, medians over `rounds`."""
    rows = []
    for size in SIZES:
        picture = f"color=size={size}:rate={RATE},format=yuv420p,realtime"
        feed = Feed("v4l2", picture, {"driver": "lavfi"})
        pairs = [(*_inside(feed, frames), *_isolated(feed, frames)) for _ in range(rounds)]
        cost, age, other, late = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append(CostRow(size, cost, other, age, late))
    return rows


def _inside(feed: Feed, frames: int) -> tuple[float, float]:
    """CPU ms per frame and age at hand-over in ms, read in this process."""

    def ages() -> Generator[float, None, None]:
        converter = VideoReformatter()
        with closing(iter(Capture(feed))) as pictures:
            for picture in pictures:
                rgb(picture.frame, converter)
                yield time.monotonic() - picture.captured

    with closing(ages()) as items:
        return _measured(items, frames, lambda: 0.0)


def _isolated(feed: Feed, frames: int) -> tuple[float, float]:
    """The same, read in another process."""
    camera = Camera(feed, "camera")

    def reader_seconds() -> float:
        reader = camera._reader
        assert isinstance(reader, ReaderProcess)
        threads = Path(f"/proc/{reader.pid}/task").iterdir()
        return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9

    with closing(iter(camera)) as items:
        ages = (time.monotonic() - frame.captured for frame in items)
        return _measured(ages, frames, reader_seconds)


def _measured(
    ages: Generator[float, None, None], frames: int, other: Callable[[], float]
) -> tuple[float, float]:
    """CPU ms per frame of this process and, by `other`, of another one; median age in ms."""
    for _ in range(WARM):
        next(ages)
    before = time.process_time() + other()
    seen = [next(ages) for _ in range(frames)]
    spent = time.process_time() + other() - before
    return 1e3 * spent / frames, 1e3 * statistics.median(seen)
