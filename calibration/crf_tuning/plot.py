"""The candidates of a tuning in the plane of mIoU and boundary F gained."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.crf_tuning.evidence import Gain, Tuning, difference
from calibration.crf_tuning.grid import text
from engines.atomic import write_bytes
from scenes.scores import Summary

GREY, BLUE, RED = "#9aa0a6", "#1d6fdc", "#d62828"
RIM = (-1.0, -2.0)  # mIoU and boundary F lost; what loses more is drawn there, with its numbers


def draw(tuning: Tuning, path: Path) -> None:
    """Write the plot; `path` ends in .svg or .png."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    candidates = [g for g in tuning.candidates if g.name is None]
    x, y = zip(*map(place, candidates), strict=True) if candidates else ((), ())
    axes.scatter(x, y, s=14, color=GREY, label="settings that came as far as all frames")
    axes.plot(0, 0, "o", color="black", label="no CRF")
    published(axes, [g for g in tuning.candidates if g.name])
    winner(axes, tuning.before, tuning.fitted, False, "winner, fitted on the same frames")
    winner(axes, tuning.before, tuning.after, True, "winner, cross-validated")
    axes.set(xlabel="mIoU gained, points", ylabel="boundary F gained, points")
    axes.set_title(f"{tuning.about.model}, {tuning.about.images} frames: {text(tuning.chosen)}")
    axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=120)
    write_bytes(path, buffer.getvalue())


def published(axes: Axes, gains: Sequence[Gain]) -> None:
    """Settings that have a name, with it, and with their numbers where they lie at the rim."""
    for turn, gain in enumerate(gains):
        x, y = place(gain)
        axes.plot(x, y, "s", color=BLUE)
        beyond = (x, y) != (gain.miou, gain.boundary_f or 0.0)
        numbers = f" ({gain.miou:+.1f}, {gain.boundary_f or 0.0:+.1f})" if beyond else ""
        side = "left" if x == RIM[0] else "right"
        shift = (8 if side == "left" else -8, -12 if turn % 2 else 5)  # neighbours' names apart
        axes.annotate(
            f"{gain.name}{numbers}", (x, y), shift, textcoords="offset points", size=8, ha=side
        )


def winner(axes: Axes, before: Summary, after: Summary, filled: bool, label: str) -> None:
    """A star where the winner lies."""
    y = difference(after.boundary_f, before.boundary_f) or 0.0
    face = RED if filled else "none"
    x = after.miou - before.miou
    axes.scatter(x, y, 180, face, marker="*", edgecolors=RED, label=label)


def place(gain: Gain) -> tuple[float, float]:
    """Where a candidate is drawn: its gains, no lower than the rim."""
    return max(gain.miou, RIM[0]), max(gain.boundary_f or 0.0, RIM[1])
