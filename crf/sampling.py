"""Which points of a frame the CRF is inferred at: all pixels, or fewer where the network is sure.

The twin of crf/native/sampling.h. In the fast mode a block of 8x8 pixels is settled where the
network is sure of one class: it keeps that label, and is one sample of its mean colour and
position, which its neighbours see as evidence. A block that is not is cut into four, down to 2x2,
and what is not settled then gives its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.spec import CrfParams
from engines.twins import taps, upsample

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

LARGEST, SMALLEST = 8, 2  # sides of the blocks that can be settled, in pixels
UNSURE = 255


@dataclass(frozen=True)
class Samples:
    """Squares of pixels, less what lies beyond the frame; the first `updated` are single pixels."""

    top: Indices  # [S]
    left: Indices  # [S]
    side: Indices  # [S]
    updated: int
    size: tuple[int, int]

    @property
    def bottom(self) -> Indices:
        """The row after each one's last."""
        return np.asarray(np.minimum(self.top + self.side, self.size[0]))

    @property
    def right(self) -> Indices:
        """The column after each one's last."""
        return np.asarray(np.minimum(self.left + self.side, self.size[1]))

    @property
    def mass(self) -> Floats:
        """How many pixels each stands for."""
        return np.asarray((self.bottom - self.top) * (self.right - self.left), np.float32)

    @property
    def positions(self) -> Floats:
        """Mean x and y of each, [S, 2]."""
        doubled = [self.left + self.right - 1, self.top + self.bottom - 1]
        return np.stack(doubled, axis=1).astype(np.float32) / np.float32(2)

    @property
    def middles(self) -> tuple[Indices, Indices]:
        """Row and column of the pixel whose logits speak for each."""
        row, column = self.top + self.side // 2, self.left + self.side // 2
        return np.minimum(row, self.size[0] - 1), np.minimum(column, self.size[1] - 1)

    def colours(self, frame: NDArray[np.uint8]) -> Floats:
        """Mean colour of each, [S, 3]."""
        sums = (
            np.pad(frame.astype(np.int64), ((1, 0), (1, 0), (0, 0))).cumsum(axis=0).cumsum(axis=1)
        )
        total = sums[self.bottom, self.right] - sums[self.top, self.right]
        total -= sums[self.bottom, self.left] - sums[self.top, self.left]
        return np.asarray(total.astype(np.float32) / self.mass[:, None])


def all_pixels(size: tuple[int, int]) -> Samples:
    """Every pixel, row by row."""
    top, left = np.indices(size).reshape(2, -1)
    return Samples(top, left, np.ones_like(top), len(top), size)


def margin(params: CrfParams) -> float:
    """How far ahead of all others a class's logit must be for the fast mode to trust it.

    Half the most that the kernels can change (a message is at most about 1 per weight), and where
    they are strong, a probability e³ = 20 times any other's.
    """
    return min((abs(params.w1) + abs(params.w2)) / 2, 3.0) * params.temperature


def unsettled(logits: Floats, size: tuple[int, int], params: CrfParams) -> Samples:
    """The fast mode's samples for finite logits [C, h, w] and frames of `size`."""
    lead = margin(params)
    points, pixels = _sure_winners(logits, lead), _sure_winners(upsample(logits, size), lead)
    squares = np.array(list(_divide(LARGEST, (0, 0), size, points, pixels))).reshape(-1, 3)
    order = np.argsort(squares[:, 2] > 1, kind="stable")
    top, left, side = squares[order].T
    return Samples(top, left, side, int((side == 1).sum()), size)


def _sure_winners(logits: Floats, lead: float) -> NDArray[np.uint8]:
    """The winning class where every other is behind by `lead` or more, else UNSURE."""
    rivals = (logits > logits.max(axis=0) - np.float32(lead)).sum(axis=0)
    return np.where(rivals > 1, UNSURE, logits.argmax(axis=0)).astype(np.uint8)


def _divide(
    side: int,
    corner: tuple[int, int],
    end: tuple[int, int],
    points: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
) -> Iterator[tuple[int, int, int]]:
    """Top, left and side of the squares that cover the box from `corner` to before `end`."""
    for top in range(corner[0], end[0], side):
        for left in range(corner[1], end[1], side):
            bottom, right = min(top + side, end[0]), min(left + side, end[1])
            if side == 1 or _settled(side, (top, bottom), (left, right), points, pixels):
                yield top, left, side
            else:
                smaller = side // 2 if side > SMALLEST else 1
                yield from _divide(smaller, (top, left), (bottom, right), points, pixels)


def _settled(
    side: int,
    rows: tuple[int, int],
    columns: tuple[int, int],
    points: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
) -> bool:
    """Large blocks by the points of the map that they read, the smallest ones pixel by pixel."""
    if side > SMALLEST:
        ys = taps(pixels.shape[0], points.shape[0])
        xs = taps(pixels.shape[1], points.shape[1])
        read = points[
            ys[0][rows[0]] : ys[1][rows[1] - 1] + 1,
            xs[0][columns[0]] : xs[1][columns[1] - 1] + 1,
        ]
    else:
        read = pixels[slice(*rows), slice(*columns)]
    return bool(read[0, 0] != UNSURE and (read == read[0, 0]).all())
