"""From stride-4 logits to labels at the frame's size, without full-resolution logits.

Bilinear with align_corners=False, as in training and ONNX: output pixel y reads the source row
(y + 0.5) * h / H - 0.5, clamped to the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Taps:
    """Where each output coordinate reads: source `low` and `high`, and the weight of `high`."""

    low: Indices
    high: Indices
    weight: Floats


@lru_cache(maxsize=64)
def taps(size: int, source: int) -> Taps:
    """The bilinear taps of one axis, for `size` outputs from `source` inputs."""
    position = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, source - 1)
    return Taps(low, high, (position - low).astype(np.float32))


def upsample(logits: Floats, size: tuple[int, int]) -> Floats:
    """Resize logits [C, h, w] to [C, H, W] bilinearly: for the CRF, and the oracle of the rest."""
    ys, xs = taps(size[0], logits.shape[1]), taps(size[1], logits.shape[2])
    weight = ys.weight[:, None]
    rows = logits[:, ys.low] * (1 - weight) + logits[:, ys.high] * weight
    return np.asarray(rows[..., xs.low] * (1 - xs.weight) + rows[..., xs.high] * xs.weight)


def upsample_argmax(logits: Floats, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels [H, W] of logits [C, h, w]; equal to `upsample(...).argmax(0)`.

    A convex combination of four logit vectors with the same winner has that winner too. So where
    the four neighbours of a cell agree, its pixels are copied; only the cells on borders between
    classes, about a sixth of a street scene, are interpolated.
    """
    classes, height, width = logits.shape
    ys, xs = taps(size[0], height), taps(size[1], width)
    winner = logits.argmax(axis=0).astype(np.uint8)
    right = winner[:, np.minimum(np.arange(width) + 1, width - 1)]
    same = winner == right
    below = np.minimum(np.arange(height) + 1, height - 1)
    mixed = ~(same & same[below] & (winner == winner[below]))

    labels: NDArray[np.uint8] = winner[ys.low[:, None], xs.low]
    y, x = np.nonzero(mixed[ys.low[:, None], xs.low])
    if y.size:
        vectors = np.ascontiguousarray(logits.reshape(classes, -1).T)  # [h*w, C]
        labels[y, x] = _interpolate(vectors, width, ys, xs, y, x).argmax(axis=1)
    return labels


def _interpolate(vectors: Floats, width: int, ys: Taps, xs: Taps, y: Indices, x: Indices) -> Floats:
    """Bilinear logit vectors [K, C] at the output pixels (y, x), summed as `upsample` does."""
    top, bottom = ys.low[y] * width, ys.high[y] * width
    left, right = xs.low[x], xs.high[x]
    down, across = ys.weight[y][:, None], xs.weight[x][:, None]
    west = vectors[top + left] * (1 - down) + vectors[bottom + left] * down
    east = vectors[top + right] * (1 - down) + vectors[bottom + right] * down
    return np.asarray(west * (1 - across) + east * across)
