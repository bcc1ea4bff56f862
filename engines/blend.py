"""Colour a mask over its frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engines.compiled import pixels

Colour = tuple[int, int, int]


def blend(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    palette: Sequence[Colour],
    alpha: float = 0.5,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """A new picture [H, W, 3]: (1 - alpha) frame + alpha of each label's colour, rounded half up.

    Labels without a colour, 255 (ignore) among them, leave the frame as it is.
    """
    if frame.dtype != np.uint8 or labels.dtype != np.uint8 or frame.shape != (*labels.shape, 3):
        raise ValueError(
            f"frame {frame.dtype} {frame.shape} and labels {labels.dtype} {labels.shape} do not "
            "belong together: uint8 [H, W, 3] and uint8 [H, W] are needed"
        )
    mixed = np.empty(frame.shape, np.uint8)
    table = mixing_table(tuple(palette), alpha)
    pixels.blend(np.ascontiguousarray(frame), np.ascontiguousarray(labels), table, mixed, threads)
    return mixed


@lru_cache(maxsize=4)
def mixing_table(palette: tuple[Colour, ...], alpha: float) -> NDArray[np.uint8]:
    """[label, channel, level of the frame] -> mixed level; 8 KB of it are in use for 11 classes."""
    if not 0 <= alpha <= 1 or len(palette) > 255:
        raise ValueError(f"alpha {alpha} of 0 to 1, or {len(palette)} colours of at most 255")
    levels = np.arange(256)
    table = np.empty((256, 3, 256), np.uint8)
    table[:] = levels
    if palette:
        colours = np.asarray(palette, np.float64)[:, :, None]
        table[: len(palette)] = np.floor(levels * (1 - alpha) + colours * alpha + 0.5)
    table.flags.writeable = False
    return table
