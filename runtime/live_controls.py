"""From a change of the switches to the objects of a running stream that it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from engines.session import Session
from runtime.cpu_path import CpuPath
from runtime.overlay import Overlay
from runtime.pipeline import Stream
from runtime.refiner import CrfRefiner
from runtime.switched_session import SwitchedSession
from runtime.switches import Settings


class LiveControls:
    """The `apply` of a stream's `Switches`. Each assignment here is one step for other threads.

    Args:
        stream: Is paused and resumed.
        session: Loads other precisions, if it is a `SwitchedSession`.
        make_refiner: A CRF for "fast" or "exact".
        refiner: The one that the stream begins with.
        drawer: Of the window and recordings, if there is one.
    """

    def __init__(
        self,
        stream: Stream,
        session: Session,
        make_refiner: Callable[[str], CrfRefiner],
        refiner: CrfRefiner | None,
        drawer: Overlay | None,
    ) -> None:
        self._stream = stream
        self._session = session
        self._make_refiner = make_refiner
        self._refiners = {refiner.mode: refiner} if refiner else {}
        self._drawer = drawer

    def __call__(self, before: Settings, after: Settings) -> None:
        """Carry a change into the stream, from its next frame on."""
        if self._drawer is not None:
            self._drawer.alpha = after.alpha
        path, session = self._stream.path, self._session
        if after.crf != before.crf and isinstance(path, CpuPath):
            path.refiner = self._refiner(after.crf)
        if after.precision != before.precision and isinstance(session, SwitchedSession):
            session.use(after.precision)
        if after.paused != before.paused:
            (self._stream.pause if after.paused else self._stream.resume)()

    def crf_iterations(self) -> dict[int, int]:
        """How many frames got how many CRF iterations, in all modes together."""
        counts = sum((r.iterations for r in self._refiners.values()), Counter[int]())
        return dict(sorted(counts.items()))

    def _refiner(self, mode: str) -> CrfRefiner | None:
        if mode == "off":
            return None
        return self._refiners.setdefault(mode, self._make_refiner(mode))
