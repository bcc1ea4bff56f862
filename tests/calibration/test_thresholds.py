"""Calibration methods: each against its slow twin on raw values, and against known answers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.ranges.tally import BINS, HALF, Statistics
from calibration.ranges.thresholds import (
    CANDIDATES,
    CODES,
    FINDERS,
    PERCENTILE,
    cut,
    divergences,
    find_range,
    squared_errors,
)
from calibration.scheme import METHODS

Values = NDArray[np.float32]
Tally = Callable[..., Statistics]


def rectified(random: np.random.Generator) -> Values:
    return np.maximum(random.normal(0, 1, 5000), 0).astype(np.float32)


def clipped(random: np.random.Generator) -> Values:
    return np.clip(random.normal(1, 3, 5000), 0, 6).astype(np.float32)


def linear(random: np.random.Generator) -> Values:
    return random.laplace(0.5, 2, 5000).astype(np.float32)


def outliers(random: np.random.Generator) -> Values:
    values = random.normal(0, 1, 5000)
    values[:3] = -30, 40, 40
    return values.astype(np.float32)


SHAPES = (rectified, clipped, linear, outliers)


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.__name__)
def values(request: pytest.FixtureRequest) -> Values:
    result: Values = request.param(np.random.default_rng(11))
    return result


def divergence(bins: NDArray[np.float64], kept: int) -> float:
    """KL(P || Q) as TensorRT's slides tell it, bin by bin."""
    p = bins[:kept].copy()
    p[-1] += bins[kept:].sum()
    q = np.zeros(kept)
    for code in range(CODES):
        group = slice(kept * code // CODES, kept * (code + 1) // CODES)
        filled = bins[group] > 0
        q[group][filled] = bins[group].sum() / max(filled.sum(), 1)
    p, q = p / p.sum(), q / max(q.sum(), 1)
    if (q[p > 0] == 0).any():
        return math.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def test_entropy_tries_every_threshold_as_its_slow_twin_does(tally: Tally, values: Values) -> None:
    statistics = tally(values)
    bins = statistics.magnitudes.reshape(BINS, -1).sum(axis=1).astype(np.float64)
    bins[0] = bins[1]
    some = slice(None, None, 24)
    twin = [divergence(bins, kept) for kept in CANDIDATES[some]]
    assert divergences(statistics.magnitudes)[some] == pytest.approx(twin, abs=1e-9)


def test_entropy_is_as_good_as_the_best_on_a_histogram_of_raw_values(
    tally: Tally, values: Values
) -> None:
    reach = float(np.abs(values).max())
    bins = np.histogram(np.abs(values), BINS, (0, reach))[0].astype(np.float64)
    bins[0] = bins[1]
    found = max(map(abs, FINDERS["entropy"](tally(values)))) / reach * BINS
    # Two values may have fallen to the other side of an edge, hence the tolerance.
    best = min(divergence(bins, kept) for kept in CANDIDATES[::8])
    assert divergence(bins, round(found)) <= best + 2e-3


@pytest.mark.parametrize(("channels", "frames"), [(5, 1), (16, 16), (16, 100), (256, 16)])
def test_entropy_does_not_clip_nearly_all_of_a_few_values(
    tally: Tally, channels: int, frames: int
) -> None:
    """Image pooling gives one value per channel and frame, far from 0."""
    random = np.random.default_rng(0)
    means = random.uniform(0.3, 3, channels)
    values = (means * (1 + 0.02 * random.normal(size=(frames, channels)))).astype(np.float32)
    statistics = tally(values)
    assert statistics.outside(find_range(statistics, "entropy")) <= 0.05


def mean_squared_error(values: Values, threshold: float) -> float:
    """Of rounding raw values to the symmetric grid with codes -127 to 127."""
    step = threshold / (CODES - 1)
    codes = np.clip(np.rint(values / step), 1 - CODES, CODES - 1)
    return float(np.square(values - codes * step, dtype=np.float64).mean())


def test_mse_is_as_good_as_the_best_of_all_thresholds_on_raw_values(
    tally: Tally, values: Values
) -> None:
    reach = float(np.abs(values).max())
    errors = [mean_squared_error(values, reach * kept / BINS) for kept in CANDIDATES]
    found = max(map(abs, FINDERS["mse"](tally(values))))
    assert mean_squared_error(values, found) <= 1.02 * min(errors)


def test_mse_rounds_bins_as_its_slow_twin_does(tally: Tally, values: Values) -> None:
    statistics = tally(values)
    centres = (np.arange(HALF) + 0.5).astype(np.float64)
    some = slice(None, None, 96)
    twin = []
    for kept in CANDIDATES[some]:
        step = kept * (HALF / BINS) / (CODES - 1)
        rounded = np.minimum(np.rint(centres / step), CODES - 1) * step
        twin.append(float((statistics.magnitudes * (centres - rounded) ** 2).sum()))
    assert squared_errors(statistics.magnitudes)[some] == pytest.approx(twin, rel=1e-6)


def test_percentile_cuts_what_sorting_would_cut(tally: Tally, values: Values) -> None:
    many = np.tile(values, 100)
    statistics = tally(many)
    low, high = find_range(statistics, "percentile")
    tail = (100 - PERCENTILE) / 2
    twin = np.percentile(many, [tail, 100 - tail], method="inverted_cdf")
    assert np.abs(np.array([low, high]) - twin).max() <= 1.01 * statistics.width


def test_average_is_the_mean_of_the_frames_extremes(tally: Tally) -> None:
    frames = [np.array([-1, 4], np.float32), np.array([-3, 5], np.float32)]
    assert find_range(tally(*frames), "average") == (-2, 4.5)
    assert find_range(tally(*frames), "minmax") == (-3, 5)


def test_a_gaussian_with_outliers(tally: Tally) -> None:
    values = np.random.default_rng(2).normal(0, 1, 400_000).astype(np.float32)
    values[0] = 40
    reach = {method: find_range(tally(values), method)[1] for method in METHODS}
    assert reach["minmax"] == reach["average"] == 40
    assert 4 < reach["percentile"] < 6
    assert 4 < reach["entropy"] < 6
    # To clip one value by 27 costs as much as the wider step of 400 000.
    assert 12 < reach["mse"] < 14


def test_the_best_step_for_a_gaussian_is_the_textbooks(tally: Tally) -> None:
    # Jayant and Noll 1984, table 4.1: 8 bits, uniform, step 0.0308 sigma.
    values = np.random.default_rng(3).normal(0, 1, 1_000_000).astype(np.float32)
    assert find_range(tally(values), "mse")[1] / (CODES - 1) == pytest.approx(0.0308, rel=0.03)


def test_a_uniform_tensor_is_not_clipped(tally: Tally) -> None:
    values = np.linspace(-2, 2, 200_001, dtype=np.float32)
    for method in ("entropy", "mse"):
        low, high = find_range(tally(values), method)
        assert (low, high) == pytest.approx((-2, 2), rel=0.01), method


def test_entropy_differs_from_minmax(tally: Tally) -> None:
    """Unlike onnxruntime's default: with 128 bins for 128 codes it has one candidate."""
    values = linear(np.random.default_rng(4))
    assert find_range(tally(values), "entropy") != find_range(tally(values), "minmax")
    assert len(CANDIDATES) == 1921


def test_a_symmetric_threshold_leaves_the_shorter_side_alone(tally: Tally) -> None:
    values = np.random.default_rng(6).exponential(1, 50_000).astype(np.float32) - np.float32(0.25)
    for method in ("entropy", "mse"):
        low, high = find_range(tally(values), method)
        assert low == values.min(), method
        assert high < values.max(), method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "constant", [0.0, -0.0, 1e-42, -1e-30, 1e-7, -2.5, 6.0, 3e38], ids=lambda value: f"{value:g}"
)
def test_a_constant_tensor_has_itself_as_range(tally: Tally, method: str, constant: float) -> None:
    low, high = find_range(tally(np.full(9, constant, np.float32)), method)
    assert low == high == float(np.float32(constant))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("far", [1e-38, 1e-3, 1e6, 3e38])
def test_every_range_is_finite_ordered_and_within_the_extremes(
    tally: Tally, method: str, far: float
) -> None:
    values = np.random.default_rng(8).normal(0, 1, 3000)
    low, high = find_range(tally((values / np.abs(values).max() * far).astype(np.float32)), method)
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert -far * 1.001 <= low <= high <= far * 1.001
    assert high > low


def test_cut_drops_a_lone_outlier() -> None:
    counts = np.zeros(2 * HALF, np.int64)
    counts[:1024] = 1000
    counts[-1] = 1
    assert cut(counts) == (0, 1024)


def test_cut_keeps_counts_without_tails() -> None:
    assert cut(np.full(2 * HALF, 1000, np.int64)) == (0, 2 * HALF)
