"""The plot of an endurance run: memory, files and threads, ages, and counts over the minutes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.soak_verdict import Sample, slope_per_minute
from engines.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE, DPI = (8.0, 9.0), 100  # 800 pixels wide
BLUE, ORANGE, GREY, RED = "#1f6fb8", "#d9791a", "#9aa0a6", "#b3261e"


def draw(samples: Sequence[Sample], warm_up: float, path: Path) -> None:
    """Write a PNG or SVG, as the file's name says; `warm_up` in seconds."""
    from matplotlib.figure import Figure

    figure = Figure(SIZE, DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    draw_memory(panels[0], samples, warm_up)
    draw_holdings(panels[1], samples)
    draw_ages(panels[2], samples)
    draw_counts(panels[3], samples)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", ncols=4, frameon=False, fontsize=9)
        axes.margins(x=0.01)
        axes.tick_params(labelsize=9)
    panels[-1].set_xlabel("minutes", fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_bytes(path, picture.getvalue())


def minutes(samples: Sequence[Sample]) -> list[float]:
    """When they were taken."""
    return [sample.at / 60 for sample in samples]


def draw_memory(axes: Axes, samples: Sequence[Sample], warm_up: float) -> None:
    """Resident memory, and its trend after the warm-up."""
    at = minutes(samples)
    axes.plot(at, [s.memory_mb for s in samples], color=GREY, lw=0.7, label="all processes")
    axes.plot(at, [s.holdings.main_mb for s in samples], color=BLUE, lw=1, label="program")
    readers = [s.holdings.readers_mb for s in samples]
    axes.plot(at, readers, color=ORANGE, lw=0.7, label="readers")
    after = [s for s in samples if s.at >= warm_up]
    memory = [s.memory_mb for s in after]
    slope = slope_per_minute([s.at for s in after], memory)
    x = np.asarray(minutes(after))
    level = float(np.median(memory - slope * x))
    axes.plot(x, level + slope * x, color=RED, lw=1.2, label=f"trend {slope:+.2f} MB/min")
    axes.set_ylabel("resident MB", fontsize=9)
    axes.set_ylim(0, 1.25 * max(s.memory_mb for s in samples))


def draw_holdings(axes: Axes, samples: Sequence[Sample]) -> None:
    """Files and threads of the program; steps are recordings that begin and end."""
    at = minutes(samples)
    axes.plot(at, [s.holdings.files for s in samples], color=BLUE, lw=0.8, label="open files")
    axes.plot(at, [s.holdings.threads for s in samples], color=ORANGE, lw=0.8, label="threads")
    axes.plot(at, [s.holdings.readers for s in samples], color=GREY, lw=0.8, label="readers")
    axes.set_ylabel("of the program", fontsize=9)
    axes.set_ylim(0, 1.4 * max(s.holdings.files for s in samples))


def draw_ages(axes: Axes, samples: Sequence[Sample]) -> None:
    """How old the viewers' pictures were, and what the program said of them."""
    for live, colour, words in ((True, BLUE, "shown as live"), (False, ORANGE, "told as stale")):
        seen = [
            (s.at / 60, look.age)
            for s in samples
            for look in s.looks
            if look.live is live and np.isfinite(look.age)
        ]
        x, y = [at for at, _ in seen], [age for _, age in seen]
        axes.scatter(x, y, s=3, color=colour, label=words)
    limits = [max(look.limit for look in s.looks) for s in samples]
    axes.plot(minutes(samples), limits, color=RED, lw=0.6, label="2 periods + processing")
    axes.set_yscale("log")
    axes.set_ylim(0.03, 30)
    axes.set_ylabel("s since the camera sent it", fontsize=9)


def draw_counts(axes: Axes, samples: Sequence[Sample]) -> None:
    """Reconnects of all cameras, and dropped frames in hundreds."""
    at = minutes(samples)
    reconnects = [sum(look.reconnects for look in s.looks) for s in samples]
    dropped = [sum(look.dropped for look in s.looks) / 100 for s in samples]
    axes.plot(at, reconnects, color=BLUE, lw=1, label="reconnects")
    axes.plot(at, dropped, color=ORANGE, lw=1, label="dropped frames / 100")
    axes.plot(at, [s.load for s in samples], color=GREY, lw=0.8, label="load of the machine")
    axes.set_ylabel("so far", fontsize=9)
    axes.set_ylim(0, 1.3 * max(*reconnects, *dropped, 1))
