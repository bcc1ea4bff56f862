"""How masks are scored: IoU over a dataset's confusion matrix, and two measures near boundaries.

Everything is summed over the dataset before any ratio is taken, as VOC and Cityscapes do; averaging
per-image scores gives other numbers. Pixels whose truth is ignore never count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenes.boundaries import TOLERANCE, BoundaryScores, TrueBoundaries
from scenes.confusion import ConfusionMatrix
from scenes.dataset import DatasetError, Labels

__all__ = [
    "TOLERANCE",
    "BoundaryScores",
    "ConfusionMatrix",
    "SegmentationScores",
    "Summary",
    "TrueBoundaries",
]


@dataclass(frozen=True)
class Summary:
    """A dataset's scores in percent; `per_class` is the IoU, None for a class that no label shows.

    `boundary_f` and `trimap_accuracy` are None where no two classes ever touch.
    """

    miou: float
    per_class: dict[str, float | None]
    boundary_f: float | None
    trimap_accuracy: float | None
    pixel_accuracy: float
    images: int


class SegmentationScores:
    """All the scores of a dataset; `add` each image, then ask for the `summary`."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._names = tuple(classes)
        self._images = 0
        self.confusion = ConfusionMatrix(len(self._names))
        self.boundaries = BoundaryScores(len(self._names))

    def add(self, truth: Labels, prediction: Labels) -> None:
        """Score one predicted label map against the truth, both [H, W]."""
        self.compare(TrueBoundaries(truth, len(self._names)), prediction)

    def compare(self, truth: TrueBoundaries, prediction: Labels) -> None:
        """Score one more prediction [H, W] for a truth that was prepared before."""
        self.confusion.add(truth.labels, prediction)
        self.boundaries.compare(truth, prediction)
        self._images += 1

    def merge(self, other: SegmentationScores) -> None:
        """Count all that `other` has counted, of the same classes: scores are sums."""
        self.confusion.merge(other.confusion)
        self.boundaries.merge(other.boundaries)
        self._images += other._images

    def summary(self) -> Summary:
        """The scores so far; raises `DatasetError` when no labelled pixel was added."""
        if np.isnan(self.confusion.pixel_accuracy):
            raise DatasetError(
                f"nothing to score: {self._images} images without one labelled pixel; "
                "check the split's name and the ignore label"
            )
        iou = [_percent(value) for value in self.confusion.iou]
        return Summary(
            miou=100 * self.confusion.miou,
            per_class=dict(zip(self._names, iou, strict=True)),
            boundary_f=_percent(self.boundaries.f_score),
            trimap_accuracy=_percent(self.boundaries.trimap_accuracy),
            pixel_accuracy=100 * self.confusion.pixel_accuracy,
            images=self._images,
        )


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else 100 * float(value)
