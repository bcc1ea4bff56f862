"""`street:`, the virtual camera: a procedural street for machines without a real one."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from engines.failures import UsageError
from runtime.source import Frame
from runtime.sources.size import parse_size, within
from runtime.sources.status import ALWAYS_LIVE, State, Status

NATIVE_RATE = 30.0  # frames/s at which the scene moves at its natural speed


@dataclass(frozen=True)
class StreetOptions:
    """What may follow `street:?`, for example `street:?fps=30&size=640x480`."""

    size: tuple[int, int] = (360, 480)  # height, width
    seed: int = 0
    fps: float | None = None  # live at this rate; None: pulled, as fast as the stream takes frames
    frames: int | None = None  # None: endless


class StreetSource:
    """Frames of `scenes.street.StreetCamera`, pulled or paced by a clock."""

    damaged = 0

    def __init__(self, options: StreetOptions, name: str = "street:") -> None:
        self.name = name
        self.live = options.fps is not None
        self.fps = options.fps or NATIVE_RATE
        self.status = Status(State.STARTING)
        self._options = options
        self._closed = threading.Event()

    @staticmethod
    def parse(text: str) -> StreetSource:
        """The source for `street:` or `street:?key=value&...`; a wrong option is a `UsageError`."""
        rest = text.removeprefix("street:").removeprefix("?")
        try:
            given = dict(parse_qsl(rest, strict_parsing=True)) if rest else {}
            values: dict[str, Any] = {key: _PARSERS[key](given[key]) for key in given}
        except (KeyError, ValueError):
            raise UsageError(
                f"{text!r} is not understood: the options are fps=30 (0.5 to 1000; live), size=WxH "
                "(32 to 4096 each), seed=N, frames=N, e.g. --camera 'street:?fps=30&size=640x480'"
            ) from None
        return StreetSource(StreetOptions(**values), text)

    def __iter__(self) -> Generator[Frame, None, None]:
        from scenes.street import StreetCamera

        camera = StreetCamera(self._options.size, self._options.seed)
        camera.scene(0)  # draws what is then cached: no frame of a live street starts out old
        self.status = ALWAYS_LIVE
        due = start = time.monotonic()
        for index in itertools.islice(itertools.count(), self._options.frames):
            if self._closed.wait(max(0.0, due - time.monotonic()) if self.live else 0.0):
                return
            # Like a sensor, the clock does not wait for a reader that is late: no burst follows.
            captured = time.monotonic()
            due = max(due + 1 / self.fps, captured)
            image = camera.scene(index).frame
            at = captured - start if self.live else index / self.fps
            yield Frame(image, index, captured, at)

    def close(self) -> None:
        """End now, also while waiting for the next frame's time."""
        self._closed.set()


_PARSERS: dict[str, Callable[[str], Any]] = {
    "size": lambda text: parse_size(text, 32, 4096),
    "seed": lambda text: int(within(int(text), 0, 2**31)),
    "fps": lambda text: within(float(text), 0.5, 1000),  # `lane.PATIENCE` is 10 s
    "frames": lambda text: int(within(int(text), 1, 10**9)),
}
