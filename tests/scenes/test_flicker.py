"""Flicker and turnover: against loops, under noise and drift, and against a frozen mask."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from scenes.dataset import IGNORE, Frame, Labels
from scenes.flicker import DRIFT, MARGIN, STILL, FlickerScore, TurnoverScore, unchanged
from scenes.street import StreetCamera

SIZE = (48, 64)


def texture(seed: int = 0) -> Frame:
    return np.random.default_rng(seed).integers(20, 200, (*SIZE, 3)).astype(np.uint8)


def labels(value: int = 0) -> Labels:
    return np.full(SIZE, value, np.uint8)


def noisy(frame: Frame, deviation: float, seed: int) -> Frame:
    noise = np.random.default_rng(seed).normal(0, deviation, frame.shape)
    return np.clip(np.round(frame + noise), 0, 255).astype(np.uint8)


def slow_unchanged(before: Frame, after: Frame) -> NDArray[np.bool_]:
    """`unchanged` by its definition, pixel by pixel."""
    height, width = before.shape[:2]
    change = after.astype(float) - before
    mean = np.zeros_like(change)
    for y, x in np.ndindex(height, width):
        rows = [min(max(y + d, 0), height - 1) for d in (-1, 0, 1)]
        columns = [min(max(x + d, 0), width - 1) for d in (-1, 0, 1)]
        mean[y, x] = change[np.ix_(rows, columns)].mean(axis=(0, 1))
    drift = np.clip(np.median(mean, axis=(0, 1)), -DRIFT, DRIFT)
    still = np.all(np.abs(mean - drift) < STILL, axis=2)
    result = np.zeros((height, width), np.bool_)
    for y, x in np.ndindex(height, width):
        top, left = max(y - MARGIN, 0), max(x - MARGIN, 0)
        result[y, x] = still[top : y + MARGIN + 1, left : x + MARGIN + 1].all()
    return result


@pytest.mark.parametrize("shape", [(20, 26), (3, 9), (1, 1)])
def test_still_pixels_equal_the_definition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    before = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    after = np.clip(before + rng.normal(0, 5, before.shape), 0, 255).astype(np.uint8)
    after[: shape[0] // 4] = 99
    expected = slow_unchanged(before, after)
    np.testing.assert_array_equal(unchanged(before, after), expected)
    assert expected.any()


def test_flicker_is_the_share_of_still_pixels_that_change() -> None:
    score = FlickerScore()
    frame, second = texture(), labels()
    second[:12] = 1  # a quarter of the rows
    score.add(frame, labels())
    score.add(frame, second)
    score.add(frame, second)
    assert score.percent == pytest.approx(100 * 0.25 / 2)
    assert score.still_percent == 100
    assert score.still_pixels == 2 * math.prod(SIZE)


def test_a_sensors_noise_is_no_change_of_the_picture() -> None:
    frame = texture()
    assert unchanged(noisy(frame, 3, 1), noisy(frame, 3, 2)).mean() > 0.9


@pytest.mark.parametrize("gain", [0.98, 1.02])
def test_exposure_drift_is_no_change_of_the_picture(gain: float) -> None:
    frame = texture()
    assert unchanged(frame, np.round(frame * gain).astype(np.uint8)).all()
    assert unchanged(frame, frame + np.uint8(DRIFT)).all()


def test_a_step_of_exposure_is_a_change_and_so_is_a_cut() -> None:
    frame = texture()
    assert not unchanged(frame, frame + np.uint8(DRIFT + STILL)).any()
    assert unchanged(frame, texture(5)).mean() < 0.01


def test_pixels_near_a_change_do_not_count() -> None:
    frame = texture()
    after = frame.copy()
    after[20:30, 20:30] += 50
    expected = np.ones(SIZE, np.bool_)
    reach = 1 + MARGIN  # of the mean and of the margin
    expected[20 - reach : 30 + reach, 20 - reach : 30 + reach] = False
    np.testing.assert_array_equal(unchanged(frame, after), expected)


def test_labels_may_change_with_the_picture() -> None:
    score = FlickerScore()
    frame, moved = texture(), texture()
    moved[10:40, 10:40] = 255
    second = labels()
    second[10:40, 10:40] = 3
    score.add(frame, labels())
    score.add(moved, second)
    assert score.percent == 0
    assert 0 < score.still_percent < 100


def test_frames_are_compared_within_a_stream_only() -> None:
    score = FlickerScore()
    score.add(texture(), labels(0))
    score.cut()
    score.add(texture(), labels(1))
    score.add(texture()[:24], labels(2)[:24])  # another size
    assert math.isnan(score.percent)
    assert math.isnan(score.still_percent)


def test_a_callers_buffers_may_be_reused() -> None:
    score, frame, mask = FlickerScore(), texture(), labels()
    score.add(frame, mask)
    mask[:] = 1
    score.add(frame, mask)
    assert score.percent == 100


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="labels are"):
        FlickerScore().add(texture(), labels()[:5])


def test_turnover_splits_into_followed_ghosts_and_neither() -> None:
    score = TurnoverScore()
    before, after, answer = labels(1), labels(1), labels(7)
    after[:4] = 2  # turned
    after[4] = IGNORE  # unknown: not counted
    answer[0] = 2  # followed
    answer[1:3] = 1  # ghosts
    score.add(before, before)
    score.add(after, answer)
    assert score.followed_percent == 25
    assert score.ghost_percent == 50


def test_turnover_of_a_still_scene_is_nothing() -> None:
    score = TurnoverScore()
    for _ in range(2):
        score.add(labels(), labels())
    assert math.isnan(score.followed_percent)
    assert math.isnan(score.ghost_percent)


def test_a_frozen_mask_does_not_flicker_but_does_not_follow_either() -> None:
    camera = StreetCamera((96, 128), seed=1)
    scenes = [camera.scene(index) for index in range(0, 20, 2)]
    flicker, frozen, perfect = FlickerScore(), TurnoverScore(), TurnoverScore()
    for scene in scenes:
        flicker.add(scene.frame, scenes[0].labels)
        frozen.add(scene.labels, scenes[0].labels)
        perfect.add(scene.labels, scene.labels)
    assert flicker.percent == 0
    assert flicker.still_percent > 10
    assert frozen.followed_percent < 40
    assert frozen.ghost_percent > 40
    assert (perfect.followed_percent, perfect.ghost_percent) == (100, 0)
