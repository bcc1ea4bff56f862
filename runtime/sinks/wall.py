"""Several cameras in one window: the newest picture of each, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from engines.preprocess import fit_frame
from runtime.lane import Result
from runtime.sinks.silence import Silence
from runtime.source import Image

WIDEST = 1600  # pixels of the whole grid: fits on most desktops without being scaled again
RATE = 30.0  # pictures per second of the whole grid, however many cameras change it


class Screen(Protocol):
    """What shows a picture; `runtime.sinks.window.Window`."""

    def show(self, picture: Image) -> bool: ...

    def answers(self) -> bool: ...

    def close(self) -> None: ...


class Wall:
    """A sink that all cameras share; to be used from the main thread.

    The first picture decides the tiles' size; others are shrunk or enlarged to it, none is
    stretched.

    Args:
        screen: Shows the grid; it is closed with the wall.
        cameras: How many.
        clock: Monotonic seconds; a test gives another one.
    """

    name = "window"

    def __init__(
        self, screen: Screen, cameras: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._screen = screen
        self._columns = math.ceil(math.sqrt(cameras))
        self._rows = math.ceil(cameras / self._columns)
        self._clock = clock
        self._shown = -math.inf
        self._tile = 0, 0  # height, width
        self._grid: Image | None = None
        self._silences = [Silence(clock) for _ in range(cameras)]

    def put(self, result: Result) -> bool:
        """Show the picture of a result that has one; False once the user closed the window."""
        if result.picture is None:
            return True
        if self._grid is None:
            self._grid = self._empty(result.picture)
        self._silences[result.camera].end()
        self._paste(self._grid, result.picture, result.camera)
        self._fade(self._grid)
        if self._clock() - self._shown < 1 / RATE:
            return True
        self._shown = self._clock()
        return self._screen.show(self._grid)

    def idle(self) -> bool:
        """To be called while no result comes; False once the user closed the window."""
        if self._grid is not None and self._fade(self._grid):
            return self._screen.show(self._grid)
        return self._screen.answers()

    def __enter__(self) -> Wall:
        return self

    def __exit__(self, *error: object) -> None:
        self._screen.close()

    def _empty(self, first: Image) -> Image:
        height, width = first.shape[:2]
        scale = min(1.0, WIDEST / (self._columns * width))
        self._tile = max(1, round(scale * height)), max(1, round(scale * width))
        return np.zeros((self._rows * self._tile[0], self._columns * self._tile[1], 3), np.uint8)

    def _paste(self, grid: Image, picture: Image, camera: int) -> None:
        """Put a picture into the middle of its camera's tile."""
        (tall, wide), (height, width) = self._tile, picture.shape[:2]
        scale = min(tall / height, wide / width)
        size = min(tall, max(1, round(scale * height))), min(wide, max(1, round(scale * width)))
        tile = self._tile_of(grid, camera)
        top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
        tile[...] = 0  # the camera may have had another shape before
        tile[top : top + size[0], left : left + size[1]] = fit_frame(picture, size)

    def _fade(self, grid: Image) -> bool:
        """Show that pictures have become old; whether any has just now."""
        old = [camera for camera, silence in enumerate(self._silences) if silence.begins()]
        for camera in old:
            tile = self._tile_of(grid, camera)
            tile[...] = self._silences[camera].faded(tile)
        return bool(old)

    def _tile_of(self, grid: Image, camera: int) -> Image:
        (tall, wide), (row, column) = self._tile, divmod(camera, self._columns)
        return grid[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
