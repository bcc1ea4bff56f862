"""Colour a mask over its frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def blend(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    palette: Sequence[tuple[int, int, int]],
    alpha: float = 0.5,
) -> NDArray[np.uint8]:
    """Mix `alpha` of each label's colour into the frame [H, W, 3]; label 255 (ignore) stays clear.

    Fixed point with 8 bits: (frame * (256 - a) + colour * a) >> 8, a = round(256 alpha).
    """
    weight = round(256 * alpha)
    colours = np.zeros((256, 3), np.uint16)
    colours[: len(palette)] = np.asarray(palette, np.uint16) * weight
    mixed = frame * np.uint16(256 - weight)
    mixed += colours[labels]
    mixed >>= 8
    result = mixed.astype(np.uint8)
    ignored = labels >= len(palette)
    if ignored.any():
        result[ignored] = frame[ignored]
    return result
