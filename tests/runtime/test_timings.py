"""Percentiles without keeping the samples, against NumPy, which keeps them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engines.command import as_json
from runtime.timings import Distribution, Rate, Timings


@pytest.mark.parametrize("percent", [1, 50, 90, 99, 100])
def test_percentiles_agree_with_numpy_within_one_percent(percent: float) -> None:
    times = np.random.default_rng(7).lognormal(-4, 1, 5000)
    distribution = Distribution()
    for time in times:
        distribution.add(float(time))
    exact = 1e3 * np.percentile(times, percent, method="inverted_cdf")
    assert distribution.percentile_ms(percent) == pytest.approx(exact, rel=0.0101)


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    distribution = Distribution()
    for step in range(20_000):
        distribution.add(0.001 * (1 + step / 20_000))
    assert len(distribution._buckets) < 40  # one octave in steps of 2 %
    assert distribution.count == 20_000


def test_extremes_are_counted_not_refused() -> None:
    distribution = Distribution()
    for seconds in (0.0, -1e-9, 1e6):
        distribution.add(seconds)
    assert distribution.count == 3
    assert distribution.percentile_ms(100) == pytest.approx(1e9, rel=0.0101)
    assert Distribution().percentile_ms(50) == 0


def test_json_of_a_distribution_is_its_percentiles() -> None:
    distribution = Distribution()
    distribution.add(0.020)
    data = json.loads(json.dumps(as_json({"infer": distribution})))
    assert data["infer"].keys() == {"p50_ms", "p99_ms"}
    assert data["infer"]["p50_ms"] == pytest.approx(20, rel=0.0101)


def test_stages_add_up_wall_and_cpu_time() -> None:
    timings = Timings()
    for _ in range(3):
        with timings.measure("work"):
            sum(range(10_000))
    with pytest.raises(ZeroDivisionError), timings.measure("work"):
        _ = 1 / 0
    assert timings.stages["work"].count == 3
    assert timings.cpu["work"] > 0


def test_rate_is_intervals_over_time() -> None:
    rate = Rate()
    assert rate.tick(100.0) == 0
    assert [rate.tick(100 + step / 4) for step in range(1, 50)] == pytest.approx([4.0] * 49)


def test_cumulative_counts_are_those_of_a_plain_count() -> None:
    durations = [0.0004, 0.003, 0.003, 0.02, 0.7, 9.0]
    distribution = Distribution()
    for seconds in durations:
        distribution.add(seconds)
    edges = [0.001, 0.005, 0.05, 1.0, 5.0]
    assert distribution.cumulative(edges) == [sum(d <= e for d in durations) for e in edges]
    assert distribution.total == pytest.approx(sum(durations))


def test_several_counted_together_are_one_that_counted_all() -> None:
    rng = np.random.default_rng(3)
    parts, whole = [Distribution() for _ in range(3)], Distribution()
    for seconds in rng.lognormal(-4, 1, 300):
        parts[int(rng.integers(3))].add(float(seconds))
        whole.add(float(seconds))
    together = Distribution.of(parts)
    assert (together.count, together.to_json()) == (300, whole.to_json())
    assert together.total == pytest.approx(whole.total)
    assert Distribution.of(parts[:1]) is parts[0]


def test_stages_of_several_are_each_that_anyone_had() -> None:
    first, second = Timings(), Timings()
    first.add("infer", 2.0, 1.0)
    second.add("infer", 4.0, 1.5)
    second.add("crf", 8.0, 8.0)
    together = Timings.of([first, second])
    assert together.cpu == {"infer": 2.5, "crf": 8.0}
    assert {name: times.count for name, times in together.stages.items()} == {"infer": 2, "crf": 1}
    assert together.stages["infer"].total == 6.0
    assert first.stages["infer"].count == 1
    assert Timings.of([first]) is first
