"""A session whose model can be exchanged between two frames, for another precision of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.failures import Failure
from engines.golden_test import require_golden
from engines.manifest import CPU_TARGETS
from engines.session import Session, open_session
from engines.wrapped_session import WrappedSession


class SwitchedSession(WrappedSession):
    """Runs one session of a bundle; `use` puts another one in its place.

    The new one is loaded in a thread of its own while frames go on, and the old one closed when
    its last frame is done.

    Args:
        session: To begin with; it is this object's to close from now on.
        opener: Opens the bundle in another precision.
    """

    def __init__(
        self,
        session: Session,
        opener: Callable[[str], Session],
    ) -> None:
        # Gets a failure to load; the old session goes on.
        self.failed: Callable[[Failure], None] = lambda error: None
        super().__init__(session)
        self._opener = opener
        self._wanted = session.precision
        self._closed = False
        self._running = threading.Lock()  # one frame, or one exchange
        self._loading = threading.Lock()

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]."""
        with self._running:
            return self._session.run(frames)

    def use(self, precision: str) -> threading.Thread:
        """Begin to load a precision, unless a later call asks for another one before it starts."""
        self._wanted = precision
        thread = threading.Thread(target=self._load, args=(precision,), name="load", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Close the session that runs now."""
        with self._running:
            self._closed = True
            self._session.close()

    def _load(self, precision: str) -> None:
        with self._loading:
            if self._closed or precision != self._wanted or precision == self.precision:
                return
            try:
                session = self._opener(precision)
            except Failure as error:
                self._wanted = self.precision
                self.failed(error)
                return
            self._exchange(session)

    def _exchange(self, session: Session) -> None:
        with self._running:
            old = session if self._closed else self._session
            self._session = self._session if self._closed else session
            old.close()


def open_switched(bundle: Bundle, precision: str, target: str) -> tuple[Session, tuple[str, ...]]:
    """A session that can be exchanged live, and the precisions that it can be exchanged for.

    What takes its place has passed the bundle's golden test. Plans are loaded once: another one
    would need its own buffers on the GPU, so there is no choice.
    """
    session = open_session(bundle, precision, target)
    if session.target not in CPU_TARGETS:
        return session, (precision,)
    graphs = [file.precision for file in bundle.manifest.files if file.kind == "onnx"]
    choices = tuple(p for p in ("fp32", "fp16", "int8", "mixed") if p in graphs)
    return SwitchedSession(session, lambda p: _open_tested(bundle, p, target)), choices


def _open_tested(bundle: Bundle, precision: str, target: str) -> Session:
    session = open_session(bundle, precision, target)
    try:
        require_golden(session, bundle, f"python export/build_engine.py --{precision}")
    except Failure:
        session.close()
        raise
    return session
