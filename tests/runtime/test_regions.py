"""Regions and their outlines against flood fills, point-in-polygon tests and plain recursion."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from runtime.outlines import simplify
from runtime.regions import Region, class_areas, find_regions

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Point = tuple[float, float]
SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))

label_maps = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3)).flatmap(
    lambda s: arrays(np.uint8, s[:2], elements=st.integers(0, s[2] - 1))
)


def flooded(free: Mask, seed: tuple[int, int], steps: tuple[tuple[int, int], ...]) -> Mask:
    """What can be reached from `seed` over `free` pixels: one pixel at a time."""
    reached = np.zeros_like(free)
    waiting = [seed]
    while waiting:
        y, x = waiting.pop()
        if 0 <= y < free.shape[0] and 0 <= x < free.shape[1] and free[y, x] and not reached[y, x]:
            reached[y, x] = True
            waiting += [(y + down, x + right) for down, right in steps]
    return reached


def slow_regions(labels: Labels) -> list[tuple[int, Mask]]:
    """Label and mask of each region, in the order of their first pixels."""
    left = np.ones(labels.shape, np.bool_)
    found = []
    while left.any():
        y, x = np.argwhere(left)[0].tolist()
        mask = flooded(labels == labels[y, x], (y, x), SIDES)
        left &= ~mask
        found.append((int(labels[y, x]), mask))
    return found


def without_holes(mask: Mask) -> Mask:
    """A region is held together by sides, so what is around it is by corners, too."""
    outside = flooded(~np.pad(mask, 1), (0, 0), SIDES + CORNERS)
    return ~outside[1:-1, 1:-1]


def filled(region: Region, shape: tuple[int, int]) -> Mask:
    """The pixels whose centres are inside the polygon: an odd number of its sides to their left."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, np.bool_)
    for (x0, y0), (x1, y1) in pairs(region.polygon.tolist()):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            inside ^= crosses & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x)
    return inside


def pairs(ring: list[Point]) -> list[tuple[Point, Point]]:
    return list(zip(ring, ring[1:] + ring[:1], strict=True))


def gap(point: Point, start: Point, end: Point) -> float:
    """From a point to a segment."""
    length = math.dist(start, end)
    if length == 0:
        return math.dist(point, start)
    ahead = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    along = (point[0] - start[0]) * ahead[0] + (point[1] - start[1]) * ahead[1]
    along = min(max(along, 0), length)
    return math.dist(point, (start[0] + along * ahead[0], start[1] + along * ahead[1]))


@given(label_maps)
def test_regions_are_what_a_flood_reaches(labels: Labels) -> None:
    expected = []
    for label, mask in slow_regions(labels):
        y, x = np.nonzero(mask)
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        expected.append((label, int(mask.sum()), box))
    regions = find_regions(labels)
    assert Counter((r.label, r.area, r.box) for r in regions) == Counter(expected)
    assert [r.area for r in regions] == sorted((r.area for r in regions), reverse=True)


@given(label_maps)
def test_an_exact_polygon_holds_its_region_and_the_holes(labels: Labels) -> None:
    slow = slow_regions(labels)
    slow.sort(key=lambda found: -int(found[1].sum()))  # stable, as ours
    for region, (label, mask) in zip(find_regions(labels), slow, strict=True):
        assert region.label == label
        np.testing.assert_array_equal(filled(region, labels.shape), without_holes(mask))


@given(label_maps)
def test_outlines_turn_at_every_corner_and_run_clockwise(labels: Labels) -> None:
    for region in find_regions(labels):
        sides = np.roll(region.polygon, -1, axis=0) - region.polygon
        assert ((sides == 0).sum(axis=1) == 1).all()
        assert ((sides[:-1] == 0) != (sides[1:] == 0)).all()
        (x, y), (dx, dy) = region.polygon.T.astype(int), sides.T
        assert (x * dy - y * dx).sum() > 0  # y points down


@given(label_maps, st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_a_simplified_polygon_stays_near_and_keeps_the_box(
    labels: Labels, tolerance: float
) -> None:
    for exact, region in zip(find_regions(labels), find_regions(labels, 1, tolerance), strict=True):
        ring = region.polygon.tolist()
        left, top, right, bottom = region.box
        assert len(ring) >= 3
        assert region.polygon.min(axis=0).tolist() == [left, top]
        assert region.polygon.max(axis=0).tolist() == [right, bottom]
        assert {tuple(point) for point in ring} <= {tuple(p) for p in exact.polygon.tolist()}
        for point in exact.polygon.tolist():
            assert min(gap(point, *side) for side in pairs(ring)) <= tolerance + 1e-9


def recursive(ring: list[list[int]], tolerance: float) -> list[list[int]]:
    """Douglas and Peucker's method as it stands in the book, between the corners that stay."""
    count = len(ring)
    x, y = ([point[axis] for point in ring] for axis in (0, 1))
    last_left = max(i for i in range(1, count) if x[i] == min(x))
    anchors = sorted({0, x.index(max(x)), y.index(max(y)), last_left})
    closed = [*ring, ring[0]]

    def between(low: int, high: int) -> list[int]:
        gaps = [exact_gap(p, closed[low], closed[high]) for p in closed[low + 1 : high]]
        if not gaps or max(gaps) <= Fraction(tolerance) ** 2:
            return [low]
        middle = low + 1 + gaps.index(max(gaps))
        return between(low, middle) + between(middle, high)

    stretches = zip(anchors, [*anchors[1:], count], strict=True)
    return [closed[i] for low, high in stretches for i in between(low, high)]


def exact_gap(point: list[int], start: list[int], end: list[int]) -> Fraction:
    """From a point to a segment, squared."""
    ahead = [e - s for s, e in zip(start, end, strict=True)]
    aside = [p - s for s, p in zip(start, point, strict=True)]
    square = sum(a * a for a in ahead)
    dot = sum(a * b for a, b in zip(ahead, aside, strict=True))
    along = min(max(Fraction(dot, square), Fraction(0)), Fraction(1)) if square else Fraction(0)
    return sum(((b - along * a) ** 2 for a, b in zip(ahead, aside, strict=True)), Fraction(0))


@settings(max_examples=50)
@given(label_maps, st.sampled_from([0.5, 1.0, 2.25]))
def test_all_rings_at_once_are_split_like_each_alone(labels: Labels, tolerance: float) -> None:
    exact = [region.polygon for region in find_regions(labels)]
    polygons = simplify(np.concatenate(exact), np.cumsum([0, *map(len, exact)]), tolerance)
    for ring, polygon in zip(exact, polygons, strict=True):
        assert polygon.tolist() == recursive(ring.tolist(), tolerance)


@given(label_maps, st.integers(1, 4))
def test_areas_of_classes_are_counted(labels: Labels, classes: int) -> None:
    expected = [int((labels == label).sum()) for label in range(classes)]
    assert class_areas(labels, classes).tolist() == expected


def test_small_regions_and_the_label_of_no_class_are_left_out() -> None:
    labels = np.full((6, 8), 255, np.uint8)
    labels[0, 0] = 1
    labels[2:4, 2:7] = 2
    assert [(r.label, r.area) for r in find_regions(labels)] == [(2, 10), (1, 1)]
    (region,) = find_regions(labels, smallest=2)
    assert region.box == (2, 2, 7, 4)
    assert region.polygon.tolist() == [[2, 2], [7, 2], [7, 4], [2, 4]]
    assert find_regions(labels, smallest=11) == []


def test_boxes_alone() -> None:
    labels = np.full((6, 8), 255, np.uint8)
    labels[2:4, 2:7] = 2
    (region,) = find_regions(labels, tolerance=None)
    assert (region.area, region.box, region.polygon.shape) == (10, (2, 2, 7, 4), (0, 2))


def test_corners_that_touch_do_not_join_regions() -> None:
    labels = np.eye(3, dtype=np.uint8)
    assert sorted((r.label, r.area) for r in find_regions(labels)) == [
        (0, 3), (0, 3), (1, 1), (1, 1), (1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_one_class_is_the_whole_frame(shape: tuple[int, int]) -> None:
    height, width = shape
    (region,) = find_regions(np.zeros(shape, np.uint8), tolerance=2)
    assert region.box == (0, 0, width, height)
    assert region.polygon.tolist() == [[0, 0], [width, 0], [width, height], [0, height]]
