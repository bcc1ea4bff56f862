"""A mixed-precision search in the plane of what a graph costs and what it loses."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calibration.mixed import MixedSearch
from calibration.mixing.probes import MILLISECONDS
from calibration.mixing.trials import Point
from engines.atomic import write_bytes

GREY, BLUE, RED, BLACK = "#9aa0a6", "#1d6fdc", "#d62828", "#202124"
WHOLE = {"u8": "FP32", "s8": "FP16"}  # what the rest is, beside INT8 of a flavour
HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}  # keeps text legible


def draw(found: MixedSearch, chosen: Point | None, path: Path, title: str = "") -> None:
    """Write the plot; `path` ends in .svg or .png. `chosen` is None where nothing was picked."""
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.add_subplot()
    front(axes, found)
    budget(axes, found)
    ends(axes, found)
    if chosen is not None:
        winner(axes, found, chosen)
    decorate(axes, found, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=120)
    write_bytes(path, buffer.getvalue())


def front(axes: Axes, found: MixedSearch) -> None:
    """All points tried, and the staircase below and left of which none was found."""
    mixed = [point for point in found.tried if point.kind == "mixed"]
    off = [point for point in mixed if point not in found.front]
    axes.scatter(
        [p.cost for p in off], [p.drop for p in off], s=22, color=GREY, label="tried", zorder=2
    )
    corners = [(point.cost, point.drop) for point in found.front]
    axes.step(*zip(*corners, strict=True), where="post", color=BLUE, linewidth=1.2, zorder=1)
    on = [point for point in mixed if point in found.front]
    axes.scatter(
        [p.cost for p in on],
        [p.drop for p in on],
        s=38,
        color=BLUE,
        label="Pareto front: nothing tried is cheaper and loses less",
        zorder=3,
    )


def budget(axes: Axes, found: MixedSearch) -> None:
    """The line that a graph may not be above."""
    axes.axhline(found.max_drop, color=RED, linewidth=1, linestyle=(0, (5, 4)), zorder=0)
    axes.annotate(
        f"budget {found.max_drop:g}",
        (1, found.max_drop),
        (-4, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        size=9,
        ha="right",
        color=RED,
    )


def ends(axes: Axes, found: MixedSearch) -> None:
    """Pure INT8, and the graph without INT8."""
    rest = WHOLE[found.flavour]
    for point, name, shift, side in (
        (found.int8, f"INT8\n{terms(found, found.int8)}", (10, 8), "left"),
        (found.whole, f"{rest}, {cost(found, found.whole)}", (4, 10), "right"),
    ):
        axes.plot(point.cost, point.drop, "s", color=BLACK, markersize=7, zorder=4)
        axes.annotate(
            name,
            (point.cost, point.drop),
            shift,
            textcoords="offset points",
            size=9,
            ha=side,
            color=BLACK,
            bbox=HALO,
        )


def winner(axes: Axes, found: MixedSearch, chosen: Point) -> None:
    """A star where the picked graph lies, with its numbers."""
    axes.scatter(chosen.cost, chosen.drop, 190, RED, marker="*", zorder=5, label="picked")
    if chosen.kind == "mixed":
        count = len(chosen.kept)
        axes.annotate(
            f"{count} convolution{'s' * (count > 1)} in {WHOLE[found.flavour]}\n"
            + terms(found, chosen),
            (chosen.cost, chosen.drop),
            (12, 16),
            textcoords="offset points",
            size=9,
            weight="bold",
            color=RED,
            bbox=HALO,
        )


def decorate(axes: Axes, found: MixedSearch, title: str) -> None:
    """Titles, limits with room for labels, legend."""
    name = title or f"Which layers stay in {WHOLE[found.flavour]} ({found.flavour})"
    axes.set_title(f"{name}, {found.frames} held-out frames")
    axes.set_ylabel(f"mIoU lost against {found.judged_by}, points")
    if found.unit == MILLISECONDS:
        axes.set_xlabel("ms per frame")
    else:
        axes.set_xlabel(f"{found.unit} (a model, not a time)")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.margins(0.06, 0.15)
    axes.grid(color="#eceef1", zorder=-1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(  # below: points and labels may lie anywhere inside
        loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False, fontsize=9
    )


def terms(found: MixedSearch, point: Point) -> str:
    """What a point loses or gains, and costs."""
    return f"{-point.drop:+.2f} points, {cost(found, point)}"


def cost(found: MixedSearch, point: Point) -> str:
    """A cost with its unit."""
    return f"{point.cost:.1f} ms" if found.unit == MILLISECONDS else f"{point.cost:.0%} in float"
