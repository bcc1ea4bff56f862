"""Network cameras that show a street, hang up every few seconds, and know when they sent a picture.

A picture carries its number in its upper left corner, as squares that survive the mask over them
and two rounds of JPEG. So a viewer can say how old what it sees is, whatever the program believes.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.camera_faults import HEADER, Viewer, http_camera, part
from scenes.street import StreetCamera

BITS = 7
PICTURES = 2**BITS  # of a camera, in turn: 12.8 s of them at 10 frames/s
SQUARE = 16  # pixels: two by two where a JPEG is read at an eighth of its size
EIGHTH = 8
QUALITY = 85


class SoakCamera:
    """A camera of `fps` frames/s that ends each connection after `seconds`.

    Args:
        seed: Of its street, 480x360.
    """

    def __init__(self, seed: int, fps: float, seconds: float) -> None:
        self.connections = 0
        self._fps, self._seconds = fps, seconds
        street = StreetCamera(seed=seed)
        self._pictures = [marked(street.scene(i).frame, i) for i in range(PICTURES)]
        self._numbers = itertools.cycle(range(PICTURES))
        self._sent = [float("-inf")] * PICTURES

    def sent(self, number: int) -> float:
        """When (`time.monotonic()`) the picture of a number was sent the last time."""
        return self._sent[number]

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its address, inside the `with`."""
        with http_camera(self._attend) as port:
            yield f"http://127.0.0.1:{port}/street"

    def _attend(self, viewer: Viewer) -> None:
        self.connections += 1
        viewer.send(HEADER)
        due = began = time.monotonic()
        while due < began + self._seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            number = next(self._numbers)
            self._sent[number] = time.monotonic()
            viewer.send(part(self._pictures[number]))
            due += 1 / self._fps


def marked(frame: NDArray[np.uint8], number: int) -> bytes:
    """A JPEG of a frame [H, W, 3] with its number as white (1) and black (0) squares."""
    frame = frame.copy()
    for bit in range(BITS):
        left = bit * SQUARE
        frame[:SQUARE, left : left + SQUARE] = 255 * (number >> bit & 1)
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def number_of(jpeg: bytes) -> int:
    """The number that a picture carries, also under a mask of less than half opacity."""
    picture = Image.open(io.BytesIO(jpeg))
    picture.draft("L", (picture.width // EIGHTH, picture.height // EIGHTH))
    side = SQUARE // EIGHTH
    row = np.asarray(picture.convert("L"))[:side, : BITS * side].astype(np.float32)
    squares = row.reshape(side, BITS, side).mean(axis=(0, 2))  # [BITS]
    return sum(1 << bit for bit in range(BITS) if squares[bit] > 127)
