"""The plots of docs/results.md: mIoU against multiply-adds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from engines.atomic import write_bytes
from train.results_rows import (
    CRFS,
    OUTPUT_STRIDES,
    REFERENCE,
    STRATEGIES,
    V2,
    V3PLUS,
    Record,
    Row,
)

COLOURS = ("#1d6fdc", "#d62828", "#2a9d57", "#e08e0b")
LINES = {16: "-", 8: "--"}
MARKERS = {"once": "o", "flip": "<", "ms": "s", "ms-flip": "D"}
CRF_MARKERS = {"off": "o", "own": "^", "v1": "v"}
CRF_NAMES = {"off": "no CRF", "own": "mild CRF", "v1": "DeepLab v1's CRF"}
GREY = "#5f6368"
TICKS = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]  # 1e9 multiply-adds


def draw_table5(records: dict[Row, Record], path: Path) -> None:
    """The reference and the v3+ heads, read in every way; writes a PNG."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, models, title in (
        (left, [REFERENCE], "bundled model"),
        (right, list(V3PLUS), "v3+ heads on a frozen trunk"),
    ):
        for colour, model in zip(COLOURS, models, strict=False):
            for stride in OUTPUT_STRIDES:
                rows = [Row(model, stride, name) for name in STRATEGIES]
                label = f"{model}, OS {stride}"
                curve(axes, records, rows, MARKERS, colour, LINES[stride], label)
        finish(axes, title, dict(zip(MARKERS, ("once", "flip", "MS", "MS, flip"), strict=True)))
    save(figure, path)


def draw_v2(records: dict[Row, Record], path: Path) -> None:
    """v2's heads before and after the CRF, whose own arithmetic is not counted; writes a PNG."""
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    for colour, head in zip(COLOURS, V2, strict=False):
        for stride in OUTPUT_STRIDES:
            rows = [Row(head, stride, crf=crf) for crf in CRFS]
            label = f"{head}, OS {stride}"
            curve(axes, records, rows, CRF_MARKERS, colour, LINES[stride], label)
    finish(axes, "v2 heads on a frozen trunk", CRF_NAMES, CRF_MARKERS)
    save(figure, path)


def curve(
    axes: Axes,
    records: dict[Row, Record],
    rows: Sequence[Row],
    markers: dict[str, str],
    colour: str,
    line: str,
    label: str,
) -> None:
    """The measured ones of `rows`, joined; each with the marker of its strategy or CRF."""
    found = [(row, records[row]) for row in rows if row in records]
    x = [record.cost.plain_gmacs for _, record in found]
    y = [record.scores.miou for _, record in found]
    if found:
        axes.plot(x, y, line, color=colour, linewidth=1, label=label)
    for (row, _), *place in zip(found, x, y, strict=True):
        kind = row.strategy if row.strategy in markers else row.crf
        axes.plot(*place, markers[kind], color=colour, markersize=6)


def finish(
    axes: Axes, title: str, names: dict[str, str], markers: dict[str, str] = MARKERS
) -> None:
    """Title, axes, and a legend of lines and markers."""
    for kind, name in names.items():
        axes.plot([], [], markers[kind], color=GREY, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="multiply-adds for one 480x360 frame, 1e9", ylabel="mIoU, CamVid val, %")
    axes.set_title(title)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(  # below, where it hides no point
        fontsize=8, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12)
    )


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
