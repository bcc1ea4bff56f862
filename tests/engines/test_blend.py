"""Colour blending against the formula in floating point."""

from __future__ import annotations

import numpy as np

from engines.blend import blend

PALETTE = [(0, 0, 0), (255, 255, 255), (10, 200, 30)]


def test_blend_is_the_weighted_mean_within_one_grey_level() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (20, 30, 3), np.uint8)
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    for alpha in (0.0, 0.25, 0.5, 1.0):
        expected = frame * (1 - alpha) + np.asarray(PALETTE)[labels] * alpha
        np.testing.assert_allclose(blend(frame, labels, PALETTE, alpha), expected, atol=1)


def test_ignored_pixels_stay_as_they_are() -> None:
    frame = np.full((2, 2, 3), 200, np.uint8)
    labels = np.array([[0, 255], [255, 1]], np.uint8)
    mixed = blend(frame, labels, PALETTE)
    np.testing.assert_array_equal(mixed[labels == 255], 200)
    assert mixed[0, 0, 0] == 100
    mixed[0] = 0  # the picture is the caller's: text is drawn on it
