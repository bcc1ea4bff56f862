"""A session that stands in front of another one and says of itself what that one is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from engines.session import Session
from engines.spec import ModelSpec


class WrappedSession(ABC):
    """What all sessions in front of another share."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def spec(self) -> ModelSpec:
        """Of the session behind."""
        return self._session.spec

    @property
    def precision(self) -> str:
        """Of the session behind."""
        return self._session.precision

    @property
    def target(self) -> str:
        """Of the session behind."""
        return self._session.target

    @property
    def description(self) -> str:
        """Of the session behind."""
        return self._session.description

    @abstractmethod
    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]."""

    @abstractmethod
    def close(self) -> None:
        """Free what is this object's own."""

    def __enter__(self) -> WrappedSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
