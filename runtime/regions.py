"""Connected regions of one class in a label map: how large, where, and their outlines.

Pixels belong together if they share a side and a class (4-connectivity). The work is done on runs,
the stretches of one class within a row, of which a frame has thousands where it has half a million
pixels: 3 core-ms for 480x360 and 5 for 960x540 with polygons; OpenCV, class by class, takes 13 and
45 (benchmarks/sinks.py, on a busy machine).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.outlines import Corners, Runs, outlines, simplify

Integers = NDArray[np.intp]
IGNORED = 255  # the label of no class
NO_POLYGON: Corners = np.empty((0, 2), np.intp)

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two are outside


@dataclass(frozen=True)
class Region:
    """One connected region.

    `area` counts its pixels. `box` and `polygon` are in pixels from the frame's upper left corner.
    `polygon` [N, 2] are the x, y of the corners of its outer outline, clockwise, N >= 3; holes are
    filled. Every pixel corner of the exact outline is within the tolerance of it. N is 0 where no
    polygons were wanted.
    """

    label: int
    area: int
    box: Box
    polygon: Corners


def find_regions(
    labels: NDArray[np.uint8], smallest: int = 1, tolerance: float | None = 0.0
) -> list[Region]:
    """The regions of `labels` [H, W], largest first; equally large ones from the top down.

    Args:
        labels: Classes; 255 is none.
        smallest: Area in pixels below which a region is left out.
        tolerance: How far, in pixels, a polygon may be from the exact outline (0: exact); None: no
            polygons, which take two thirds of the time.
    """
    runs, values = _runs(labels)
    roots = _roots(*_touching(runs, values, labels.shape[0]))
    areas = np.bincount(roots, runs.right - runs.left, len(roots)).astype(np.intp)
    wanted = (areas >= max(1, smallest)) & (values != IGNORED)
    kept = np.flatnonzero(wanted[roots])
    if not kept.size:
        return []
    runs, roots = runs.only(kept), roots[kept]
    firsts = np.flatnonzero(roots == kept)  # a region's root is its first run
    region = np.searchsorted(kept[firsts], roots)
    boxes = _boxes(runs, region, firsts)
    polygons = [NO_POLYGON] * len(firsts)
    if tolerance is not None:
        polygons = simplify(*outlines(runs, region, firsts), tolerance)
    found = zip(values[kept[firsts]], areas[kept[firsts]], boxes, polygons, strict=True)
    regions = [Region(int(v), int(a), _box(b), polygon) for v, a, b, polygon in found]
    return sorted(regions, key=lambda region: -region.area)


def class_areas(labels: NDArray[np.uint8], classes: int) -> Integers:
    """How many pixels of `labels` [H, W] have each of `classes` labels: [C].

    By runs: counting half a million pixels one by one takes NumPy four times as long.
    """
    runs, values = _runs(labels)
    counts = np.bincount(values, runs.right - runs.left, classes)[:classes]
    return np.asarray(counts.astype(np.intp))


def _runs(labels: NDArray[np.uint8]) -> tuple[Runs, NDArray[np.uint8]]:
    """The runs of each row, row by row from the left, and their labels."""
    height, width = labels.shape
    begins = np.ones((height, width), np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    row, left = np.divmod(start, width)
    right = np.append(start[1:], height * width) - row * width
    return Runs(row, left, right, width), labels[row, left]


def _touching(runs: Runs, values: NDArray[np.uint8], height: int) -> tuple[int, Integers, Integers]:
    """The number of runs, and pairs of runs that share a side and a class.

    Where two runs of neighbouring rows overlap, the overlap begins where one of them does: so the
    runs above and below the first pixel of every run are all there is to look at.
    """
    start = runs.row * runs.width + runs.left
    ends = []
    for step, inside in ((-runs.width, runs.row > 0), (runs.width, runs.row < height - 1)):
        one = np.flatnonzero(inside)
        other = np.searchsorted(start, start[one] + step, side="right") - 1
        same = values[one] == values[other]
        ends.append((one[same], other[same]))
    (one, above), (two, below) = ends
    return len(start), np.concatenate((one, two)), np.concatenate((above, below))


def _roots(count: int, one: Integers, other: Integers) -> Integers:
    """For each of `count` runs the first run of its region, given the pairs that touch.

    Union-find for whole arrays: every root joins the lowest one it touches, then all paths are
    made short, until every pair has one root. A street takes 4 to 6 rounds.
    """
    parent = np.arange(count)
    while True:
        first, second = parent[one], parent[other]
        apart = first != second
        if not apart.any():
            return parent
        one, other, first, second = one[apart], other[apart], first[apart], second[apart]
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(parent, shorter := parent[parent]):
            parent = shorter


def _boxes(runs: Runs, region: Integers, firsts: Integers) -> Integers:
    """Left, top, right, bottom of each region: [K, 4]."""
    left, top, right = runs.left[firsts], runs.row[firsts], runs.right[firsts]
    bottom = top + 1
    np.minimum.at(left, region, runs.left)
    np.maximum.at(right, region, runs.right)
    np.maximum.at(bottom, region, runs.row + 1)
    return np.stack((left, top, right, bottom), axis=1)


def _box(values: Integers) -> Box:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom
