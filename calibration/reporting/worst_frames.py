"""The frames that a reduced precision changed most, kept while a dataset streams by."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from scenes.dataset import Frame, Labels, Scene
from scenes.scores import ConfusionMatrix

WORST = 4  # frames shown as pictures


@dataclass(frozen=True)
class WorstFrame:
    """A frame where a reduced graph's mask differs much from FP32's; `agreement` in percent."""

    index: int
    name: str
    precision: str
    agreement: float
    miou_fp32: float | None
    miou: float | None
    frame: Frame = field(repr=False)
    truth: Labels = field(repr=False)
    reference: Labels = field(repr=False)
    candidate: Labels = field(repr=False)

    def to_json(self) -> dict[str, str | int | float | None]:
        """The numbers, without the pictures."""
        numbers = ("index", "name", "precision", "agreement", "miou_fp32", "miou")
        return {name: getattr(self, name) for name in numbers}


class WorstFrames:
    """Keeps the `WORST` frames whose two masks differ in most pixels; ties go to the earlier."""

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._heap: list[tuple[float, int, Scene, Labels, Labels]] = []

    def offer(self, index: int, scene: Scene, reference: Labels, candidate: Labels) -> None:
        """Keep this frame if it is among the worst so far; equal masks never are."""
        differing = float(np.mean(reference != candidate))
        if differing > 0:
            heapq.heappush(self._heap, (differing, -index, scene, reference, candidate))
        if len(self._heap) > WORST:
            heapq.heappop(self._heap)

    def sorted(self, classes: int) -> list[WorstFrame]:
        """The kept frames, worst first, with the mIoU of each mask on that frame."""
        return [
            WorstFrame(
                -index, scene.name, self._precision, 100 * (1 - differing),
                frame_miou(scene.labels, reference, classes),
                frame_miou(scene.labels, candidate, classes),
                scene.frame, scene.labels, reference, candidate,
            )
            for differing, index, scene, reference, candidate in sorted(self._heap, reverse=True)
        ]  # fmt: skip


def frame_miou(truth: Labels, mask: Labels, classes: int) -> float | None:
    """MIoU of one frame in percent; None where nothing is labelled."""
    confusion = ConfusionMatrix(classes)
    confusion.add(truth, mask)
    return None if np.isnan(confusion.miou) else 100 * confusion.miou
