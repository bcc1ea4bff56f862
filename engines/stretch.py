"""The resize rule of `engines.preprocess`, FFmpeg's swscale, as weights that a GPU can apply.

swscale stretches RGB in YUV: pixels become luma and two colour differences of 14 bits, rows are
filtered, then columns, and the sums become RGB again. A frame that shrinks to half its width or
less has its colour differences taken from the means of pixel pairs. All of it is integer arithmetic
without dithering, the same on every processor; `engines.twins.fit_frame` does it, bit for bit.

The filter is a triangle two source pixels wide, or two output pixels where that is more, with
weights in 14 bits across and 12 down. Three of swscale's habits are part of the result: weights
that together stay below 0.2 % are cut off at either end, the number of weights is rounded up to a
multiple of 4 across and 2 down (x86 and NEON; weights that had been cut off come back), and each
weight is rounded with the error of those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.failures import UsageError

Integers = NDArray[np.int64]

ACROSS, DOWN = 1 << 14, 1 << 12  # what the weights of an output pixel add up to
ONE_PIXEL = 1 << 16  # positions are counted in 65536ths of a source pixel,
ONE_WEIGHT = 1 << 54  # weights before they are rounded in units of 2^-54,
FINEST = 1 << 30  # and distances from the middle of the triangle in 2^-30 of its half width
NEGLIGIBLE = 0.002
WIDEST = 256  # weights; swscale shrinks in two steps from there on


@dataclass(frozen=True)
class Filter:
    """For each of n outputs: `reach` neighbours from `first` on, and their weights."""

    first: Integers  # [n]
    weight: Integers  # [n, reach]

    @staticmethod
    def bilinear(size: int, source: int, unit: int, multiple: int) -> Filter:
        """From `source` pixels to `size`; weights add up to `unit`, their number is a multiple.

        Raises:
            UsageError: It shrinks by more than about 127 times.
        """
        step = (source * ONE_PIXEL + size // 2) // size
        one = ONE_WEIGHT >> min(max((source // size).bit_length() - 1, 0), 8)
        if abs(step - ONE_PIXEL) < 10:
            first, weight = np.arange(size), np.full((size, 1), one)
        else:
            first, weight = _trimmed(*_triangles(size, source, step, one), one, multiple)
        if weight.shape[1] >= WIDEST:
            raise UsageError(
                f"a frame of {source} pixels on a side is too large to become {size} in one step: "
                "use a smaller one"
            )
        first, weight = _inside(first, weight, source)
        return Filter(first, _rounded(weight, unit))

    @property
    def reach(self) -> int:
        """How many source pixels an output reads."""
        return int(self.weight.shape[1])

    def read(self, source: int) -> Integers:
        """The source pixels that each output reads, [n, reach]; those of weight 0 may repeat."""
        return np.asarray(np.minimum(self.first[:, None] + np.arange(self.reach), source - 1))


@dataclass(frozen=True)
class Stretch:
    """All that a frame of one size needs to become one of another."""

    luma: Filter
    chroma: Filter
    rows: Filter
    paired: bool  # colour differences are those of the means of pixels 2x and 2x + 1

    @staticmethod
    def of(size: tuple[int, int], source: tuple[int, int]) -> Stretch:
        """From `source` (height, width) to `size`."""
        paired = source[1] % 2 == 0 and size[1] <= source[1] // 2
        chroma = source[1] // 2 if paired else source[1]
        return Stretch(
            Filter.bilinear(size[1], source[1], ACROSS, 4),
            Filter.bilinear(size[1], chroma, ACROSS, 4),
            Filter.bilinear(size[0], source[0], DOWN, 2),
            paired,
        )


def _triangles(size: int, source: int, step: int, one: int) -> tuple[Integers, Integers]:
    """The first source pixel under each output's triangle, and the weights from there on."""
    count = 3 if step <= ONE_PIXEL else 1 + (2 * source + size - 1) // size
    count = max(min(count, source - 2), 1)
    middle = (2 * np.arange(size) + 1) * step - ONE_PIXEL  # in half steps: twice the position
    first = np.trunc((middle - (count - 2) * ONE_PIXEL) / (2 * ONE_PIXEL)).astype(np.int64)
    pixel = (first[:, None] + np.arange(count)) * (2 * ONE_PIXEL)
    distance = np.abs(pixel - middle[:, None]) * (FINEST // (2 * ONE_PIXEL))
    if step > ONE_PIXEL:
        distance = distance * size // source
    return first, np.maximum(FINEST - distance, 0) * (one // FINEST)


def _trimmed(
    first: Integers, weight: Integers, one: int, multiple: int
) -> tuple[Integers, Integers]:
    """Without negligible weights at the ends, as far as `first` never falls from left to right."""
    size, count = weight.shape
    head = (weight.cumsum(axis=1) <= NEGLIGIBLE * one).sum(axis=1)
    for i in range(size - 2, -1, -1):
        head[i] = min(head[i], max(0, first[i + 1] + head[i + 1] - first[i]))
    places = head[:, None] + np.arange(count)
    moved = np.take_along_axis(np.pad(weight, ((0, 0), (0, count))), places, axis=1)
    tail = (moved[:, :0:-1].cumsum(axis=1) <= NEGLIGIBLE * one).sum(axis=1)
    needed = int(count - tail.min())
    reach = needed if needed == 1 and multiple == 2 else -(-needed // multiple) * multiple
    return first + head, np.pad(moved, ((0, 0), (0, multiple)))[:, :reach]


def _inside(first: Integers, weight: Integers, source: int) -> tuple[Integers, Integers]:
    """What would be read beyond an end is read from the last pixel there."""
    reach = weight.shape[1]
    start = np.clip(first, 0, max(source - reach, 0))
    read = np.clip(first[:, None] + np.arange(reach), 0, source - 1) - start[:, None]
    result = np.zeros_like(weight)
    np.add.at(result, (np.arange(len(first))[:, None], read), weight)
    return start, result


def _rounded(weight: Integers, unit: int) -> Integers:
    """Weights that add up to `unit`, each rounded together with the error of those before it."""
    total = (weight.sum(axis=1) + unit // 2) // unit
    result, error = np.empty_like(weight), np.zeros_like(total)
    for place in range(weight.shape[1]):
        wanted = weight[:, place] + error
        result[:, place] = np.sign(wanted) * ((np.abs(wanted) + (total >> 1)) // total)
        error = wanted - result[:, place] * total
    return result
