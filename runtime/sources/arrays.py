"""Pictures that a program already has, as a source."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable

import numpy as np

from engines.failures import SourceFailed
from runtime.source import Frame, Image
from runtime.sources.status import ALWAYS_LIVE


class ArraySource:
    """Yields what an iterable of arrays [H, W, 3], uint8 RGB, does; sizes may change.

    The iterable is used by the stream's own thread, and each array is copied, so a program may fill
    one and the same array again and again.

    Args:
        images: A list, a generator, anything to iterate.
        name: What messages call it.
        fps: Frames per second, for recordings and for the time of each frame.
        live: Whether the newest counts and late ones are dropped; then the time is the clock's.
    """

    damaged = 0
    status = ALWAYS_LIVE

    def __init__(
        self,
        images: Iterable[Image],
        *,
        name: str = "arrays",
        fps: float = 25.0,
        live: bool = False,
    ) -> None:
        self.name = name
        self.fps = fps
        self.live = live
        self._images = images
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Frame, None, None]:
        start: float | None = None
        for index, image in enumerate(self._images):
            if self._closed.is_set():
                return
            now = time.monotonic()
            start = now if start is None else start
            at = now - start if self.live else index / self.fps
            yield Frame(_checked(image, f"{self.name}, number {index},"), index, now, at)

    def close(self) -> None:
        """End after the array that is being waited for."""
        self._closed.set()


def _checked(image: Image, name: str) -> Image:
    """A copy of the array, if it is a picture."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise SourceFailed(
            f"{name} is {array.dtype} {list(array.shape)}: a picture is uint8 [H, W, 3], RGB "
            "(of OpenCV's BGR: image[..., ::-1])"
        )
    return np.array(array, order="C")
