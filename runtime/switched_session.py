"""A session whose model can be exchanged between two frames, for another precision of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engines.failures import Failure
from engines.session import Session
from engines.spec import ModelSpec


class SwitchedSession:
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
        self._session = session
        self._opener = opener
        self._wanted = session.precision
        self._closed = False
        self._running = threading.Lock()  # one frame, or one exchange
        self._loading = threading.Lock()

    @property
    def spec(self) -> ModelSpec:
        """The same for all precisions of a bundle."""
        return self._session.spec

    @property
    def precision(self) -> str:
        """Of the session that runs now."""
        return self._session.precision

    @property
    def target(self) -> str:
        """The same for all."""
        return self._session.target

    @property
    def description(self) -> str:
        """Of the session that runs now."""
        return self._session.description

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

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
