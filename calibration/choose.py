"""Which scheme suits a model: all are tried, and judged on frames that none of them has seen.

Calibrators disagree by weights, and no rule says beforehand which is best. The judge is the mean
over both flavours, as one set of ranges feeds both, of the mIoU against FP32's own masks. Labels
would not judge better: schemes differ by few pixels, and of those an accident that agrees with a
label is no merit of the scheme. Nor would agreement in pixels: road and sky would outvote the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.calibrate import Calibration
from calibration.scheme import METHODS, Scheme

if TYPE_CHECKING:
    from calibration.fidelity import Fidelity, Reference
    from calibration.graphs.placement import Flavour
    from engines.ranges import Ranges


@dataclass(frozen=True)
class Try:
    """One scheme's ranges and how faithful its graphs were to FP32 on the held-out frames."""

    scheme: Scheme
    ranges: Ranges
    fidelity: dict[Flavour, Fidelity]
    seconds: float  # to take the ranges and to judge them; the first scheme's hold the statistics

    @property
    def score(self) -> float:
        """Percent mIoU with FP32's masks as truth, mean over the flavours; more is better."""
        return sum(item.miou for item in self.fidelity.values()) / len(self.fidelity)


def choose(
    calibration: Calibration,
    held_out: Sequence[NDArray[np.uint8]],
    schemes: Sequence[Scheme] = (),
) -> list[Try]:
    """Try schemes; all tries, the best first, and the earlier first where two tie.

    Without `schemes`: every method, then the best one with equalisation, with bias correction and
    with both. None of the frames of `calibration` may be among `held_out`.
    """
    from calibration.fidelity import Reference

    reference = Reference(calibration.graph, held_out)
    if schemes:
        return _ranked(_tries(calibration, reference, schemes))
    plain = _ranked(_tries(calibration, reference, map(Scheme, METHODS)))
    return _ranked([*plain, *_tries(calibration, reference, repairs(plain[0].scheme))])


def repairs(scheme: Scheme) -> list[Scheme]:
    """What may be added to a method."""
    return [
        replace(scheme, equalise=equalise, correct_bias=correct_bias)
        for equalise, correct_bias in ((True, False), (False, True), (True, True))
    ]


def _tries(calibration: Calibration, reference: Reference, schemes: Iterable[Scheme]) -> list[Try]:
    progress = tqdm(list(schemes), desc="schemes", unit="scheme", disable=None)
    return [_try(calibration, reference, scheme) for scheme in progress]


def _try(calibration: Calibration, reference: Reference, scheme: Scheme) -> Try:
    from calibration.graphs.placement import FLAVOURS
    from calibration.graphs.quantized import quantized

    started = time.perf_counter()
    ranges = calibration.ranges(scheme)
    graphs = {flavour: quantized(calibration.graph, ranges, flavour) for flavour in FLAVOURS}
    fidelity = {flavour: reference.score(graph) for flavour, graph in graphs.items()}
    return Try(scheme, ranges, fidelity, time.perf_counter() - started)


def _ranked(tries: list[Try]) -> list[Try]:
    return sorted(tries, key=lambda item: -item.score)
