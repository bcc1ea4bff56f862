"""Gaussian filtering in d dimensions on the permutohedral lattice (Adams, Baek and Davis 2010).

The exact arithmetic is that of Krähenbühl and Koltun's DenseCRF code, which pydensecrf wraps:
embedding in float32, blur taps 1/2, 1, 1/2 (twice the paper's: a constant factor, which the CRF's
normalisation cancels), and no vertex beyond those that a point touches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.failures import UsageError

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

REACH = 2**15  # DenseCRF keeps coordinates in 16 bits and wraps around beyond; here that is refused


class Lattice:
    """The lattice of N points: `filter` computes K v, K_ij ~ exp(-|f_i - f_j|² / 2) up to scale.

    Args:
        features: float32 [N, d], each axis divided by its standard deviation.

    Raises:
        UsageError: The features spread over more lattice steps than can be told apart.
    """

    def __init__(self, features: Floats) -> None:
        self._points, dimensions = features.shape
        simplex = _embed(features)
        keys, steps = _pack(simplex)
        vertices, corners = np.unique(keys, return_inverse=True)
        self._corners: Indices = corners.reshape(keys.shape)  # NumPy 1.26 returns it flat
        self._weights = simplex.weights
        self._neighbours = _neighbours(vertices, steps)
        self._alpha = np.float32(1 / (1 + 2.0**-dimensions))
        self.size = len(vertices)

    def filter(self, values: Floats) -> Floats:
        """Splat, blur along each of the d + 1 axes, slice: float32 [N, C] -> [N, C].

        Fastest when `values` is the transpose of a contiguous [C, N].
        """
        return self._slice(self._blur(self._splat(values)))

    def _splat(self, values: Floats) -> Floats:
        """Point values to vertex values [M + 1, C]; the last row is the zero of absent neighbours.

        One bincount per channel: 2x as fast as np.add.reduceat over points sorted by vertex, 4x as
        np.add.at (480x360x11), and its sums are float64.
        """
        result = np.zeros((self.size + 1, values.shape[1]), np.float32)
        corners = self._corners.ravel()
        for channel, column in zip(result.T, values.T, strict=True):
            shares = (self._weights * column).ravel()
            channel[:-1] = np.bincount(corners, shares, minlength=self.size)
        return result

    def _blur(self, values: Floats) -> Floats:
        """v + (the vertex before + the one after) / 2, axis by axis."""
        for before, after in self._neighbours:
            blurred = np.zeros_like(values)
            inside = blurred[:-1]
            np.add(np.take(values, before, axis=0), np.take(values, after, axis=0), out=inside)
            inside *= np.float32(0.5)
            inside += values[:-1]
            values = blurred
        return values

    def _slice(self, values: Floats) -> Floats:
        """Vertex values to point values; np.take gathers rows 2x as fast as indexing does."""
        result = np.zeros((self._points, values.shape[1]), np.float32)
        for corner, weight in zip(self._corners, self._weights, strict=True):
            part = np.take(values, corner, axis=0)
            part *= weight[:, None]
            result += part
        result *= self._alpha
        return result


@dataclass(frozen=True)
class _Simplex:
    """The lattice simplex around each point.

    origin: int64 [d, N], coordinates of its vertex of remainder 0 (the d+1st is implied: sum 0).
    rank: int64 [d + 1, N], place of each coordinate of (point - origin) in descending order.
    weights: float32 [d + 1, N], barycentric weight of the vertex of each remainder.
    """

    origin: NDArray[np.int64]
    rank: NDArray[np.int64]
    weights: Floats


def _embed(features: Floats) -> _Simplex:
    """Find each point's simplex (Adams et al. 2010, section 3.2)."""
    dimensions = features.shape[1]
    steps = dimensions + 1
    elevated = _elevate(features)
    if not np.abs(elevated).max() < REACH:  # NaN included: a sigma of 0 in float32
        raise UsageError(too_fine(f"coordinates beyond {REACH} lattice steps"))
    share = np.float32(1) / np.float32(steps)
    nearest = np.rint(elevated * share)
    rank = _descending_rank(elevated - nearest * steps)
    rank += nearest.sum(axis=0, dtype=np.int64)  # not 0: off the lattice's plane, bring it back
    wrap = np.where(rank < 0, steps, 0) - np.where(rank > dimensions, steps, 0)
    rank += wrap
    origin = nearest.astype(np.int64) * steps + wrap
    remainder = (elevated - origin.astype(np.float32)) * share
    by_rank = np.empty_like(remainder)
    np.put_along_axis(by_rank, rank, remainder, axis=0)
    first = by_rank[-1:] + (1 - by_rank[:1])
    weights = np.concatenate([first, -np.diff(by_rank, axis=0)[::-1]])
    return _Simplex(origin[:dimensions], rank, weights)


def _elevate(features: Floats) -> Floats:
    """Scale and rotate [N, d] into the plane of [d + 1, N] whose coordinates sum to 0."""
    points, dimensions = features.shape
    axis = np.arange(1, dimensions + 1)
    deviation = np.float32(np.sqrt(2 / 3) * (dimensions + 1))  # of splat, blur and slice together
    scale = (1 / np.sqrt(axis * (axis + 1)) * deviation).astype(np.float32)
    scaled = np.ascontiguousarray((features * scale).T)
    elevated = np.empty((dimensions + 1, points), np.float32)
    running = np.zeros(points, np.float32)  # the sum of the axes after this one, in this order
    for axis_index in range(dimensions, 0, -1):
        elevated[axis_index] = running - np.float32(axis_index) * scaled[axis_index - 1]
        running += scaled[axis_index - 1]
    elevated[0] = running
    return elevated


def _descending_rank(values: Floats) -> NDArray[np.int64]:
    """How many coordinates are greater, [d + 1, N]; of equal ones the earlier ranks first."""
    rank = np.zeros(values.shape, np.int64)
    for first in range(len(values) - 1):
        smaller = values[first] < values[first + 1 :]
        rank[first] += smaller.sum(axis=0)
        rank[first + 1 :] += ~smaller
    return rank


def _pack(simplex: _Simplex) -> tuple[NDArray[np.int64], list[int]]:
    """Each vertex's d coordinates as one integer: keys [d + 1, N], and the step of each axis.

    The fields leave room for neighbours, so the neighbour of a key on axis j is key ± steps[j].
    """
    dimensions, points = simplex.origin.shape
    remainder, place = np.indices((dimensions + 1, dimensions + 1))
    canonical = remainder - (dimensions + 1) * (place > dimensions - remainder)
    keys = np.zeros((dimensions + 1, points), np.int64)
    strides, stride = [], 1
    for origin, rank in zip(simplex.origin, simplex.rank[:-1], strict=True):
        coordinates = origin + canonical[:, rank]
        low = int(coordinates.min()) - dimensions
        span = int(coordinates.max()) + dimensions + 1 - low
        if stride * span >= 2**63:
            raise UsageError(too_fine("coordinates of more than 63 bits"))
        keys += (coordinates - low) * stride
        strides.append(stride)
        stride *= span
    return keys, [(dimensions + 1) * stride - sum(strides) for stride in (*strides, 0)]


def _neighbours(vertices: NDArray[np.int64], steps: list[int]) -> list[tuple[Indices, Indices]]:
    """Per axis, the index of the vertex one step back and one step on; M where there is none."""
    pairs = []
    for step in steps:
        wanted = vertices + step
        found = np.minimum(np.searchsorted(vertices, wanted), len(vertices) - 1)
        here = np.flatnonzero(vertices[found] == wanted)
        after = np.full(len(vertices), len(vertices), np.intp)
        before = after.copy()
        after[here] = found[here]
        before[found[here]] = here
        pairs.append((before, after))
    return pairs


def too_fine(what: str) -> str:
    """What to say when a lattice would be too large for its keys."""
    return (
        f"the CRF's lattice would need {what}, a sigma is too small for this frame: raise "
        "sigma_alpha, sigma_beta or sigma_gamma (1 pixel and 1 colour unit fit frames up to 4K)"
    )
