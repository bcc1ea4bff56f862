"""What the doctor found, as one picture: light, likeness, classes, and how many frames it takes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.frame_checks.duplicates import NEAR, SIDE, group
from calibration.frame_checks.extremes import ENOUGH
from calibration.frame_checks.looks import BLURRED, BRIGHT, DARK
from engines.atomic import write_bytes

if TYPE_CHECKING:
    from calibration.doctor import Checkup

GREY, BLUE, RED = "#9aa0a6", "#1d6fdc", "#d62828"
LOOKS = ("blank", "dark", "bright", "blurred", "grey", "odd")  # the codes that mark a frame
FAINTEST = 0.5  # sharpness that a logarithmic axis begins at


def draw(checkup: Checkup, path: Path) -> None:
    """Write the picture; `path` ends in .svg or .png."""
    panels: list[Callable[[Axes, Checkup], None]] = [light, likeness]
    panels += [classes] if checkup.classes else []
    panels += [curve] if checkup.needs is not None else []
    panels += [fidelity] if checkup.needs is not None and checkup.needs.fidelity else []
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 0.5 + 3.8 * rows), layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 2, place)
        panel(axes, checkup)
        axes.spines[["top", "right"]].set_visible(False)
    count = len(checkup.examination.looks)
    codes = ", ".join(dict.fromkeys(warning.code for warning in checkup.warnings)) or "none"
    name = checkup.data.partition(":")[0]
    figure.suptitle(f"{name} {checkup.split}: {count} frames, warnings: {codes}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=120)
    write_bytes(path, buffer.getvalue())


def light(axes: Axes, checkup: Checkup) -> None:
    """Each frame by brightness and sharpness; the marked ones have a warning."""
    marked = {n for w in checkup.warnings if w.code in LOOKS for n in w.frames}
    for flagged, colour, label in ((False, BLUE, "frame"), (True, RED, "frame with a warning")):
        chosen = [item for item in checkup.examination.looks if (item.name in marked) == flagged]
        if chosen:
            x = [item.brightness for item in chosen]
            y = [max(FAINTEST, item.sharpness) for item in chosen]
            axes.scatter(x, y, s=14, color=colour, label=label, alpha=0.7, linewidths=0)
    for limit in (DARK, BRIGHT):
        axes.axvline(limit, color=GREY, linewidth=0.8, linestyle="--")
    axes.axhline(BLURRED, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlim=(-4, 259), yscale="log", xlabel="mean brightness", ylabel="sharpness")
    axes.set_title("Light and sharpness (dashed: limits)")
    if marked:
        axes.legend(frameon=False, loc="lower right")


def likeness(axes: Axes, checkup: Checkup) -> None:
    """How much each frame differs from the most similar one before it."""
    groups = group(checkup.examination.prints)
    places = np.arange(1, len(groups.nearest) + 1)
    colours = [RED if bits <= NEAR else BLUE for bits in groups.nearest]
    axes.scatter(places, groups.nearest, s=12, c=colours, linewidths=0)
    axes.axhline(NEAR + 0.5, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel="frame", ylabel=f"bits of {SIDE * SIDE} that differ", ylim=(-4, None))
    axes.locator_params("x", integer=True)
    axes.set_title(f"Likeness to an earlier frame ({groups.distinct} distinct)")


def classes(axes: Axes, checkup: Checkup) -> None:
    """In which part of the frames each class appears."""
    shares = checkup.classes[::-1]
    colours = [RED if share.frames == 0 else BLUE for share in shares]
    axes.barh([s.name for s in shares], [s.frame_share for s in shares], color=colours)
    for row, share in enumerate(shares):
        text = f" {share.frames} frames, {share.pixels:.2g} % of pixels"
        inside = share.frame_share > 50
        colour, side = ("white", "right") if inside else ("black", "left")
        axes.text(share.frame_share, row, f"{text} ", va="center", ha=side, color=colour, size=7)
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel="% of frames", xlim=(0, 100))
    axes.set_title("Classes")


def curve(axes: Axes, checkup: Checkup) -> None:
    """Which part of the full ranges some frames span."""
    assert checkup.needs is not None  # draw() asks before
    needs = checkup.needs
    axes.plot(np.arange(1, len(needs.curve) + 1), 100 * np.array(needs.curve), color=BLUE)
    axes.axhline(100 * ENOUGH, color=GREY, linewidth=0.8, linestyle="--")
    chosen = len(needs.subset)
    axes.plot(chosen, 100, "*", color=RED, markersize=10, label=f"{chosen} chosen frames")
    if needs.enough_frames is not None:
        axes.axvline(needs.enough_frames, color=GREY, linewidth=0.8)
        axes.plot([], [], color=GREY, label=f"{needs.enough_frames} of any are enough")
    axes.set(xlabel="frames", ylabel="% of all frames' ranges")
    axes.set_title("Ranges from fewer frames")
    axes.legend(frameon=False, loc="lower right")


def fidelity(axes: Axes, checkup: Checkup) -> None:
    """How much of FP32's mask an INT8 graph keeps, after calibration on so many frames."""
    assert checkup.needs is not None  # draw() asks before
    scores = checkup.needs.fidelity
    counts = [score.frames for score in scores]
    axes.plot(counts, [score.fidelity.miou for score in scores], "o-", color=BLUE)
    axes.set(xlabel="frames calibrated on", ylabel="mIoU with FP32's masks, %", xlim=(0, None))
    axes.set_title("INT8 on frames that were held out")
