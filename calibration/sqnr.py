"""Signal over quantization noise, in decibels, summed over frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

CEILING = 150.0  # dB; FP32's 24 bits are 144 dB, so what reaches this is equal


class Sqnr:
    """10 log10(sum x² / sum (x - q)²) over all arrays x and their quantized twins q so far."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, exact: NDArray[Any], quantized: NDArray[Any]) -> None:
        """Count one more pair of equal shape."""
        signal = exact.astype(np.float64)
        noise = signal - quantized
        self._signal += float(np.vdot(signal, signal))
        self._noise += float(np.vdot(noise, noise))

    @property
    def decibel(self) -> float:
        """At most `CEILING`; NaN where a value was not finite."""
        return decibel(self._signal, self._noise)


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise), from -`CEILING` to `CEILING`."""
    if not noise:
        return CEILING
    ratio = signal / noise
    if not ratio:  # infinite noise, too: an overflow
        return -CEILING
    return max(min(10 * math.log10(ratio), CEILING), -CEILING)
