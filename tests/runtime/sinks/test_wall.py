"""Several cameras in one window: each in its tile, none stretched, none too often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.lane import Result
from runtime.sinks.wall import RATE, WIDEST, Wall
from runtime.source import Frame, Image


class Screen:
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[Image] = []
        self.open = True

    def show(self, picture: Image) -> bool:
        self.shown.append(picture.copy())
        return self.open

    def answers(self) -> bool:
        return self.open

    def close(self) -> None:
        self.open = False


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def result(camera: int, size: tuple[int, int], level: int) -> Result:
    picture = np.full((*size, 3), level, np.uint8)
    frame = Frame(picture, 0, 0.0, 0.0)
    return Result(frame, picture[..., 0], picture, 0.0, camera)


def test_each_camera_has_its_tile() -> None:
    screen, clock = Screen(), Clock()
    with Wall(screen, 5, clock) as wall:
        for camera in range(5):
            clock.now += 0.1
            assert wall.put(result(camera, (40, 60), 50 + 10 * camera))
        assert screen.shown[-1].shape == (2 * 40, 3 * 60, 3)
        centres = [screen.shown[-1][20 + 40 * (n // 3), 30 + 60 * (n % 3), 0] for n in range(6)]
        np.testing.assert_allclose(np.array(centres, int), [50, 60, 70, 80, 90, 0], atol=2)
    assert not screen.open


def test_another_shape_is_not_stretched_and_leaves_nothing_behind() -> None:
    screen, clock = Screen(), Clock()
    wall = Wall(screen, 2, clock)
    for size in ((40, 60), (40, 20), (80, 120)):
        clock.now += 1
        wall.put(result(0, size, 200))
    first, narrow, large = (shown[:, :60, 0] for shown in screen.shown)
    assert (first > 190).all()
    assert (narrow[:, 20:40] > 190).all()
    assert not narrow[:, :20].any()
    assert not narrow[:, 40:].any()
    assert (large > 190).all()


def test_many_wide_cameras_fit_on_a_desktop() -> None:
    screen = Screen()
    Wall(screen, 8).put(result(7, (1080, 1920), 200))
    height, width, _ = screen.shown[0].shape
    assert width <= WIDEST + 3
    assert abs(height / width - 1080 / 1920) < 0.01


def test_the_window_is_drawn_at_its_own_rate_and_tells_when_it_was_closed() -> None:
    screen, clock = Screen(), Clock()
    wall = Wall(screen, 2, clock)
    for number in range(60):
        wall.put(result(number % 2, (4, 6), 100))
        clock.now += 0.3 / RATE  # every fourth is due
    assert len(screen.shown) == 15
    assert wall.put(replace(result(0, (4, 6), 100), picture=None))
    screen.open = False
    clock.now += 1
    assert not wall.put(result(0, (4, 6), 100))


def test_a_camera_that_gives_no_more_is_dark_among_the_others() -> None:
    screen, clock = Screen(), Clock()
    wall = Wall(screen, 2, clock)
    for camera in (0, 1):
        wall.put(result(camera, (80, 120), 200))
    for _ in range(10):
        clock.now += 0.2
        assert wall.put(result(1, (80, 120), 200))
    left, right = screen.shown[-1][40:, :120], screen.shown[-1][40:, 120:]
    assert (left < 100).all()
    assert (right > 190).all()
    shown = len(screen.shown)
    assert wall.idle()
    assert len(screen.shown) == shown  # nothing is new
    clock.now += 5
    assert wall.idle()
    assert (screen.shown[-1][40:] < 100).all()
    wall.put(result(0, (80, 120), 200))
    assert (screen.shown[-1][:, :120] > 190).all()
    screen.open = False
    assert not wall.idle()
