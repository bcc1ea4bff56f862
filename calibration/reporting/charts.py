"""Bar charts as positions: what each class and each scheme loses; the page draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calibration.reporting.rows import Row
from engines.spec import Colour, ModelSpec

NARROWEST = 1.0  # points that an axis spans at least, so that noise does not look like a cliff
TONES = (
    "fp32 cpu", "fp16 cpu", "int8 cpu", "int8 tensorrt", "int8 tensorrt-rtx",
    "mixed cpu", "mixed tensorrt", "mixed tensorrt-rtx", "int8 openvino", "mixed openvino",
)  # fmt: skip


def tone(row: Row) -> int:
    """The number of a row's colour, the same in every chart; float rows have the CPU's anywhere."""
    target = "cpu" if row.precision in ("fp32", "fp16") else row.target
    return TONES.index(f"{row.precision} {target}")


def css(colour: Colour) -> str:
    """A colour as #rrggbb; anything but three numbers is an error, never CSS."""
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True)
class Bar:
    """One bar; `left` and `width` in percent of the track."""

    tone: int
    delta: float | None
    left: float
    width: float


@dataclass(frozen=True)
class ClassRow:
    """A class with its bars, and FP32's IoU."""

    name: str
    colour: str
    iou: float | None
    bars: list[Bar]


@dataclass(frozen=True)
class ClassChart:
    """The chart's rows, the class that loses most first, and its axis."""

    series: list[tuple[int, str]]  # tone, name
    rows: list[ClassRow]
    ticks: list[tuple[float, float]]  # percent of the track, points
    zero: float


def class_chart(rows: Sequence[Row], spec: ModelSpec) -> ClassChart:
    """IoU differences to FP32, per class and quantized row (FP16's where nothing is quantized)."""
    reduced = [row for row in rows if row.judged]
    shown = [row for row in reduced if row.precision != "fp16"] or reduced
    every = [-d for row in shown for d in row.class_drop.values() if d is not None]
    low, high = span([*every, 0.0], NARROWEST)
    place = Axis(low, high, 0.0, 100.0)
    result = []
    for label, colour in zip(spec.classes, spec.palette, strict=True):
        bars = [bar(row, row.class_drop[label], place) for row in shown]
        result.append(ClassRow(label, css(colour), rows[0].per_class[label], bars))
    result.sort(key=lambda row: min((b.delta for b in row.bars if b.delta is not None), default=0))
    marks = [(place(tick), tick) for tick in ticks(low, high, 3)]  # room for a phone
    return ClassChart([(tone(row), row.name) for row in shown], result, marks, place(0.0))


def bar(row: Row, drop: float | None, place: Axis) -> Bar:
    """The bar of one drop in points: to the left where IoU was lost."""
    if drop is None:
        return Bar(tone(row), None, place(0.0), 0.0)
    ends = sorted((place(0.0), place(-drop)))
    return Bar(tone(row), -drop, ends[0], ends[1] - ends[0])


@dataclass(frozen=True)
class Attempt:
    """One scheme of quantizing: its row and bar on each target, None where it was not measured."""

    method: str
    shipped: bool
    cells: list[tuple[Row, Bar] | None]


@dataclass(frozen=True)
class AttemptChart:
    """Schemes, the one that loses least first, and the targets that their cells stand for."""

    targets: list[tuple[int, str]]  # tone, name
    attempts: list[Attempt]
    zero: float  # percent of the track


def attempt_chart(rows: Sequence[Row]) -> AttemptChart:
    """The INT8 schemes side by side, the shipped one among them; all bars have one scale."""
    int8 = [row for row in rows if row.precision == "int8" and row.crf is None]
    tried = {row.target for row in int8 if not row.shipped}
    int8 = [row for row in int8 if row.target in tried]
    low, high = span([0.0, *(-row.drop for row in int8)], NARROWEST)
    place = Axis(low, high, 0.0, 100.0)
    schemes: dict[str, dict[str, Row]] = {}
    for row in int8:
        schemes.setdefault(row.method or "?", {})[row.target] = row
    order = sorted(schemes.items(), key=lambda item: max(r.drop for r in item[1].values()))
    targets = {row.target: (tone(row), row.name) for row in int8}
    attempts = [
        Attempt(method, any(row.shipped for row in by_target.values()),
                [cell(by_target.get(target), place) for target in targets])
        for method, by_target in order
    ]  # fmt: skip
    return AttemptChart(list(targets.values()), attempts, place(0.0))


def cell(row: Row | None, place: Axis) -> tuple[Row, Bar] | None:
    """A scheme on one target."""
    return None if row is None else (row, bar(row, row.drop, place))


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
