"""Charts as positions: a bar per class, and accuracy over time; the page draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calibration.accuracy import Row
from engines.spec import Colour, ModelSpec

NARROWEST = 1.0  # points that an axis spans at least, so that noise does not look like a cliff
WIDTH, HEIGHT = 460, 300  # of the scatter in SVG units: near a phone's pixels, text stays legible
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 16, 42  # its margins


def name(row: Row) -> str:
    """What a row is called in tables and charts."""
    where = {"cpu": "CPU", "tensorrt": "TensorRT"}.get(row.target, row.target)
    return f"{row.precision.upper()} {where}"


def css(colour: Colour) -> str:
    """A colour as #rrggbb; anything but three numbers is an error, never CSS."""
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True)
class Bar:
    """One bar; `left` and `width` in percent of the track."""

    series: int
    delta: float | None
    left: float
    width: float


@dataclass(frozen=True)
class ClassRow:
    """A class with its bars; `limit` where --max-class-drop names it."""

    name: str
    colour: str
    iou: float | None
    bars: list[Bar]


@dataclass(frozen=True)
class ClassChart:
    """The chart's rows, the class that loses most first, and its axis."""

    series: list[str]
    rows: list[ClassRow]
    ticks: list[tuple[float, float]]  # percent of the track, points
    zero: float


def class_chart(rows: Sequence[Row], spec: ModelSpec) -> ClassChart:
    """IoU differences to FP32, per class and reduced row."""
    fp32, reduced = rows[0], rows[1:]
    every = [-d for row in reduced for d in row.class_drop.values() if d is not None]
    low, high = span([*every, 0.0], NARROWEST)
    place = Axis(low, high, 0.0, 100.0)
    result = []
    for label, colour in zip(spec.classes, spec.palette, strict=True):
        bars = [bar(index, row.class_drop[label], place) for index, row in enumerate(reduced)]
        result.append(ClassRow(label, css(colour), fp32.per_class[label], bars))
    result.sort(key=lambda row: min((b.delta for b in row.bars if b.delta is not None), default=0))
    marks = [(place(tick), tick) for tick in ticks(low, high, 3)]  # room for a phone
    return ClassChart([name(row) for row in reduced], result, marks, place(0.0))


def bar(series: int, drop: float | None, place: Axis) -> Bar:
    """The bar of one drop in points: to the left where IoU was lost."""
    if drop is None:
        return Bar(series, None, place(0.0), 0.0)
    ends = sorted((place(0.0), place(-drop)))
    return Bar(series, -drop, ends[0], ends[1] - ends[0])


@dataclass(frozen=True)
class Point:
    """One timed row in SVG units; `x99` is where its p99 lies."""

    label: str
    series: int
    x: float
    x99: float
    y: float


@dataclass(frozen=True)
class Scatter:
    """Points, axes and the height of the gate's limit, in SVG units."""

    points: list[Point]
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    limit: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def scatter(rows: Sequence[Row], max_drop: float) -> Scatter:
    """MIoU over median time of the rows that this machine can time, with p99 as a whisker.

    A whisker ends at twice the slowest median: a machine that does other things too has p99s that
    would squeeze the medians together (`restless` says so).
    """
    timed = [(i, r, r.p50_ms, r.p99_ms) for i, r in enumerate(rows) if r.p50_ms is not None]
    slowest, longest = max(p50 for _, _, p50, _ in timed), max(p99 or 0.0 for *_, p99 in timed)
    limit = rows[0].miou - max_drop
    low, high = span([row.miou for _, row, _, _ in timed], NARROWEST)
    across = Axis(0.0, min(longest, 2 * slowest) * 1.08, LEFT, WIDTH - RIGHT)
    up = Axis(low, high, HEIGHT - BOTTOM, TOP)
    points = [
        Point(name(row), i, across(p50), across(min(p99 or p50, across.high)), up(row.miou))
        for i, row, p50, p99 in timed
    ]
    return Scatter(
        points,
        [(across(t), t) for t in ticks(0.0, across.high, 5)],
        [(up(t), t) for t in ticks(low, high, 5)],
        up(limit) if low <= limit <= high else None,
    )


@dataclass(frozen=True)
class Axis:
    """A linear scale from values `low`..`high` to positions `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def span(values: Iterable[float], least: float) -> tuple[float, float]:
    """Lowest and highest value with a tenth of air around them, at least `least` apart."""
    known = list(values)
    low, high = min(known), max(known)
    air = max((high - low) * 0.1, (least - (high - low)) / 2)
    return low - air, high + air


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between `low` and `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    first = math.ceil(low / step)
    return [round(i * step, 10) + 0.0 for i in range(first, math.floor(high / step) + 1)]
