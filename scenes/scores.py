"""How masks are scored: IoU over a dataset's confusion matrix, and two measures near boundaries.

Everything is summed over the dataset before any ratio is taken, as VOC and Cityscapes do; averaging
per-image scores gives other numbers. Pixels whose truth is ignore never count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.dataset import IGNORE, DatasetError, Labels

TOLERANCE = 3  # pixels, Euclidean; `_within_tolerance` is this disc written out
GROUP = 16  # classes dilated at once, one bit each of a uint16


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs over a dataset, for classes 0..`classes` - 1.

    A prediction of ignore where the truth has a class is an error of that class: it lowers its IoU
    and the pixel accuracy, so that abstaining never pays.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes < IGNORE:
            raise ValueError(f"a confusion matrix has 1 to {IGNORE - 1} classes, got {classes}")
        self._classes = classes
        self._pairs = np.zeros((256, 256), np.int64)

    def add(self, truth: Labels, prediction: Labels) -> None:
        """Count one pair of label maps of equal shape; a value that is no class is a ValueError."""
        _check_pair(truth, prediction)
        pair = truth.astype(np.uint16) << 8 | prediction
        counts = np.bincount(pair.ravel(), minlength=1 << 16).reshape(256, 256)
        counts[IGNORE] = 0
        self._check_values(counts)
        self._pairs += counts

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Pixels of truth class i predicted as class j, [classes, classes]."""
        return self._pairs[: self._classes, : self._classes]

    @property
    def unpredicted(self) -> NDArray[np.int64]:
        """Pixels of each truth class that were predicted as ignore, [classes]."""
        return self._pairs[: self._classes, IGNORE]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class; NaN where truth and prediction both lack the class."""
        intersection = self.matrix.diagonal()
        truth = self.matrix.sum(axis=1) + self.unpredicted
        return _ratio(intersection, truth + self.matrix.sum(axis=0) - intersection)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction; NaN for an empty matrix."""
        return _mean(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that were predicted right; NaN for an empty matrix."""
        correct = self.matrix.trace()
        return float(_ratio(correct, self.matrix.sum() + self.unpredicted.sum()))

    def _check_values(self, counts: NDArray[np.int64]) -> None:
        bad_truth = counts[self._classes : IGNORE].sum(axis=1)
        bad_prediction = counts[:, self._classes : IGNORE].sum(axis=0)
        for name, bad in (("truth", bad_truth), ("prediction", bad_prediction)):
            if bad.any():
                value = self._classes + int(bad.argmax())
                raise ValueError(
                    f"{name} holds label {value}, but there are {self._classes} classes"
                )


class BoundaryScores:
    """Boundary F-score and trimap accuracy, both within `TOLERANCE` pixels.

    A boundary pixel of class c is a pixel of class c with a 4-neighbour of another class; ignore
    and the frame's edge make no boundary. Precision of c: the share of predicted boundary pixels
    of c within the tolerance of a true one of c; recall the other way round; F their harmonic
    mean, then the mean over the classes that have a boundary (Csurka et al., "What is a good
    evaluation measure for semantic segmentation?", BMVC 2013, with sums over the dataset where
    they average over images).

    Trimap accuracy is the pixel accuracy within the tolerance of a true boundary (Kohli, Ladicky
    and Torr 2009; DeepLab v1).
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._true, self._found, self._predicted, self._right = np.zeros((4, classes), np.int64)
        self._band = self._band_correct = 0

    def add(self, truth: Labels, prediction: Labels) -> None:
        """Count one pair of label maps [H, W] of equal shape."""
        _check_pair(truth, prediction)
        known = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
        true_edge, predicted_edge = _boundary(truth), _boundary(known)
        band = np.zeros(truth.shape, np.bool_)
        for first in range(0, self._classes, GROUP):
            true = _class_bits(truth, true_edge, first)
            predicted = _class_bits(known, predicted_edge, first)
            near_true = _within_tolerance(true)
            near_predicted = _within_tolerance(predicted)
            self._true += self._count(truth, true)
            self._found += self._count(truth, true & near_predicted)
            self._predicted += self._count(known, predicted)
            self._right += self._count(known, predicted & near_true)
            band |= near_true != 0
        band &= truth != IGNORE
        self._band += int(np.count_nonzero(band))
        self._band_correct += int(np.count_nonzero(band & (truth == prediction)))

    @property
    def per_class(self) -> NDArray[np.float64]:
        """F-score per class; NaN where neither truth nor prediction has a boundary of the class.

        F = 2PR / (P + R), and 0 where only one of the two has boundaries.
        """
        precision, recall = _ratio(self._right, self._predicted), _ratio(self._found, self._true)
        score = _ratio(2 * precision * recall, precision + recall)
        missed = np.isnan(score) & (self._true + self._predicted > 0)
        return np.where(missed, 0.0, score)

    @property
    def f_score(self) -> float:
        """Mean F over the classes that have a boundary; NaN where there is none at all."""
        return _mean(self.per_class)

    @property
    def trimap_accuracy(self) -> float:
        """Pixel accuracy in the band around true boundaries; NaN where there is none."""
        return float(_ratio(self._band_correct, self._band))

    def _count(self, labels: Labels, bits: NDArray[np.uint16]) -> NDArray[np.int64]:
        return np.bincount(labels[bits != 0], minlength=self._classes)


@dataclass(frozen=True)
class Summary:
    """A dataset's scores in percent; `per_class` is the IoU, None for a class that never occurs.

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
        self.confusion.add(truth, prediction)
        self.boundaries.add(truth, prediction)
        self._images += 1

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


def _boundary(labels: Labels) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another class, where neither of the two is ignore."""
    edge = np.zeros(labels.shape, np.bool_)
    known = labels != IGNORE
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        step = (labels[here] != labels[there]) & known[here] & known[there]
        edge[here] |= step
        edge[there] |= step
    return edge


def _class_bits(labels: Labels, edge: NDArray[np.bool_], first: int) -> NDArray[np.uint16]:
    """The edge pixels, each with the bit of its class in the group that begins at `first`."""
    table = np.zeros(256, np.uint16)
    table[first : first + GROUP] = 1 << np.arange(min(GROUP, 256 - first))
    return table[labels] * edge


def _within_tolerance(bits: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """OR over the disc dx² + dy² <= 9: one pixel wide at dy = ±3, five at ±2 and ±1, seven at 0."""
    wide3 = bits | _shifted(bits, 1, axis=1)
    wide5 = wide3 | _shifted(bits, 2, axis=1)
    wide7 = wide5 | _shifted(bits, 3, axis=1)
    near = wide7 | _shifted(wide5, 1, axis=0)
    near |= _shifted(wide5, 2, axis=0)
    near |= _shifted(bits, 3, axis=0)
    return near


def _shifted(bits: NDArray[np.uint16], by: int, axis: int) -> NDArray[np.uint16]:
    """`bits` moved by `by` pixels both ways along `axis`, ORed; nothing enters at the edges."""
    result = np.zeros_like(bits)
    ahead, behind = (np.s_[by:], np.s_[:-by]) if axis == 0 else (np.s_[:, by:], np.s_[:, :-by])
    result[ahead] |= bits[behind]
    result[behind] |= bits[ahead]
    return result


def _ratio(part: object, whole: object) -> NDArray[np.float64]:
    """part / whole in double precision, NaN where the whole is 0."""
    numerator, denominator = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else 100 * float(value)


def _check_pair(truth: Labels, prediction: Labels) -> None:
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype != np.uint8:
            raise TypeError(f"{name} must be uint8 labels, got {labels.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
