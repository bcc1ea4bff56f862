"""What a program may call a camera, and how it hears of the camera's states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeGuard, cast

from runtime.assembly import open_camera
from runtime.journal import tell
from runtime.options import Options
from runtime.source import FrameSource, Image
from runtime.sources.arrays import ArraySource
from runtime.sources.status import Status

Camera = str | Path | FrameSource | Iterable[Image]


class StateWatch:
    """Calls the hook when the state of a camera is another one than the last time."""

    def __init__(self, camera: int, on_state: Callable[[int, Status], object]) -> None:
        self._camera = camera
        self._on_state = on_state

    def open(self, camera: Camera, options: Options) -> FrameSource:
        """The source that it watches."""
        if isinstance(camera, str | Path):
            self._source = open_camera(str(camera), options, self._hear)
        elif _is_source(camera):
            self._source = camera
        else:
            self._source = ArraySource(cast("Iterable[Image]", camera))
        self._last = self._source.status.state
        return self._source

    def look(self) -> None:
        """Compare, and call."""
        status = self._source.status
        if status.state is not self._last:
            self._last = status.state
            self._on_state(self._camera, status)

    def _hear(self, line: str) -> None:
        tell(line)
        self.look()


def _is_source(camera: FrameSource | Iterable[Image]) -> TypeGuard[FrameSource]:
    return hasattr(camera, "status") and hasattr(camera, "live")
