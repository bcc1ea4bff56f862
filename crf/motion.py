"""Where each cell of a small picture was one frame ago: block matching on the logits' grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REACH = 2  # cells; at stride 4, 8 pixels a frame
STEPS = tuple(  # (down, right) of a candidate: none first, so that it wins a tie
    sorted(
        ((y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)),
        key=lambda step: (abs(step[0]) + abs(step[1]), step),
    )
)
_DOWN, _RIGHT = np.array(STEPS, np.intp).T
CODE = 32  # costs are multiples of it, so that the rest of a uint16 holds the candidate's number
STAY = 4 * CODE  # what a motion must gain: 0.9 grey levels a cell, as noise alone gains some

Picture = NDArray[np.uint8]  # [3, h, w] RGB planes
Indices = NDArray[np.intp]


def sources(before: Picture, after: Picture) -> Indices:
    """For each cell of `after` the flat index of the cell of `before` that looks most like it.

    The cost of a candidate, at most `REACH` cells away in each direction, is the sum over 3x3 cells
    of |difference| of the lumas; beyond the border, the border is repeated.

    Returns:
        intp [h, w], values 0..h*w-1.
    """
    height, width = after.shape[1:]
    best = _best_steps(_luma(before, REACH + 1), _luma(after, 1))
    rows, columns = np.take(_DOWN, best), np.take(_RIGHT, best)
    rows += np.arange(height)[:, None]
    columns += np.arange(width)
    np.clip(rows, 0, height - 1, out=rows)
    np.clip(columns, 0, width - 1, out=columns)
    rows *= width
    rows += columns
    return rows


def _luma(picture: Picture, border: int) -> NDArray[np.uint16]:
    """(R + 2G + B) / 8 times `CODE`, with its border repeated: nine of 127 * 32 fit 16 bits."""
    luma = picture[1].astype(np.uint16)
    luma *= 2
    luma += picture[0]
    luma += picture[2]
    luma >>= 3
    luma *= CODE
    return np.pad(luma, border, mode="edge")


def _best_steps(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The number in `STEPS` of each cell's cheapest candidate, [h, w].

    Nine NumPy calls per candidate, all in place: at 90x120 a call takes about as long to start as
    to run.
    """
    height, width = after.shape  # with one cell of border
    difference, low = np.empty_like(after), np.empty_like(after)
    rows = np.empty((height - 2, width), np.uint16)
    cost = np.empty((height - 2, width - 2), np.uint16)
    best = np.full_like(cost, np.iinfo(np.uint16).max)
    for number, (down, right) in enumerate(STEPS):
        top, left = REACH + down, REACH + right
        there = before[top : top + height, left : left + width]
        np.maximum(after, there, out=difference)
        np.minimum(after, there, out=low)
        difference -= low
        np.add(difference[:-2], difference[1:-1], out=rows)
        rows += difference[2:]
        np.add(rows[:, :-2], rows[:, 1:-1], out=cost)
        cost += rows[:, 2:]
        cost += number + (STAY if number else 0)
        np.minimum(best, cost, out=best)
    best %= CODE
    return best
