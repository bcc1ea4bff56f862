"""Statistics of one tensor: exact, streaming, and the same in any order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.ranges.tally import BLOCK, HALF, Statistics

Frames = list[NDArray[np.float32]]
Tally = Callable[..., Statistics]


@pytest.fixture
def frames() -> Frames:
    random = np.random.default_rng(5)
    return [random.normal(0.3, scale, (3, 40, 50)).astype(np.float32) for scale in (1, 2, 0.5)]


def test_counts_are_a_histogram_of_all_values(tally: Tally, frames: Frames) -> None:
    statistics = tally(*frames)
    values = np.concatenate([frame.ravel() for frame in frames]).astype(np.float64)
    edges = np.linspace(-np.abs(values).max(), np.abs(values).max(), 2 * HALF + 1)
    twin = np.histogram(values, edges)[0]
    assert statistics.counts.sum() == values.size
    # A value within FP32's rounding of an edge may fall to either side of it.
    assert np.abs(np.cumsum(statistics.counts) - np.cumsum(twin)).max() <= 5


def test_extremes_and_their_means(tally: Tally, frames: Frames) -> None:
    statistics = tally(*frames)
    lows, highs = [f.min() for f in frames], [f.max() for f in frames]
    assert (statistics.low, statistics.high) == (min(lows), max(highs))
    assert statistics.mean_extremes == pytest.approx((np.mean(lows), np.mean(highs)), rel=1e-6)


def test_any_order_gives_the_same_bits(tally: Tally) -> None:
    random = np.random.default_rng(1)
    frames = [random.normal(0, 10.0**k, 300).astype(np.float32) for k in range(-4, 4)]
    first = tally(*frames)
    for _ in range(5):
        random.shuffle(frames)
        again = tally(*frames)
        assert again.mean_extremes == first.mean_extremes
        assert (again.counts == first.counts).all()


def test_blocks_are_joined(tally: Tally) -> None:
    values = np.linspace(-1, 1, 2 * BLOCK + 77, dtype=np.float32)
    assert tally(values).counts.sum() == values.size


def test_zeros_and_the_farthest_value_have_their_bins(tally: Tally) -> None:
    statistics = tally(np.array([0, 0, 0, -4, 4, 4], np.float32))
    assert statistics.counts[HALF] == 3
    assert (statistics.counts[0], statistics.counts[-1]) == (1, 2)
    assert statistics.magnitudes[[0, -1]].tolist() == [3, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="span"):
        Statistics().see(np.array([1, bad, 2], np.float32))


def test_share_outside_a_range(tally: Tally) -> None:
    statistics = tally(np.arange(-50, 51, dtype=np.float32))
    assert statistics.outside((-50.0, 50.0)) == 0
    assert statistics.outside((-25.001, 50.0)) == pytest.approx(25 / 101)
    assert statistics.outside((-25.001, 40.001)) == pytest.approx(35 / 101)


@pytest.mark.parametrize("value", [0.0, 1e-42, -1e-42, 3e38, -3e38, 1.0])
def test_a_constant_tensor_of_any_size_is_counted(tally: Tally, value: float) -> None:
    statistics = tally(np.full(7, value, np.float32))
    assert statistics.counts.sum() == 7
    assert statistics.outside((statistics.low, statistics.high)) == 0
