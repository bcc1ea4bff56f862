"""The CPU backend: the C++ core of crf/native, with threads and SIMD."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from numpy.typing import NDArray

from crf import _native
from crf.permutohedral import too_fine
from crf.unary import not_finite
from engines._native import simd_levels
from engines.failures import UsageError
from engines.spec import CrfParams


class NativeCrf:
    """The CRF for frames of one size; arguments as for `DenseCrf`.

    Args:
        level: SIMD level, one of `engines._native.simd_levels()`; None for `best_level`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        classes: int,
        params: CrfParams,
        fast: bool = False,
        threads: int | None = None,
        level: str | None = None,
    ) -> None:
        self._size, self._classes = size, classes
        try:
            self._core = _native.MeanField(
                height=size[0],
                width=size[1],
                classes=classes,
                **dataclasses.asdict(params),
                fast=fast,
                threads=threads or len(os.sched_getaffinity(0)),
                level=level or best_level(classes),
            )
        except OverflowError:
            raise UsageError(too_fine("more positions than keys can tell apart")) from None

    def run(
        self, frame: NDArray[np.uint8], logits: NDArray[np.float32], budget_ms: float | None
    ) -> int:
        """As `Backend.run`."""
        # 0 is the core's word for no limit; a caller who is late already gets one iteration
        limit = 0.0 if budget_ms is None else max(1e-9, budget_ms)
        iterations = self._core.run(frame, logits, limit)
        if iterations == _native.REFUSED:
            raise not_finite()
        return iterations

    def labels(self) -> NDArray[np.uint8]:
        """As `Backend.labels`."""
        result = np.empty(self._size, np.uint8)
        self._core.labels(result)
        return result

    def marginals(self) -> NDArray[np.float32]:
        """As `Backend.marginals`."""
        result = np.empty((self._classes, *self._size), np.float32)
        self._core.marginals(result)
        return result

    def close(self) -> None:
        """As `Backend.close`: the core's memory goes with the object."""

    @property
    def scratch_bytes(self) -> int:
        """Memory held for the next frame."""
        return self._core.bytes


def best_level(classes: int) -> str:
    """The widest SIMD level here, but AVX2 where AVX-512 would pad rows of classes more.

    21 classes fill 24 lanes or 32: as fast on both, with a fifth less memory in AVX2.
    """
    widest = simd_levels()[-1]
    wasteful = 0 < classes % 16 <= 8
    return "avx2" if widest == "avx512" and wasteful else widest
