"""Block matching against a loop over cells and candidates, and on pictures that really move."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.motion import CODE, REACH, STAY, STEPS, sources

Picture = NDArray[np.uint8]


def textured(height: int, width: int) -> Picture:
    """Every cell of a colour of its own."""
    return np.random.default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint8)


def slow_sources(before: Picture, after: Picture) -> NDArray[np.intp]:
    """`sources` by its definition, one cell and one candidate after the other."""
    lumas = [
        (p[0].astype(int) + 2 * p[1].astype(int) + p[2].astype(int)) // 8 for p in (before, after)
    ]
    height, width = lumas[0].shape

    def clip(y: int, x: int) -> tuple[int, int]:
        return min(max(y, 0), height - 1), min(max(x, 0), width - 1)

    result = np.zeros((height, width), np.intp)
    for y, x in np.ndindex(height, width):
        costs = []
        for down, right in STEPS:
            cost = 0 if (down, right) == (0, 0) else STAY // CODE
            for dy, dx in np.ndindex(3, 3):
                here, there = clip(y + dy - 1, x + dx - 1), (y + down + dy - 1, x + right + dx - 1)
                cost += abs(int(lumas[1][here]) - int(lumas[0][clip(*there)]))
            costs.append(cost)
        down, right = STEPS[int(np.argmin(costs))]
        row, column = clip(y + down, x + right)
        result[y, x] = row * width + column
    return result


@pytest.mark.parametrize("size", [(9, 12), (1, 1), (1, 7), (5, 2)])
@pytest.mark.parametrize("kind", ["noise", "moved", "extreme"])
def test_equals_the_loop(size: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(5)
    before = rng.integers(0, 256, (3, *size)).astype(np.uint8)
    after = rng.integers(0, 256, (3, *size)).astype(np.uint8)
    if kind == "moved":
        after = np.roll(before, (1, -2), axis=(1, 2))
    if kind == "extreme":  # the largest cost there is must not wrap around in 16 bits
        before[:], after[:] = 0, 255
    np.testing.assert_array_equal(sources(before, after), slow_sources(before, after))


@pytest.mark.parametrize("step", [(0, 0), (1, -1), (REACH, -REACH), (-REACH, 0)])
def test_finds_where_a_picture_came_from(step: tuple[int, int]) -> None:
    before = textured(30, 42)
    after = np.roll(before, (-step[0], -step[1]), axis=(1, 2))
    cells = np.arange(30 * 42).reshape(30, 42)
    inner = np.s_[4:-4, 4:-4]
    expected = np.roll(cells, (-step[0], -step[1]), axis=(0, 1))
    np.testing.assert_array_equal(sources(before, after)[inner], expected[inner])


def test_noise_on_a_flat_wall_is_no_motion() -> None:
    rng = np.random.default_rng(2)
    before, after = rng.normal(120, 0.5, (2, 3, 90, 120)).round().astype(np.uint8)
    staying = sources(before, after) == np.arange(90 * 120).reshape(90, 120)
    assert staying.mean() > 0.85  # without `STAY` 0.1
