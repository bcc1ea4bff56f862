"""From a change of the switches to the objects of a running stream that it concerns."""

from __future__ import annotations

from collections.abc import Callable

from engines.session import Session
from runtime.cpu_path import CpuPath
from runtime.overlay import Overlay
from runtime.pipeline import Stream
from runtime.refiner import Refiners
from runtime.split_view import SplitView
from runtime.switched_session import SwitchedSession
from runtime.switches import Settings


class LiveControls:
    """The `apply` of one camera's `Switches`. Each assignment here is one step for other threads.

    Opacity, CRF and pause are the camera's own; the precision is that of all, as is the model.

    Args:
        stream: Pauses and resumes the camera.
        camera: Its number there.
        session: Loads other precisions, if it is a `SwitchedSession`.
        refiners: The camera's CRFs.
        drawer: Of its window and recording, if there is one.
        precision_changed: Hears of another precision, so that other cameras' switches can follow.
    """

    def __init__(
        self,
        stream: Stream,
        camera: int,
        session: Session,
        refiners: Refiners,
        drawer: Overlay | SplitView | None,
        precision_changed: Callable[[str], None] = lambda precision: None,
    ) -> None:
        self._stream, self._camera = stream, camera
        self._session = session
        self._refiners = refiners
        self._drawer = drawer
        self._precision_changed = precision_changed

    def __call__(self, before: Settings, after: Settings) -> None:
        """Carry a change into the stream, from its next frame on."""
        if self._drawer is not None:
            self._drawer.alpha = after.alpha
        path, session = self._stream.lanes[self._camera].path, self._session
        if after.crf != before.crf and isinstance(path, CpuPath):
            path.refiner = self._refiners.of(after.crf)
        if after.precision != before.precision and isinstance(session, SwitchedSession):
            session.use(after.precision)
            self._precision_changed(after.precision)
        if after.paused != before.paused:
            (self._stream.pause if after.paused else self._stream.resume)(self._camera)
