"""The golden self-test: an engine proves itself on the bundle's own frames before it is trusted.

It tells a right engine from a wrong one: of other weights, for swapped channels, or on a GPU that
computes wrongly. One whose accuracy is slightly off is export/verify.py's to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.bundle import CPU_FLAVOUR, Bundle
from engines.failures import Refused
from engines.labels import upsample_argmax
from engines.manifest import CPU_TARGETS
from engines.session import Session

# How many more of the pixels may have another label than FP32's, beyond those that onnxruntime
# counted with the same graph at build time: what other kernels may round differently. The bundled
# model's graphs change 0.0003 (FP16), 0.0038 (INT8); wrong ones at least: frames one pixel aside
# 0.023, red and blue exchanged 0.081, one convolution of no weight 0.72, weights with 2 % of noise
# 0.60. Below these limits a wrong engine is nearly right: one layer times 1.05 changes 0.004.
MARGIN = {"fp32": 0.01, "fp16": 0.01, "int8": 0.02, "mixed": 0.02}
LEAST = 0.5  # whatever the build counted: such an engine is of no use


@dataclass(frozen=True)
class GoldenResult:
    """The share of pixels with FP32's label, the least that is accepted, and what is wrong."""

    frames: int
    agreement: float
    limit: float
    problem: str | None


def golden_test(session: Session, bundle: Bundle, flavour: str | None = None) -> GoldenResult:
    """Run the bundle's golden frames, one at a time; `flavour` is that of another INT8 graph than
    the target's."""
    limit = golden_limit(bundle, session, flavour)
    golden = bundle.golden()
    shares = []
    for index, item in enumerate(golden):
        logits = session.run(item.frame[None])
        problem = _problem(logits, bundle)
        if problem is not None:
            return GoldenResult(len(golden), 0.0, limit, f"golden frame {index}: {problem}")
        labels = upsample_argmax(logits[0], bundle.spec.input_size)
        shares.append(float(np.mean(labels == item.labels)))
    if not golden:
        return GoldenResult(0, 0.0, limit, "the bundle has no golden frames to test it on")
    agreement = float(np.mean(shares))
    wrong = f"{agreement:.2%} of the pixels have FP32's label, and {limit:.2%} are the least"
    return GoldenResult(len(golden), agreement, limit, wrong if agreement < limit else None)


def require_golden(session: Session, bundle: Bundle, rebuild: str) -> GoldenResult:
    """The result of a test that was passed; one that was not raises `Refused`."""
    result = golden_test(session, bundle)
    if result.problem is not None:
        raise Refused(
            f"the {session.precision} engine for {session.target} fails its self-test: "
            f"{result.problem}; it is wrong, or the GPU computes wrongly: build it again: {rebuild}"
        )
    return result


def golden_limit(bundle: Bundle, session: Session, flavour: str | None = None) -> float:
    """The least share of pixels that must have FP32's label."""
    precision = session.precision
    if precision in CPU_FLAVOUR and flavour is None:
        flavour = CPU_FLAVOUR[precision] if session.target in CPU_TARGETS else "s8"
    name = f"{precision}_{flavour}" if flavour else precision
    told = bundle.manifest.provenance.get("golden_agreement") or {}
    counted = told.get(name, 1.0) if isinstance(told, dict) else None
    if not (isinstance(counted, float | int) and 0 <= counted <= 1):
        raise Refused(f"{bundle.root}: golden_agreement of {name} is no share: build it again")
    return max(counted - MARGIN[precision], LEAST)


def _problem(logits: NDArray[np.float32], bundle: Bundle) -> str | None:
    expected = (1, len(bundle.spec.classes), *bundle.spec.logits_size)
    if logits.shape != expected:
        return f"logits {list(logits.shape)} instead of {list(expected)}"
    if not np.isfinite(logits).all():
        return "logits that are no numbers (NaN) or infinite, as FP16 gives beyond 65504"
    return None
