"""The CRF for frames of any size, one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.dense_crf import DenseCrf
from engines.labels import upsample
from engines.spec import CrfParams


class Refinement:
    """A `DenseCrf` that is made anew when the frame's size changes; arguments as for it."""

    def __init__(self, classes: int, params: CrfParams, mode: str) -> None:
        self._classes, self._params, self._mode = classes, params, mode
        self._crf: DenseCrf | None = None

    def __call__(
        self,
        frame: NDArray[np.uint8],
        logits: NDArray[np.floating],
        budget_ms: float | None = None,
    ) -> NDArray[np.uint8]:
        """Labels [H, W] of a frame [H, W, 3] and its logits [C, h, w], as `DenseCrf.refine`."""
        size = (frame.shape[0], frame.shape[1])
        if self._crf is None or self._crf.size != size:
            self._crf = DenseCrf(size, self._classes, self._params, mode=self._mode)
        if logits.shape[1] > size[0] or logits.shape[2] > size[1]:  # a thumbnail of an archive
            logits = upsample(logits, size)
        return self._crf.refine(frame, logits, budget_ms)

    @property
    def iterations_run(self) -> int:
        """How many iterations the last frame got; 0 before the first."""
        return self._crf.iterations_run if self._crf else 0
