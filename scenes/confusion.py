"""The confusion matrix of a dataset, and what is read off it: IoU per class, mIoU, accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenes.dataset import IGNORE, Labels


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs over a dataset, for classes 0..`classes` - 1.

    A prediction of ignore where the truth has a class is an error of that class: it lowers its IoU
    and the pixel accuracy, so that abstaining never pays.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes < IGNORE:
            raise ValueError(f"a confusion matrix has 1 to {IGNORE - 1} classes, got {classes}")
        self._classes = classes
        self._pairs = np.zeros((classes, classes + 1), np.int64)  # the last column: ignore

    def add(self, truth: Labels, prediction: Labels) -> None:
        """Count one pair of label maps of equal shape; a value that is no class is a ValueError."""
        check_pair(truth, prediction)
        pair = truth.astype(np.uint16) << 8 | prediction
        counts = np.bincount(pair.ravel(), minlength=1 << 16).reshape(256, 256)
        counts[IGNORE] = 0
        self._check_values(counts)
        self._pairs[:, :-1] += counts[: self._classes, : self._classes]
        self._pairs[:, -1] += counts[: self._classes, IGNORE]

    def merge(self, other: ConfusionMatrix) -> None:
        """Count all that `other` has counted, of the same classes."""
        self._pairs += other._pairs

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Pixels of truth class i predicted as class j, [classes, classes]."""
        return self._pairs[:, :-1]

    @property
    def unpredicted(self) -> NDArray[np.int64]:
        """Pixels of each truth class that were predicted as ignore, [classes]."""
        return self._pairs[:, -1]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class; NaN where the truth lacks the class.

        That would be 0 from the first stray pixel of such a class on, which took 8 points off a
        mean over 11 classes, and two models would be compared over different classes. The pixel
        is an error of its true class as it is.
        """
        intersection = self.matrix.diagonal()
        truth = self.matrix.sum(axis=1) + self.unpredicted
        union = truth + self.matrix.sum(axis=0) - intersection
        return ratio(intersection, np.where(truth > 0, union, 0))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in the truth; NaN for an empty matrix."""
        return mean_of_known(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that were predicted right; NaN for an empty matrix."""
        correct = self.matrix.trace()
        return float(ratio(correct, self.matrix.sum() + self.unpredicted.sum()))

    def _check_values(self, counts: NDArray[np.int64]) -> None:
        bad_truth = counts[self._classes : IGNORE].sum(axis=1)
        bad_prediction = counts[:, self._classes : IGNORE].sum(axis=0)
        for name, bad in (("truth", bad_truth), ("prediction", bad_prediction)):
            if bad.any():
                value = self._classes + int(bad.argmax())
                raise ValueError(
                    f"{name} holds label {value}, but there are {self._classes} classes"
                )


def ratio(part: object, whole: object) -> NDArray[np.float64]:
    """part / whole in double precision, NaN where the whole is 0."""
    numerator, denominator = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean over what is not NaN; NaN where nothing is left."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def check_pair(truth: Labels, prediction: Labels) -> None:
    """Raise `TypeError` or `ValueError` unless both are uint8 label maps of one shape."""
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype != np.uint8:
            raise TypeError(f"{name} must be uint8 labels, got {labels.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
