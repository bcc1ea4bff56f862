"""What becomes of a frame between the camera and the sinks, in four steps.

`runtime.cpu_path` and `runtime.gpu_path` are the two ways; `runtime.pipeline` calls their steps.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.source import Frame, Image
from runtime.timings import Timings

GAP = 1.0  # seconds between two frames after which the earlier one says nothing about the later

Labels = NDArray[np.uint8]  # [H, W]
Logits = NDArray[np.float32]  # [C, h, w]
Prepared = TypeVar("Prepared")
Inferred = TypeVar("Inferred")


class FramePath(Protocol[Prepared, Inferred]):
    """The four steps of a frame; each is called by one thread, with the frames in order."""

    @property
    def timings(self) -> Timings:
        """Of all stages of the stream, those between these steps among them."""
        ...

    def prepare(self, frame: Frame) -> Prepared:
        """In the capture thread: what the model needs of a frame."""
        ...

    def infer(self, prepared: Prepared) -> Inferred:
        """In the inference thread."""
        ...

    def label(self, frame: Frame, inferred: Inferred) -> Labels:
        """In the drawing thread: the class of each pixel."""
        ...

    def draw(
        self, frame: Frame, inferred: Inferred, labels: Labels, fps: float, age: float
    ) -> Image | None:
        """In the drawing thread: the picture for the sinks, if there is to be one.

        `fps` in frames/s; `age` in seconds since the frame was captured.
        """
        ...


def follows(before: float, now: float) -> bool:
    """Whether a frame, by its time in seconds, says something about the one `now`."""
    return 0 < now - before <= GAP


class Refiner(Protocol):
    """Turns logits into labels with the help of the frame; see `runtime.refiner`."""

    def refine(self, frame: Image, logits: Logits) -> Labels: ...


class Watch(Protocol):
    """Looks at every frame, as the model sees it; see `runtime.drift`."""

    def see(self, image: Image) -> None: ...


class Drawer(Protocol):
    """Makes the picture that sinks show; see `runtime.overlay`."""

    def draw(self, frame: Image, labels: Labels, fps: float, age: float) -> Image: ...
