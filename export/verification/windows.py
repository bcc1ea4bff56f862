"""The explicit-loop oracle on windows of a layer's result: all four corners and the middle.

Borders are where padding and rates go wrong, so corners come first. Windows of 16 positions a side
cover a whole map of 23x30, as ASPP's at 480x360 is; of larger maps they are a sample, as the loop
takes 15 microseconds per position and tap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.atrous_oracle import Padding, atrous_convolution, effective_kernel
from export.verification.difference import Floats

SIDE = 16
Limits = tuple[float, float]  # of the activation fused to a layer: (0, 6) for ReLU6


@dataclass(frozen=True)
class Convolution:
    """A convolution that `features` [C, H, W] go into, with the batch norm after it folded in."""

    features: Floats
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    rate: int
    stride: int
    padding: Padding
    groups: int


def largest_difference(made: Convolution, limits: Limits, found: Floats) -> tuple[float, int]:
    """`found` [C, h, w] against the loop: the largest difference, and at how many positions.

    A NaN in `found` makes the difference NaN.
    """
    worst = 0.0
    seen = np.zeros(found.shape[1:], bool)
    for rows, columns in windows(found.shape[1:]):
        expected = np.clip(on_window(made, rows, columns), *limits)
        error = np.abs(expected - found[:, rows.start : rows.stop, columns.start : columns.stop])
        worst = float(np.maximum(worst, error.max()))
        seen[rows.start : rows.stop, columns.start : columns.stop] = True
    return worst, int(seen.sum())


def windows(size: tuple[int, ...]) -> Iterator[tuple[range, range]]:
    """Rows and columns of the four corners and the middle of a map; each window once."""
    rows, columns = (
        dict.fromkeys(
            (max(min(start, length - SIDE), 0), min(max(start, 0) + SIDE, length))
            for start in (0, length - SIDE)
        )
        for length in size
    )
    for top, bottom in rows:
        for left, right in columns:
            yield range(top, bottom), range(left, right)
    if any(length > 2 * SIDE for length in size):
        middle = [max((length - SIDE) // 2, 0) for length in size]
        ends = [min(start + SIDE, length) for start, length in zip(middle, size, strict=True)]
        yield range(middle[0], ends[0]), range(middle[1], ends[1])


def on_window(made: Convolution, rows: range, columns: range) -> NDArray[np.float64]:
    """The loop's result [C, rows, columns], before the activation.

    Only what the window reads is given to the loop; what of it lies outside the map is padding.
    """
    cut, padding = [], []
    for axis, wanted in enumerate((rows, columns)):
        span = effective_kernel(made.weight.shape[2 + axis], made.rate)
        first = wanted.start * made.stride - made.padding[axis]
        end = (wanted.stop - 1) * made.stride - made.padding[axis] + span
        size = made.features.shape[1 + axis]
        inside = min(max(first, 0), size), min(max(end, 0), size)
        cut.append(slice(*inside))
        padding.append((inside[0] - first, end - inside[1]))
    above, below = padding[0]
    left, right = padding[1]
    result: NDArray[np.float64] = atrous_convolution(
        made.features[None, :, cut[0], cut[1]],
        made.weight,
        made.bias,
        rate=made.rate,
        stride=made.stride,
        padding=(above, left, below, right),
        groups=made.groups,
    )[0]
    return result
