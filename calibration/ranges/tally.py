"""What one tensor did over all frames: its extremes frame by frame, then a histogram.

Everything in here is exact and does not depend on the order of the frames: extremes, sums by
`math.fsum`, integer counts. So every calibration method reads the same `Statistics`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]

BINS = 2048  # of magnitudes, for entropy: as in TensorRT
FINE = 8  # parts of each, for the other methods: a step of the narrowest INT8 grid has 8 of them
HALF = BINS * FINE
BLOCK = 1 << 16  # values counted at a time: they stay in the cache, and so does their copy

# A tensor that reaches less far is all zeros as far as INT8 is concerned; FP16 ends at 6e-8.
NOTHING = 1e-30


class Statistics:
    """`see` each frame's values, then `count` each frame's values; both in any order.

    `counts` [2 * HALF] has bins of `width` from -`reach` to `reach`, and zero at its middle edge.
    """

    def __init__(self) -> None:
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.counts = np.zeros(2 * HALF, np.int64)

    def see(self, values: NDArray[np.float32]) -> None:
        """Take in the extremes of one frame; not finite ones raise `ValueError`."""
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"the values span [{low}, {high}]")
        self.lows.append(low)
        self.highs.append(high)

    def count(self, values: NDArray[np.float32]) -> None:
        """Take in the values of one frame that was seen."""
        scale, middle = np.float32(1 / self.width), np.float32(HALF)
        flat = values.reshape(-1)
        for start in range(0, flat.size, BLOCK):
            places = (flat[start : start + BLOCK] * scale + middle).astype(np.uint16)
            counts = np.bincount(places, minlength=2 * HALF + 1)
            self.counts += counts[:-1]
            self.counts[-1] += counts[-1]  # the farthest value lies on the last edge

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(self.lows)

    @property
    def high(self) -> float:
        """The highest value."""
        return max(self.highs)

    @property
    def reach(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def width(self) -> float:
        """The width of a bin of `counts`."""
        return max(self.reach, NOTHING) / HALF

    @property
    def mean_extremes(self) -> Range:
        """The mean over the frames of each frame's lowest, and of its highest value."""
        return math.fsum(self.lows) / len(self.lows), math.fsum(self.highs) / len(self.highs)

    @property
    def magnitudes(self) -> NDArray[np.int64]:
        """Counts [HALF] of |value|, from 0 to `reach`."""
        folded: NDArray[np.int64] = self.counts[HALF:] + self.counts[:HALF][::-1]
        return folded

    def outside(self, span: Range) -> float:
        """The share of counted values in bins that lie outside a range; 0 if none was counted."""
        if span[0] <= self.low and self.high <= span[1]:
            return 0.0  # a constant's range is an edge, with its bin beside it
        edges = np.arange(-HALF, HALF + 1) * self.width
        beyond = (edges[1:] <= span[0]) | (edges[:-1] >= span[1])
        return float(self.counts[beyond].sum() / max(self.counts.sum(), 1))
