"""Agreement of two label maps: against counting by hand, and over many frames."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.agreement import WINDOW, Agreement, confusion

CLASSES = ("road", "sky", "tree", "car")
Labels = NDArray[np.uint8]


def maps(seed: int, differing: float = 0.2, size: tuple[int, int] = (12, 18)) -> list[Labels]:
    """Two label maps of which about a share differs."""
    rng = np.random.default_rng(seed)
    first, other = rng.integers(0, len(CLASSES), (2, *size)).astype(np.uint8)
    return [first, np.where(rng.random(size) < differing, other, first)]


def filled(*rows: int) -> Labels:
    """A map of 100 pixels, one row of ten for each label."""
    return np.repeat(np.array(rows, np.uint8)[:, None], 10, axis=1)


ROAD = filled(*[0] * 10)


def test_confusion_is_that_of_a_loop_over_pixels() -> None:
    first, second = maps(1)
    slow = np.zeros((4, 4), np.int64)
    for a, b in zip(first.ravel(), second.ravel(), strict=True):
        slow[a, b] += 1
    np.testing.assert_array_equal(confusion(first, second, 4), slow)


def test_numbers_are_those_of_all_frames_together() -> None:
    agreement = Agreement(CLASSES)
    frames = [maps(seed, differing=seed / 40) for seed in range(20)]
    shares = [float((first == second).mean()) for first, second in frames]
    for index, (first, second) in enumerate(frames):
        match = agreement.add(first, second, index, index / 25)
        assert match.share == pytest.approx(shares[index])
    firsts, seconds = np.concatenate(frames, axis=1)
    found = agreement.to_json()
    assert found["agreement"]["mean"] == pytest.approx(100 * np.mean(shares), abs=0.006)
    assert found["agreement"]["min"] == pytest.approx(100 * min(shares), abs=0.006)
    assert found["agreement"]["p1"] == found["agreement"]["min"]  # the worst of twenty
    worst = int(np.argmin(shares))
    assert (found["worst_frame"]["index"], found["worst_frame"]["time"]) == (worst, worst / 25)
    assert agreement.quantile(0.5) == pytest.approx(sorted(shares)[9], abs=1e-4)
    for number, row in enumerate(found["per_class"]):
        a, b = firsts == number, seconds == number
        assert row["name"] == CLASSES[number]
        assert row["agreement"] == pytest.approx(100 * (a & b).sum() / (a | b).sum(), abs=0.006)
        assert row["differing"] == pytest.approx(100 * (a ^ b).mean(), abs=0.006)
        assert row["a"] == pytest.approx(100 * a.mean(), abs=0.006)
        assert row["b"] == pytest.approx(100 * b.mean(), abs=0.006)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((0, 0, 1, 1, 2, 2, 3, 3, 3, 3), (0, 0, 1, 1, 2, 2, 0, 1, 2, 0), id="lost"),
        pytest.param((0, 0, 1, 1, 2, 2, 3, 3, 3, 3), (3, 3, 3, 3, 3, 3, 3, 3, 3, 3), id="all over"),
    ],
)
def test_a_damaged_class_is_the_worst(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    agreement = Agreement(CLASSES)
    match = agreement.add(filled(*first), filled(*second), 0, 0.0)
    assert match.worst == 3
    assert match.worst_share == 1 - match.share
    assert agreement.to_json()["worst_class"] == "car"


def test_what_the_second_says_instead() -> None:
    agreement = Agreement(CLASSES)
    agreement.add(ROAD, filled(0, 0, 0, 0, 0, 0, 0, 2, 2, 3), 0, 0.0)
    rows = {row["name"]: row for row in agreement.to_json()["per_class"]}
    assert rows["road"]["b_says"] == "tree"
    assert rows["tree"]["b_says"] is None  # the first never says tree
    assert rows["sky"]["agreement"] is None  # neither does


def test_engines_that_agree_have_no_worst_class() -> None:
    agreement = Agreement(CLASSES)
    match = agreement.add(ROAD, ROAD, 0, 0.0)
    assert (match.share, match.worst, match.worst_share) == (1.0, None, 0.0)
    found = agreement.to_json()
    assert found["worst_class"] is None
    assert set(found["agreement"].values()) == {100.0}


def test_without_frames_there_are_no_numbers() -> None:
    agreement = Agreement(CLASSES)
    assert (agreement.count, agreement.mean, agreement.recent) == (0, 0.0, 0.0)
    assert agreement.to_json()["agreement"] is None
    nothing = {"recent": None, "mean": None, "worst_class": None}
    assert agreement.brief() == {"a": "a", "b": "b", **nothing}


def test_recent_forgets() -> None:
    agreement = Agreement(CLASSES)
    for index in range(WINDOW):
        assert not agreement.settled
        agreement.add(ROAD, ROAD, index, index / 25)
    assert agreement.settled
    sky = filled(*[1] * 10)
    for index in range(4 * WINDOW):
        agreement.add(ROAD, sky, index, index / 25)
    assert agreement.recent < 0.05
    assert agreement.mean == pytest.approx(0.2)


def test_the_histogram_counts_every_frame_once() -> None:
    agreement = Agreement(CLASSES)
    for rows in range(11):  # 0, 10, ... 100 % agree
        other = filled(*[1] * (10 - rows), *[0] * rows)
        agreement.add(ROAD, other, rows, float(rows))
    assert agreement.cumulative((0.0, 0.05, 0.5, 0.999, 1.0)) == [1, 1, 6, 10, 11]
    assert agreement.total == pytest.approx(5.5)
