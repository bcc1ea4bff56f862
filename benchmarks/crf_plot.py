"""Bars of `benchmarks/crf.py`: ours beside pydensecrf, a panel for each data and size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.crf_row import PEER, Row
from engines.atomic import write_bytes
from engines.failures import DeviceMissing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Key = tuple[Any, ...]

WIDTH_INCHES, PANEL_INCHES, LEGEND_INCHES, DPI = 8.0, 2.6, 0.8, 100  # 800 pixels wide
PEER_COLOUR = "#9aa0a6"
COLOURS = {  # light to dark with the number of threads
    "exact": ("#8ab8e6", "#1f6fb8", "#0d3f6e"),
    "fast": ("#f2bd7d", "#d9791a", "#8a4604"),
    "cuda-exact": ("#5aa469",),
    "cuda-fast": ("#2c6e3f",),
}


def require_matplotlib() -> None:
    """Before minutes of measuring, not after."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise DeviceMissing(
            "matplotlib is not installed, and --plot draws with it: pip install -e '.[export]'"
        ) from None


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG or SVG, as the file's name says."""
    from matplotlib.figure import Figure

    panels = grouped(rows, "data", "size", "classes")
    inches = (WIDTH_INCHES, PANEL_INCHES * len(panels) + LEGEND_INCHES)
    figure = Figure(inches, DPI, facecolor="white", layout="constrained")
    every = list(figure.subplots(len(panels), 1, squeeze=False)[:, 0])
    for axes, ((data, size, classes), members) in zip(every, panels.items(), strict=True):
        draw_panel(axes, members)
        kind = data.partition(":")[0]
        axes.set_title(f"{size}, {classes} classes ({kind})", loc="left", fontsize=10)
    handles, labels = legend(every)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9,
        title=f"On our bars: how many times as fast as {PEER}", title_fontsize=10,
    )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_bytes(path, picture.getvalue())


def grouped(rows: Sequence[Row], *names: str) -> dict[Key, list[Row]]:
    """Rows by some of their settings, in the order in which they come."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.settings[name] for name in names), []).append(row)
    return groups


def draw_panel(axes: Axes, rows: list[Row]) -> None:
    """A group of bars for each setting; how many times as fast ours are stands on them."""
    groups = list(grouped(rows, "setting").values())
    bars = max(map(len, groups)) + 1
    width = 0.92 / bars
    for place, group in enumerate(groups):
        left = place - 0.46 + width / 2
        bar(axes, left, width, group[0].peer_ms, PEER_COLOUR, PEER)
        for offset, row in enumerate(group, 1):
            at = left + offset * width
            label = f"ours, {row.name}, {row.threads} thread" + "s" * (row.threads > 1)
            bar(axes, at, width, row.ours_ms, colour(row, group), label)
            axes.text(at, row.ours_ms, f"{row.ratio:.1f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(groups)), [title(group[0]) for group in groups], fontsize=9)
    axes.set_ylabel("ms a frame", fontsize=9)
    axes.tick_params(axis="y", labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(-0.55, len(groups) - 0.45)
    axes.margins(y=0.1)


def bar(axes: Axes, at: float, width: float, height: float, shade: str, label: str) -> None:
    """One bar, with a gap to the next."""
    axes.bar(at, height, 0.92 * width, color=shade, label=label)


def colour(row: Row, group: list[Row]) -> str:
    """Of a mode, the darker the more threads."""
    threads = sorted(other.threads for other in group if other.name == row.name)
    shades = COLOURS[row.name]
    return shades[min(threads.index(row.threads), len(shades) - 1)]


def title(row: Row) -> str:
    """A setting's name and numbers."""
    s = row.settings
    weights = f"{s['w1']:g},{s['sigma_alpha']:g},{s['sigma_beta']:g}"
    return f"{s['setting']}\n{weights} | {s['w2']:g},{s['sigma_gamma']:g} | {s['iterations']} it."


def legend(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """Each kind of bar once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
