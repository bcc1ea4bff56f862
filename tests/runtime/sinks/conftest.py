"""Results as a stream hands them over."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from runtime.lane import Result
from runtime.source import Frame


def _result(index: int = 0, camera: int = 0, size: tuple[int, int] = (48, 64)) -> Result:
    height, width = size
    image = np.full((height, width, 3), 20 + 10 * (index % 20), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :, : width // 2] = 2
    frame = Frame(image, index, time.monotonic(), index / 25)
    return Result(frame, labels, image, 0.01, camera)


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A grey result whose lower left quarter is class 2: index, camera, size (height, width)."""
    return _result
