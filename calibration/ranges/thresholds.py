"""From the statistics of a tensor to its range: one pure function per calibration method.

`entropy` and `mse` choose one threshold t for magnitudes, for TensorRT's symmetric grid: 127 steps
to either side. That is the coarser one (after a ReLU 128 codes instead of 256), so u8, which gets
the same range, rounds at most half as coarsely.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibration.ranges.tally import BINS, FINE, HALF, NOTHING, Range, Statistics

Floats = NDArray[np.float64]

PERCENTILE = 99.999  # of the values inside the range, both tails together
CODES = 128  # of magnitudes on the INT8 grid: 0 to 127

# Share of the values that entropy may clip; on the bundled model it clips up to 0.4 %. What has few
# values, as image pooling has one per channel and frame, would lose nearly all: with one filled bin
# left and the rest added to it, P equals Q.
MOST_CLIPPED = 0.05

# The thresholds tried, in bins of magnitudes; the widest first, so that it wins a draw. With fewer
# bins than codes nothing would be rounded.
CANDIDATES = np.arange(BINS, CODES - 1, -1)


def find_range(statistics: Statistics, method: str) -> Range:
    """The range that a method of `calibration.scheme.METHODS` takes; finite, low <= high."""
    extremes = statistics.low, statistics.high
    if statistics.reach < NOTHING:
        return extremes
    low, high = FINDERS[method](statistics)
    return max(low, extremes[0]), min(high, extremes[1])


def minmax(statistics: Statistics) -> Range:
    """All that was seen."""
    return statistics.low, statistics.high


def average(statistics: Statistics) -> Range:
    """The mean of the frames' extremes: a moving average without its dependence on order."""
    return statistics.mean_extremes


def percentile(statistics: Statistics) -> Range:
    """PERCENTILE of the values are inside, half of the rest is cut from each tail."""
    first, last = cut(statistics.counts)
    return (first - HALF) * statistics.width, (last - HALF) * statistics.width


def entropy(statistics: Statistics) -> Range:
    """The threshold whose INT8 histogram tells most about the true one (TensorRT's choice), of
    those that clip no more than MOST_CLIPPED."""
    bins = coarse(statistics.magnitudes)
    beyond = bins.sum() - _running(bins)[CANDIDATES]
    costs = divergences(statistics.magnitudes)
    return _symmetric(statistics, np.where(beyond > MOST_CLIPPED * bins.sum(), np.inf, costs))


def mse(statistics: Statistics) -> Range:
    """The threshold with the least mean squared error of rounding and clipping."""
    return _symmetric(statistics, squared_errors(statistics.magnitudes))


FINDERS: dict[str, Callable[[Statistics], Range]] = {
    "minmax": minmax,
    "average": average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def cut(counts: NDArray[np.int64]) -> tuple[int, int]:
    """The edges (first, last) of the bins that keep PERCENTILE of the counts."""
    tail = counts.sum() * (1 - PERCENTILE / 100) / 2
    first = int(np.searchsorted(np.cumsum(counts), tail, side="right"))
    last = len(counts) - int(np.searchsorted(np.cumsum(counts[::-1]), tail, side="right"))
    return first, last


def coarse(magnitudes: NDArray[np.int64]) -> Floats:
    """Counts [BINS] for entropy. The lowest bin counts like its neighbour: after a ReLU half of all
    values are zeros, which every grid has exactly."""
    bins: Floats = magnitudes.reshape(BINS, FINE).sum(axis=1).astype(np.float64)
    bins[0] = bins[1]
    return bins


def divergences(magnitudes: NDArray[np.int64]) -> Floats:
    """Kullback-Leibler divergence KL(P || Q), in nats, for each of CANDIDATES.

    P is the histogram [BINS] up to the candidate, what lies beyond added to its last bin; Q the
    same without the addition, in CODES groups whose mass is spread evenly over their filled bins.
    Sums over groups are differences of running sums, so that the 1921 candidates
    take 5 ms instead of a loop over each one's bins.
    """
    bins = coarse(magnitudes)
    edges = CANDIDATES[:, None] * np.arange(CODES + 1) // CODES
    mass = np.diff(_running(bins)[edges], axis=1)
    filled = np.diff(_running(bins > 0)[edges], axis=1)
    inside = _running(bins)[CANDIDATES]
    beyond = bins.sum() - inside
    last = bins[CANDIDATES - 1]
    p_log_p = _running(_x_log_x(bins))[CANDIDATES] - _x_log_x(last) + _x_log_x(last + beyond)
    log_q = np.log(np.where(mass > 0, mass, 1) / np.maximum(filled, 1))
    p_log_q = (mass * log_q).sum(axis=1) + beyond * log_q[:, -1]
    nats = (p_log_p - p_log_q) / bins.sum() - np.log(bins.sum()) + np.log(np.maximum(inside, 1))
    return np.where((beyond > 0) & (last == 0), np.inf, nats)


def squared_errors(magnitudes: NDArray[np.int64]) -> Floats:
    """Sum of squared errors, in bins of `magnitudes` [HALF], for each of CANDIDATES.

    Values stand in the centre of their bin. Those that get code k give S2 - 2 k s S1 + (k s)² S0,
    with the step s and the sums S of their 0th, 1st and 2nd powers.
    """
    codes = np.arange(CODES)
    step = CANDIDATES[:, None] * FINE / (CODES - 1)
    borders = np.ceil((codes[1:] - 0.5) * step - 0.5).astype(np.int64)  # between two codes
    edges = np.pad(borders, ((0, 0), (1, 1)), constant_values=((0, 0), (0, HALF)))
    centres = np.arange(HALF) + 0.5
    zeroth, first = (
        np.diff(_running(magnitudes * centres**power)[edges], axis=1) for power in (0, 1)
    )
    value = codes * step
    saved = (2 * value * first - value**2 * zeroth).sum(axis=1)
    errors: Floats = (magnitudes * centres**2).sum() - saved
    return errors


def _symmetric(statistics: Statistics, costs: Floats) -> Range:
    threshold = float(CANDIDATES[np.argmin(costs)]) * FINE * statistics.width
    return -threshold, threshold


def _running(values: NDArray[np.generic]) -> Floats:
    """Sums [n + 1] of the first 0, 1, ... n values."""
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _x_log_x(values: Floats) -> Floats:
    return values * np.log(np.maximum(values, 1))  # counts: 0 log 0 = 0, and 1 log 1
