"""Accuracy against time as positions: every timed row, the best trade-offs joined by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.reporting.charts import NARROWEST, Axis, span, ticks, tone
from calibration.reporting.rows import PLACES, Row
from calibration.scheme import NAIVE

WIDTH, HEIGHT = 410, 350  # SVG units: near a phone's pixels, so that text stays legible
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 22, 42  # margins
LETTER, LINE = 9.2, 15.0  # width of a letter and height of a line at 13 px
RADIUS = 6.0

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """One timed row in SVG units; `x99` is where its p99 lies.

    A try that loses more than the chart shows is `beyond`, at the lower edge. `label_x` and
    `label_y` are the middle of the label's baseline; tries within the chart have none.
    """

    label: str
    tone: int
    own: bool
    beyond: bool
    x: float
    x99: float
    y: float
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Scatter:
    """Points, the front of best trade-offs, axes, and the height of the gate's limit."""

    points: list[Point]
    front: list[tuple[float, float]]
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    limit: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Timed:
    """A row whose target this machine can time."""

    row: Row
    p50: float
    p99: float


def scatter(rows: Sequence[Row], max_drop: float) -> Scatter:
    """Points gained or lost against FP32 over median milliseconds, with p99 as a whisker.

    A whisker ends at twice the slowest median: a machine that does other things too has p99s that
    would squeeze the medians together (`restless` says so). The lower edge follows the shipped
    rows and the limit: a naive try would squeeze everything else into a line.
    """
    timed = [Timed(r, r.p50_ms, r.p99_ms or r.p50_ms) for r in rows if r.p50_ms is not None]
    slowest, longest = max(t.p50 for t in timed), max(t.p99 for t in timed)
    across = Axis(0.0, min(longest, 2 * slowest) * 1.08, LEFT, WIDTH - RIGHT)
    shown = [-t.row.drop for t in timed if t.row.shipped]
    floor = min(*shown, -1.2 * max_drop, -NARROWEST)
    inside = [-t.row.drop for t in timed if -t.row.drop >= floor]
    near = [-max_drop] if max_drop <= NARROWEST else []  # a far limit would squeeze the rows
    low, high = span([*inside, *near, 0.0], NARROWEST)
    up = Axis(low, high, HEIGHT - BOTTOM, TOP)
    limit = up(-max_drop) if low <= -max_drop <= high else None
    return Scatter(
        placed(timed, across, up),
        [(across(t.p50), up(-t.row.drop)) for t in front(timed) if -t.row.drop >= low],
        [(across(tick), tick) for tick in ticks(0.0, across.high, 5)],
        [(up(tick), tick) for tick in ticks(low, high, 5)],
        limit,
    )


def front(timed: Sequence[Timed]) -> list[Timed]:
    """The rows that no other row beats in both time and accuracy, the fastest first."""
    best: list[Timed] = []
    for one in sorted(timed, key=lambda t: (t.p50, t.row.drop)):
        if not best or one.row.drop < best[-1].row.drop:
            best.append(one)
    return best


def placed(timed: Sequence[Timed], across: Axis, up: Axis) -> list[Point]:
    """Points with labels that cover neither points nor each other where there is room."""
    spots = [(across(t.p50), min(up(-t.row.drop), float(HEIGHT - BOTTOM))) for t in timed]
    taken: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in spots]
    points = []
    alone = len({t.row.target for t in timed}) == 1
    for one, (x, y) in zip(timed, spots, strict=True):
        beyond = -one.row.drop < up.low
        label = label_of(one.row, beyond, alone)
        label_x, label_y = room_for(label, (x, y), taken) if label else (x, y)
        x99 = across(min(one.p99, across.high)) if one.row.shipped else x
        own = one.row.shipped
        points.append(Point(label, tone(one.row), own, beyond, x, x99, y, label_x, label_y))
    return points


def label_of(row: Row, beyond: bool, alone: bool) -> str:
    """Shipped rows bear their names, tries beyond the edge their scheme and loss.

    Where one target is timed `alone`, names go without it.
    """
    if row.shipped:
        return row.name.replace(f" {PLACES[row.target]}", "") if alone else row.name
    scheme = "naive" if row.method == str(NAIVE) else row.method
    return f"{scheme}: −{row.drop:.1f}" if beyond else ""


def room_for(label: str, spot: tuple[float, float], taken: list[Box]) -> tuple[float, float]:
    """The middle of a label's baseline, above or below its point or farther off, inside the chart.

    What it covers is added to `taken`; where nothing is free it stands above, over the others.
    """
    x, y = spot
    half = LETTER * len(label) / 2
    middle = min(max(x, LEFT + half), WIDTH - half)
    places = [y + sign * step for step in (12, 27, 42, 57) for sign in (-1, 1)]
    for place in places:
        baseline = place + (0 if place < y else LINE - 5)
        box = (middle - half, baseline - LINE + 4, middle + half, baseline + 3)
        if box[1] > TOP - 6 and box[3] < HEIGHT - BOTTOM and not any(meet(box, t) for t in taken):
            taken.append(box)
            return middle, baseline
    return middle, y - 12


def meet(one: Box, other: Box) -> bool:
    """Whether two boxes overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
