"""One graph under measurement, and what its rows of the report add up as frames stream by."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.reporting.candidates import Candidate
from crf.refinement import Refinement
from engines.failures import Refused
from scenes.dataset import Labels, Scene
from scenes.scores import SegmentationScores, TrueBoundaries


class Sums:
    """Scores against the truth, pixels with FP32's label, milliseconds; memory stays flat."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.scores = SegmentationScores(classes)
        self.milliseconds: list[float] = []
        self._same = self._pixels = 0

    def add(self, truth: TrueBoundaries, mask: Labels, reference: Labels) -> None:
        """Score one mask against the truth and count the pixels that have FP32's label."""
        self.scores.compare(truth, mask)
        self._same += int(np.count_nonzero(mask == reference))
        self._pixels += mask.size

    @property
    def agreement(self) -> float:
        """Percent of all pixels that have FP32's label."""
        return 100 * self._same / self._pixels


class Meter:
    """One candidate under measurement: its session, and the sums over its masks.

    `refined` is None for a try: what the CRF does to it decides nothing.
    """

    def __init__(self, candidate: Candidate, with_crf: bool) -> None:
        self.candidate = candidate
        self.session = candidate.open()
        self.plain = Sums(candidate.spec.classes)
        refined = with_crf and candidate.shipped
        self.refined = Sums(candidate.spec.classes) if refined else None

    def run(self, model_input: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [C, h, w] of one model input [H, W, 3]; only the session is on the clock."""
        batch = model_input[None]
        started = time.perf_counter()
        logits = self.session.run(batch)
        self.plain.milliseconds.append((time.perf_counter() - started) * 1e3)
        if not np.isfinite(logits).all():
            raise Refused(
                f"the {self.candidate.name} graph gives logits that are not finite: it overflows "
                "or its scales are damaged; build the bundle again, from other weights if need be"
            )
        return np.asarray(logits[0])

    def refine(self, crf: Refinement, scene: Scene, logits: NDArray[np.float32]) -> Labels:
        """The CRF's mask of one frame; its time comes on top of the network's."""
        started = time.perf_counter()
        mask = crf(scene.frame, logits)
        took = (time.perf_counter() - started) * 1e3
        assert self.refined is not None
        self.refined.milliseconds.append(self.plain.milliseconds[-1] + took)
        return mask

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
