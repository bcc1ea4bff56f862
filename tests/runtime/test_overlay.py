"""What stands on the picture."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from engines.blend import blend
from runtime.overlay import Overlay, font_size, legend_strip, present, status_strip

SIZE = (180, 320)


def street(*classes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Labels with a band of each class."""
    return np.repeat(np.array(classes, np.uint8), SIZE[0] * SIZE[1] // len(classes)).reshape(SIZE)


def test_the_legend_holds_the_present_classes_only() -> None:
    assert present(street(0, 2), classes=3) == (0, 2)
    assert present(street(1, 1), classes=3) == (1,)
    assert present(street(255, 1), classes=3) == (1,)  # ignore is no class
    assert present(street(255, 255), classes=3) == ()


def test_a_few_stray_pixels_do_not_make_the_legend_flicker() -> None:
    labels = street(0, 0)
    labels[0, 0] = 2
    assert present(labels, classes=3) == (0,)


def test_the_swatches_are_the_classes_colours(session: Any) -> None:
    spec = session.spec
    picture = Overlay(spec, "fp32 on cpu", 0.5).draw(
        np.zeros((*SIZE, 3), np.uint8), street(0, 2), fps=30, age=0.02
    )
    legend = picture[-font_size(SIZE[0]) :].reshape(-1, 3)
    colours = {tuple(int(channel) for channel in pixel) for pixel in legend}
    assert spec.palette[0] in colours
    assert spec.palette[2] in colours
    assert spec.palette[1] not in colours


def test_strips_that_are_kept_for_later_frames_take_little_memory(session: Any) -> None:
    """At 3840x2160, where 128 of each were a gigabyte."""
    kept = 0
    for strip, text in ((status_strip, "30 FPS"), (legend_strip, (("Road", (1, 2, 3)),) * 11)):
        one = strip(text, 3840, font_size(2160))
        most = strip.cache_parameters()["maxsize"]
        kept += most * (one.ink.nbytes + one.keep.nbytes)
    assert kept < 300e6


def test_between_the_strips_the_picture_is_the_blend(session: Any) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    before = frame.copy()
    labels = street(0, 1, 2, 1)
    picture = Overlay(session.spec, "title", 0.4).draw(frame, labels, fps=9.6, age=0.1)
    strip = status_strip("", SIZE[1], font_size(SIZE[0])).keep.shape[0]
    middle = slice(strip, SIZE[0] - strip)
    expected = blend(frame, labels, session.spec.palette, 0.4)
    assert np.array_equal(picture[middle], expected[middle])
    assert not np.array_equal(picture[:strip], expected[:strip])
    assert not np.array_equal(picture[-strip:], expected[-strip:])
    assert np.array_equal(frame, before)


def test_text_is_bright_on_a_darkened_strip(session: Any) -> None:
    white = np.full((*SIZE, 3), 255, np.uint8)
    picture = Overlay(session.spec, "int8 on cpu", 0.0).draw(white, street(0, 1), fps=30, age=0.05)
    top = picture[: font_size(SIZE[0])]
    assert top.max() == 255
    assert np.median(top) < 110


@pytest.mark.parametrize("width", [80, 320, 1920])
def test_a_long_legend_wraps_inside_the_width(width: int) -> None:
    entries = tuple((f"class number {index}", (index, 0, 0)) for index in range(20))
    narrow, one = legend_strip(entries, width, 14), legend_strip(entries[:1], width, 14)
    rows = narrow.keep.shape[0] / one.keep.shape[0]
    assert rows == int(rows)
    assert narrow.ink.shape[1] == width
    if width < 1920:
        assert rows > 1


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (31, 33), (480, 2), (2, 640)])
def test_tiny_frames_are_drawn_without_strips_rather_than_not(
    session: Any, size: tuple[int, int]
) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    picture = Overlay(session.spec, "t", 0.5).draw(frame, np.zeros(size, np.uint8), 1.0, 1.0)
    assert picture.shape == frame.shape


def test_an_odd_rate_or_age_is_only_text(session: Any) -> None:
    frame = np.zeros((*SIZE, 3), np.uint8)
    overlay = Overlay(session.spec, "t", 0.5)
    for fps, age in ((0.0, -0.001), (1e6, 1e6)):
        assert overlay.draw(frame, street(0), fps, age).shape == frame.shape


def test_strips_are_rendered_once(session: Any) -> None:
    frame, labels = np.zeros((*SIZE, 3), np.uint8), street(0, 1)
    overlay = Overlay(session.spec, f"unique {time.monotonic()}", 0.5)
    before = status_strip.cache_info().misses
    for _ in range(5):
        overlay.draw(frame, labels, fps=30.2, age=0.0401)
    assert status_strip.cache_info().misses == before + 1
