"""Colour blending against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import twins
from engines.blend import blend

PALETTE = [(0, 0, 0), (255, 255, 255), (10, 200, 30)]


def picture(size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, size).astype(np.uint8)
    labels[labels == 3] = 255
    return rng.integers(0, 256, (*size, 3), np.uint8), labels


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (37, 53)])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.45, 0.5, 1.0])
def test_blend_is_the_weighted_mean_rounded(size: tuple[int, int], alpha: float) -> None:
    frame, labels = picture(size)
    expected = twins.blend(frame, labels, PALETTE, alpha)
    for threads in (1, 2, 3, 7):
        mixed = blend(frame, labels, PALETTE, alpha, threads)
        np.testing.assert_array_equal(mixed, expected)


def test_the_twin_is_the_formula() -> None:
    frame, labels = picture((20, 30))
    colours = np.asarray([*PALETTE, (0, 0, 0)])[np.where(labels == 255, 3, labels)]
    exact = np.where((labels == 255)[..., None], frame, 0.7 * frame + 0.3 * colours)
    mixed = twins.blend(frame, labels, PALETTE, 0.3)
    np.testing.assert_allclose(mixed, exact, atol=0.5 + 1e-9)


def test_ignored_pixels_stay_as_they_are() -> None:
    frame = np.full((2, 2, 3), 200, np.uint8)
    labels = np.array([[0, 255], [255, 1]], np.uint8)
    mixed = blend(frame, labels, PALETTE)
    np.testing.assert_array_equal(mixed[labels == 255], 200)
    assert mixed[0, 0, 0] == 100
    mixed[0] = 0  # the picture is the caller's: text is drawn on it


def test_views_are_taken_as_they_are_seen() -> None:
    frame, labels = picture((24, 32))
    expected = twins.blend(frame[::2, ::-1], labels[::2, ::-1], PALETTE)
    np.testing.assert_array_equal(blend(frame[::2, ::-1], labels[::2, ::-1], PALETTE), expected)


def test_what_does_not_belong_together_is_refused() -> None:
    frame, labels = picture((4, 6))
    with pytest.raises(ValueError, match="do not belong together"):
        blend(frame, labels[1:], PALETTE)
    with pytest.raises(ValueError, match="do not belong together"):
        blend(frame.astype(np.float32), labels, PALETTE)
    with pytest.raises(ValueError, match=r"alpha 1\.5"):
        blend(frame, labels, PALETTE, 1.5)
