"""From stride-4 logits to labels or probabilities at the frame's size, in C++.

Bilinear with align_corners=False, as in training and ONNX: output pixel y reads the source row
(y + 0.5) * h / H - 0.5, clamped to the map. Labels never need full-resolution logits: a convex
combination of four logit vectors with the same winner has that winner too, so only the cells on
borders between classes are interpolated.

Logits are float [C, h, w], C at most 255, in any memory layout (float32 and contiguous saves a
copy). -inf stands for an excluded class; NaN counts as the largest value, as in NumPy. No result
depends on the number of threads or on the machine's vector instructions. `engines.twins` holds the
same functions in NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.compiled import pixels

Floats = NDArray[np.float32]


def upsample_argmax(
    logits: NDArray[np.floating], size: tuple[int, int], threads: int = 1
) -> NDArray[np.uint8]:
    """Labels [H, W]: the first class with the largest interpolated logit.

    Equal to `upsample(logits, size).argmax(0)`, except where rounding made two classes equal.
    """
    labels = np.empty(size, np.uint8)
    pixels.upsample_argmax(_checked(logits), labels, threads)
    return labels


def upsample_softmax(
    logits: NDArray[np.floating], size: tuple[int, int], threads: int = 1
) -> Floats:
    """Probabilities [C, H, W]: the softmax over the classes of the interpolated logits."""
    marginals = np.empty((len(logits), *size), np.float32)
    pixels.upsample_softmax(_checked(logits), marginals, threads)
    return marginals


def upsample(logits: NDArray[np.floating], size: tuple[int, int], threads: int = 1) -> Floats:
    """The interpolated logits [C, H, W] themselves."""
    values = np.empty((len(logits), *size), np.float32)
    pixels.upsample(_checked(logits), values, threads)
    return values


def _checked(logits: NDArray[np.floating]) -> Floats:
    if logits.ndim != 3 or not logits.size or len(logits) > 255:
        raise ValueError(f"logits are {logits.shape}: [C, h, w] with 1 to 255 classes is needed")
    return np.ascontiguousarray(logits, np.float32)
