"""What a tensor is off by against its reference: sums over frames, a few numbers per channel.

Two questions have different answers. How large is the difference: signal over noise, cosine, the
largest one, and that at the border alone. And what kind of difference is it: rounding does not
follow the signal, a wrong weight does. So the difference is regressed on the reference, channel by
channel with an intercept that takes up biases; the pooled slope is 0 for rounding (0.002 at most in
the bundled model's INT8 layers) and 0.05 for weights that are 5 % too large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.sqnr import decibel

Floats = NDArray[np.float32]
Ring = tuple[int, int, int, int]  # rows above, columns left, rows below, columns right
NO_RING: Ring = (0, 0, 0, 0)


@dataclass(frozen=True)
class Error:
    """A layer's difference over all frames; None where it cannot be told.

    `sqnr_db` is at most 150, None where values were not finite; `slope` is described above;
    `max_abs` is absolute, `range` the reference's largest minus smallest value. `border_db` is over
    the positions that read padding, None where there are none.
    """

    sqnr_db: float | None
    cosine: float | None
    max_abs: float | None
    range: float
    slope: float | None
    border_db: float | None
    finite: bool


class Difference:
    """Sums up pairs of tensors [C, h, w] of one shape; memory does not grow with their number."""

    def __init__(self, ring: Ring = NO_RING) -> None:
        self.ring = ring
        self._sums: NDArray[np.float64] | float = 0.0  # [5, C]: x, e, xx, xe, ee
        self._border = np.zeros(2)  # xx, ee
        self.count = 0  # positions of a channel, over all pairs
        self._low, self._high, self._max = math.inf, -math.inf, 0.0

    def add(self, reference: Floats, found: Floats) -> None:
        """Count one more pair."""
        error = found - reference
        x, e = (array.reshape(len(array), -1) for array in (reference, error))
        sums = (x.sum(1), e.sum(1), dots(x, x), dots(x, e), dots(e, e))
        self._sums = self._sums + np.array(sums, np.float64)
        self.count += x.shape[1]
        self._low = min(self._low, float(x.min()))
        self._high = max(self._high, float(x.max()))
        # np.maximum keeps a NaN, max() would lose it.
        self._max = float(np.maximum(self._max, np.maximum(e.max(), -e.min())))
        for part in strips(reference.shape[1:], self.ring):
            for index, array in enumerate((reference, error)):
                values = array[:, part[0], part[1]]
                self._border[index] += float(np.vdot(values, values))

    @property
    def error(self) -> Error:
        """The difference over all pairs so far."""
        if not self.count:
            raise ValueError("nothing was compared")
        x, e, xx, xe, ee = np.asarray(self._sums)
        signal, noise = float(xx.sum()), float(ee.sum())
        if not (math.isfinite(signal) and math.isfinite(noise)):
            return Error(None, None, None, self._high - self._low, None, None, finite=False)
        variance = float((xx - x * x / self.count).sum())
        covariance = float((xe - x * e / self.count).sum())
        other = signal + 2 * float(xe.sum()) + noise
        return Error(
            sqnr_db=decibel(signal, noise),
            cosine=cosine(signal, signal + float(xe.sum()), other),
            max_abs=self._max,
            range=self._high - self._low,
            # Below a part in a million of the signal there is nothing to tell a slope from.
            slope=covariance / variance if variance > 1e-6 * signal else None,
            border_db=decibel(*self._border.tolist()) if self._border[0] else None,
            finite=True,
        )


def dots(a: Floats, b: Floats) -> Floats:
    """Row by row products [C, n] and [C, n] -> [C], by BLAS: a third of einsum's time."""
    products: Floats = np.matmul(a[:, None, :], b[:, :, None])[:, 0, 0]
    return products


def cosine(own: float, product: float, other: float) -> float | None:
    """The cosine between two tensors of these squared lengths and this inner product."""
    length = math.sqrt(own * other) if own > 0 and other > 0 else 0.0
    return max(-1.0, min(1.0, product / length)) if length else None


def strips(size: tuple[int, ...], ring: Ring) -> list[tuple[slice, slice]]:
    """The ring of a map [h, w] as slices that do not overlap; empty ones are left out."""
    height, width = size
    top, left = min(ring[0], height), min(ring[1], width)
    bottom, right = max(height - ring[2], top), max(width - ring[3], left)
    every = slice(0, width)
    parts = [
        (slice(0, top), every),
        (slice(bottom, height), every),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    ]
    return [part for part in parts if all(piece.stop > piece.start for piece in part)]


def ring_share(size: tuple[int, ...], ring: Ring) -> float:
    """The share of a map's positions that lie in its ring."""
    area = sum(len(range(size[0])[r]) * len(range(size[1])[c]) for r, c in strips(size, ring))
    return area / (size[0] * size[1])
