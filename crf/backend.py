"""What computes a CRF: one small interface, one implementation per kind of machine."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """Mean-field inference for frames of one size. Not for use from two threads at once."""

    def run(
        self, frame: NDArray[np.uint8], logits: NDArray[np.float32], budget_ms: float | None
    ) -> int:
        """Infer, and return the number of iterations that ran.

        Args:
            frame: uint8 [H, W, 3], contiguous.
            logits: float32 [C, h, w], contiguous, as the caller has them: a pixel whose largest is
                not finite is `Refused`.
            budget_ms: No further iteration once it would end later than this; None for no limit.
        """
        ...

    def labels(self) -> NDArray[np.uint8]:
        """The most probable class of each pixel after the last run, uint8 [H, W]."""
        ...

    def marginals(self) -> NDArray[np.float32]:
        """The marginals after the last run, float32 [C, H, W]."""
        ...

    def close(self) -> None:
        """Give back what outlives the object, as a GPU's memory does."""
        ...
