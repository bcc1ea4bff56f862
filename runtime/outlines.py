"""Outlines of regions that are given as runs: traced along pixel sides, then simplified."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.intp]
Floats = NDArray[np.float64]
Corners = NDArray[np.intp]  # [N, 2]: x, y


@dataclass(frozen=True)
class Runs:
    """Stretches of one class within a row of a frame, row by row from the left; each array [R].

    A run covers the pixels `left` to `right - 1` of its row.
    """

    row: Integers
    left: Integers
    right: Integers
    width: int  # of the frame

    def only(self, kept: Integers) -> Runs:
        """Some of the runs, in the same order."""
        return Runs(self.row[kept], self.left[kept], self.right[kept], self.width)


def outlines(runs: Runs, region: Integers, firsts: Integers) -> tuple[Corners, Integers]:
    """The outer outline of every region, clockwise from the left end of its topmost row.

    Args:
        runs: All runs of the regions.
        region: Which region, 0 to K - 1, each run belongs to.
        firsts: The first run of each region.

    Returns:
        The corners of all outlines, one after the other, and where each begins: [K + 1].
    """
    x = np.concatenate((runs.left, runs.right))  # of the sides: all left ones, then all right ones
    follower = _followers(runs, region, x).tolist()
    walked: list[int] = []
    offsets = [0]
    for first in firsts.tolist():
        side = first
        while True:
            walked.append(side)
            side = follower[side]
            if side == first:
                break
        offsets.append(len(walked))
    return _corners(runs, x, np.array(walked), np.array(offsets))


def _followers(runs: Runs, region: Integers, x: Integers) -> Integers:
    """For each upright side of a run, the one that comes next on its way around the region.

    Clockwise, left sides lead up and right sides down. Along the line between two rows the outline
    runs wherever exactly one of the rows is inside the region; so, sorted by x, the ends of sides
    that meet the line belong together in pairs. Where four meet in one point, two pixels of the
    region touch with their corners alone; the right side comes first there, which keeps the
    outline at its own pixel.
    """
    sides = len(x)
    is_left = np.repeat((1, 0), len(runs.row))
    line = np.tile(region * (int(runs.row.max()) + 2) + runs.row, 2)
    place = x * 2 + is_left
    span = 2 * (runs.width + 1)
    order = np.argsort(np.append(line * span + place, (line + 1) * span + place))
    partner = np.empty(2 * sides, np.intp)  # of the upper ends of all sides, then the lower ends
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return np.asarray(partner[np.arange(sides) + sides * (1 - is_left)] % sides)


def _corners(
    runs: Runs, x: Integers, walked: Integers, offsets: Integers
) -> tuple[Corners, Integers]:
    """The points where outlines turn, given the sides that each passes."""
    count = len(runs.row)
    after = np.arange(1, len(walked) + 1)
    after[offsets[1:] - 1] = offsets[:-1]
    before, behind = x[walked], x[walked[after]]
    turns = before != behind
    y = runs.row[walked % count] + (walked >= count)  # where each side ends
    corners = np.empty((2 * int(turns.sum()), 2), np.intp)
    corners[0::2, 0], corners[1::2, 0] = before[turns], behind[turns]
    corners[:, 1] = np.repeat(y[turns], 2)
    return corners, 2 * np.append(0, np.cumsum(turns))[offsets]


def simplify(rings: Corners, offsets: Integers, tolerance: float) -> list[Corners]:
    """Douglas and Peucker's polygons: the corners left out are within `tolerance` pixels of them.

    Each polygon keeps the box of its ring. All rings are split at the same time, which costs a few
    array operations for each depth instead of each split.

    Args:
        rings: Corners of rings, clockwise from the left end of the top, one after the other.
        offsets: Where each ring begins, and the end: [K + 1].
        tolerance: In pixels.
    """
    closed = np.insert(rings, offsets[1:], rings[offsets[:-1]], axis=0)
    x, y = closed.T.astype(np.float64)  # all below stays a whole number under 2^53, up to 8K video
    offsets = offsets + np.arange(len(offsets))
    anchors = _anchors(x, y, offsets)
    kept = np.zeros(len(closed), np.bool_)
    kept[anchors] = True
    low, high = anchors[:-1], anchors[1:]
    while low.size:
        low, middle, high = _split(x, y, low, high, tolerance)
        kept[middle] = True
        low, high = np.append(low, middle), np.append(middle, high)
    kept[offsets[1:] - 1] = False  # the end of a closed ring is its beginning
    return np.split(closed[kept], np.cumsum(np.add.reduceat(kept, offsets[:-1]))[:-1])


def _anchors(x: Floats, y: Floats, offsets: Integers) -> Integers:
    """Corners that stay: both ends of each ring, and one on the right, lower and left of its box.

    At least three of them differ: the first on the right is above the first at the bottom.
    """
    begins, sizes = offsets[:-1], np.diff(offsets)
    place = np.arange(len(x))
    on_right = x == np.repeat(np.maximum.reduceat(x, begins), sizes)
    at_bottom = y == np.repeat(np.maximum.reduceat(y, begins), sizes)
    on_left = x == np.repeat(np.minimum.reduceat(x, begins), sizes)
    on_left[begins] = on_left[offsets[1:] - 1] = False
    right = np.minimum.reduceat(np.where(on_right, place, len(place)), begins)
    bottom = np.minimum.reduceat(np.where(at_bottom, place, len(place)), begins)
    left = np.maximum.reduceat(np.where(on_left, place, -1), begins)
    return np.unique(np.concatenate((begins, right, bottom, left, offsets[1:] - 1)))


def _split(
    x: Floats, y: Floats, low: Integers, high: Integers, tolerance: float
) -> tuple[Integers, Integers, Integers]:
    """The segments, by their end points, that pass a corner between these by more than
    `tolerance`, and the first of the farthest such corners of each."""
    long = high - low > 1
    low, high = low[long], high[long]
    if not low.size:
        return low, low, high
    inner = high - low - 1
    begins = np.cumsum(inner) - inner
    place = np.arange(inner.sum()) + np.repeat(low + 1 - begins, inner)
    scaled, scale = _squared_distances(x, y, place, inner, low, high)
    farthest = np.maximum.reduceat(scaled, begins)
    split = farthest > tolerance**2 * scale
    first = np.flatnonzero(scaled == np.repeat(farthest, inner))
    middle = place[first[np.searchsorted(first, begins[split])]]
    return low[split], middle, high[split]


def _squared_distances(
    x: Floats, y: Floats, place: Integers, inner: Integers, low: Integers, high: Integers
) -> tuple[Floats, Floats]:
    """From each corner, at `place`, to its segment, times a scale of the segment that makes all
    of them whole numbers, so that equal distances are equal; and this scale.

    `inner` is how many corners each segment, from `low` to `high`, has.
    """
    ahead_x, ahead_y = x[high] - x[low], y[high] - y[low]
    square = ahead_x**2 + ahead_y**2
    ahead_x[square == 0] = 1  # an outline may come back to a point: then any direction will do
    scale = np.maximum(square, 1)
    aside_x, aside_y = x[place] - np.repeat(x[low], inner), y[place] - np.repeat(y[low], inner)
    ahead_x, ahead_y = np.repeat(ahead_x, inner), np.repeat(ahead_y, inner)
    along = aside_x * ahead_x + aside_y * ahead_y
    beyond = along - np.minimum(np.maximum(along, 0), np.repeat(square, inner))
    across = aside_x * ahead_y - aside_y * ahead_x
    return across * across + beyond * beyond, scale
