"""From a network's logits to the CRF's unary energies (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.failures import Refused
from engines.twins import IMPOSSIBLE, upsample

Floats = NDArray[np.float32]

LEAST_PROBABILITY = 1e-5  # the clip of pydensecrf's unary_from_softmax; the rest is not rescaled


def unary_energies(logits: Floats, size: tuple[int, int], temperature: float) -> Floats:
    """U = min(-log softmax(logits / temperature), -log 1e-5): float32 [C, h, w] -> [C, H * W].

    Logits of another size are upsampled bilinearly first.

    Raises:
        Refused: NaN or +inf among the logits, or a pixel that excludes every class.
    """
    scores = finite(logits)
    if scores.shape[1:] != size:
        scores = upsample(scores, size)
    scores = scores.reshape(len(scores), -1)
    with np.errstate(over="ignore"):  # an overflow to -inf is probability 0, clipped below
        scaled = (scores - scores.max(axis=0)) / np.float32(temperature)
    surprise: Floats = np.log(np.exp(scaled).sum(axis=0)) - scaled
    return np.minimum(surprise, np.float32(-np.log(LEAST_PROBABILITY)))


def finite(logits: Floats) -> Floats:
    """Logits less their maximum over the classes: same softmax, no infinity left."""
    peak = logits.max(axis=0)
    if not np.isfinite(peak).all():
        raise not_finite()
    with np.errstate(over="ignore"):
        result: Floats = np.maximum(logits - peak, IMPOSSIBLE)
    return result


def not_finite() -> Refused:
    """What every backend raises when a pixel's largest logit is NaN or infinite."""
    return Refused(
        "the logits hold NaN or infinity: an overflow inside the network (FP16?) is the "
        "likely cause; run the model with --precision fp32 and compare"
    )
