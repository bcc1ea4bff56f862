"""How well a mask's boundaries lie: boundary F-score and trimap accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenes.confusion import check_pair, mean_of_known, ratio
from scenes.dataset import IGNORE, Labels

TOLERANCE = 3  # pixels, Euclidean; `_within_tolerance` is this disc written out
GROUP = 16  # classes dilated at once, one bit each of a uint16

Bits = NDArray[np.uint16]
Indices = NDArray[np.intp]


class TrueBoundaries:
    """What the scores need of one image's truth [H, W], found once: candidates share it.

    It holds 0.9 MB at 480x360 and up to 16 classes, 0.35 MB more for every 16 classes more.
    """

    def __init__(self, truth: Labels, classes: int) -> None:
        self.labels = truth
        self.known = truth != IGNORE
        self.edges = _Edges(truth, classes)
        self.near = [_within_tolerance(bits) for bits in self.edges.groups()]
        self.band = np.logical_or.reduce([near != 0 for near in self.near]) & self.known

    @property
    def nbytes(self) -> int:
        """What the maps hold; the sparse edges are a few percent of it."""
        maps = (self.labels, self.known, self.band, *self.near)
        return sum(one.nbytes for one in maps)


class BoundaryScores:
    """Boundary F-score and trimap accuracy, both within `TOLERANCE` pixels.

    A boundary pixel of class c is a pixel of class c with a 4-neighbour of another class; ignore
    and the frame's edge make no boundary. Precision of c: the share of predicted boundary pixels
    of c within the tolerance of a true one of c; recall the other way round; F their harmonic
    mean, then the mean over the classes that have a true boundary (Csurka et al., "What is a good
    evaluation measure for semantic segmentation?", BMVC 2013, with sums over the dataset where
    they average over images).

    Trimap accuracy is the pixel accuracy within the tolerance of a true boundary (Kohli, Ladicky
    and Torr 2009; DeepLab v1).
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._counts = np.zeros((4, classes), np.int64)
        self._band = np.zeros(2, np.int64)

    def add(self, truth: Labels, prediction: Labels) -> None:
        """Count one pair of label maps [H, W] of equal shape."""
        self.compare(TrueBoundaries(truth, self._classes), prediction)

    def compare(self, truth: TrueBoundaries, prediction: Labels) -> None:
        """Count one more prediction [H, W] for a truth that was prepared before."""
        check_pair(truth.labels, prediction)
        known = np.where(truth.known, prediction, np.uint8(IGNORE))
        predicted = _Edges(known, self._classes)
        near = [_within_tolerance(bits) for bits in predicted.groups()]
        self._counts += [
            truth.edges.count(),
            truth.edges.count(near),
            predicted.count(),
            predicted.count(truth.near),
        ]
        right = truth.labels[truth.band] == prediction[truth.band]
        self._band += [right.size, np.count_nonzero(right)]

    def merge(self, other: BoundaryScores) -> None:
        """Count all that `other` has counted, of the same classes."""
        self._counts += other._counts
        self._band += other._band

    @property
    def per_class(self) -> NDArray[np.float64]:
        """F-score per class; NaN where the truth has no boundary of the class.

        F = 2PR / (P + R), and 0 where the prediction has none, or none near a true one.
        """
        true, found, predicted, right = self._counts
        precision, recall = ratio(right, predicted), ratio(found, true)
        score = ratio(2 * precision * recall, precision + recall)
        missed = np.isnan(score) & (true > 0)
        return np.where(missed, 0.0, score)

    @property
    def f_score(self) -> float:
        """Mean F over the classes that have a true boundary; NaN where there is none at all."""
        return mean_of_known(self.per_class)

    @property
    def trimap_accuracy(self) -> float:
        """Pixel accuracy in the band around true boundaries; NaN where there is none."""
        return float(ratio(self._band[1], self._band[0]))


class _Edges:
    """The boundary pixels of a label map, sparse: a few percent of a street scene."""

    def __init__(self, labels: Labels, classes: int) -> None:
        self._shape, self._classes = labels.shape, classes
        self._pixels: Indices = np.flatnonzero(_boundary(labels))
        self._label = labels.ravel()[self._pixels]
        self._bit = (np.uint16(1) << (self._label % GROUP)).astype(np.uint16)

    def groups(self) -> list[Bits]:
        """Maps [H, W], one per `GROUP` classes: each boundary pixel with the bit of its class."""
        return [self._group(index) for index in range(-(-self._classes // GROUP))]

    def count(self, near: list[Bits] | None = None) -> NDArray[np.int64]:
        """Boundary pixels per class; with `near`, those whose own class is near there."""
        if near is None:
            return np.bincount(self._label, minlength=self._classes)
        hit = np.zeros(self._label.shape, np.bool_)
        for index, bits in enumerate(near):
            hit |= (self._label // GROUP == index) & (bits.ravel()[self._pixels] & self._bit != 0)
        return np.bincount(self._label[hit], minlength=self._classes)

    def _group(self, index: int) -> Bits:
        bits = np.zeros(self._shape, np.uint16)
        mine = self._label // GROUP == index
        bits.ravel()[self._pixels[mine]] = self._bit[mine]
        return bits


def _boundary(labels: Labels) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another class, where neither of the two is ignore."""
    edge = np.zeros(labels.shape, np.bool_)
    known = labels != IGNORE
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        step = (labels[here] != labels[there]) & known[here] & known[there]
        edge[here] |= step
        edge[there] |= step
    return edge


def _within_tolerance(bits: Bits) -> Bits:
    """OR over the disc dx² + dy² <= 9: one pixel wide at dy = ±3, five at ±2 and ±1, seven at 0."""
    wide3 = bits | _shifted(bits, 1, axis=1)
    wide5 = wide3 | _shifted(bits, 2, axis=1)
    wide7 = wide5 | _shifted(bits, 3, axis=1)
    near = wide7 | _shifted(wide5, 1, axis=0)
    near |= _shifted(wide5, 2, axis=0)
    near |= _shifted(bits, 3, axis=0)
    return near


def _shifted(bits: Bits, by: int, axis: int) -> Bits:
    """`bits` moved by `by` pixels both ways along `axis`, ORed; nothing enters at the edges."""
    result = np.zeros_like(bits)
    ahead, behind = (np.s_[by:], np.s_[:-by]) if axis == 0 else (np.s_[:, by:], np.s_[:, :-by])
    result[ahead] |= bits[behind]
    result[behind] |= bits[ahead]
    return result
