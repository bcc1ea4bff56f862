"""The pixel loops of engines/native in plain NumPy: the oracle that tests hold them to.

Each function has the name, arguments and result of the compiled one in `engines.labels` or
`engines.blend`; nothing calls these in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
IMPOSSIBLE = np.float32(-1e30)  # stands for -inf, which interpolation with weight 0 makes NaN


def taps(size: int, source: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """What each of `size` outputs reads from `source` inputs: low, high, and the weight of high."""
    position = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)


def upsample(logits: Floats, size: tuple[int, int]) -> Floats:
    """Logits [C, h, w] -> [C, H, W], bilinear with align_corners=False."""
    logits = np.maximum(logits, IMPOSSIBLE)
    north, south, down = taps(size[0], logits.shape[1])
    west, east, across = taps(size[1], logits.shape[2])
    rows = logits[:, :, west] * (1 - across) + logits[:, :, east] * across
    return np.asarray(rows[:, north] * (1 - down[:, None]) + rows[:, south] * down[:, None])


def upsample_argmax(logits: Floats, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The first class with the largest interpolated logit: uint8 [H, W]."""
    return np.asarray(upsample(logits, size).argmax(axis=0), np.uint8)


def upsample_softmax(logits: Floats, size: tuple[int, int]) -> Floats:
    """The softmax of the interpolated logits: [C, H, W]."""
    values = upsample(logits, size)
    powers = np.exp(values - values.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def blend(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    palette: Sequence[tuple[int, int, int]],
    alpha: float = 0.5,
) -> NDArray[np.uint8]:
    """(1 - alpha) frame + alpha colour, rounded half up; labels without a colour stay clear."""
    painted = labels < len(palette)
    colours = np.asarray(palette, np.float64)[np.where(painted, labels, 0)]
    mixed = np.floor(frame * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)
    return np.where(painted[..., None], mixed, frame)
