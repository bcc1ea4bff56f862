"""Scores against scikit-learn, against slow twins, and against cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from scenes.dataset import IGNORE, DatasetError, Labels
from scenes.scores import (
    TOLERANCE,
    BoundaryScores,
    ConfusionMatrix,
    SegmentationScores,
    TrueBoundaries,
)

CLASSES = 5


def labels(*rows: list[int]) -> Labels:
    return np.array(rows, np.uint8)


def blobs(seed: int, size: tuple[int, int] = (40, 60), classes: int = CLASSES) -> Labels:
    """A label map of blocks with a few ignored rectangles, like a coarse street."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (size[0] // 10, size[1] // 10), dtype=np.uint8)
    result = np.kron(coarse, np.ones((10, 10), np.uint8))
    for _ in range(3):
        top, left = rng.integers(0, size[0] - 9), rng.integers(0, size[1] - 9)
        result[top : top + 9, left : left + 5] = IGNORE
    return np.roll(result, rng.integers(0, 4), axis=1)


def pairs() -> list[tuple[Labels, Labels]]:
    shifted = [np.where(t == IGNORE, 0, np.roll(t, 2, axis=1)) for t in map(blobs, range(4))]
    return list(zip(map(blobs, range(4)), shifted, strict=True))


def test_confusion_matrix_agrees_with_scikit_learn() -> None:
    ours = ConfusionMatrix(CLASSES)
    for truth, prediction in pairs():
        ours.add(truth, np.where(prediction == IGNORE, 1, prediction).astype(np.uint8))
    truth = np.concatenate([t.ravel() for t, _ in pairs()])
    prediction = np.concatenate([p.ravel() for _, p in pairs()])
    prediction = np.where(prediction == IGNORE, 1, prediction)[truth != IGNORE]
    truth = truth[truth != IGNORE]
    everything = range(CLASSES)
    assert np.array_equal(ours.matrix, confusion_matrix(truth, prediction, labels=everything))
    expected = jaccard_score(truth, prediction, labels=everything, average=None)
    assert np.allclose(ours.iou, expected)
    assert ours.miou == pytest.approx(expected.mean())
    assert ours.pixel_accuracy == pytest.approx(accuracy_score(truth, prediction))


def test_iou_counted_by_hand() -> None:
    scores = ConfusionMatrix(4)
    scores.add(labels([0, 0, 1, 1], [0, 0, 1, IGNORE]), labels([0, 0, 0, 1], [0, 2, 1, 3]))
    # class 0: 3 of {4 true, 4 predicted, 3 both}; 1: 2 of 3; 2: predicted once, never true; 3: void
    assert scores.iou[:2].tolist() == [3 / 5, 2 / 3]
    assert np.isnan(scores.iou[2:]).all()
    assert scores.miou == pytest.approx((3 / 5 + 2 / 3) / 2)
    assert scores.pixel_accuracy == pytest.approx(5 / 7)


def test_miou_is_of_the_dataset_not_the_mean_over_images() -> None:
    scores = ConfusionMatrix(2)
    scores.add(labels([0, 0, 0, 0]), labels([0, 0, 0, 0]))
    scores.add(labels([1, 0, 0, 0]), labels([0, 0, 0, 0]))
    assert scores.miou == pytest.approx((7 / 8 + 0) / 2)


def test_a_prediction_of_ignore_is_an_error_of_the_true_class() -> None:
    scores = ConfusionMatrix(2)
    scores.add(labels([0, 0, 1, IGNORE]), labels([0, IGNORE, 1, IGNORE]))
    assert scores.iou.tolist() == [0.5, 1.0]
    assert scores.unpredicted.tolist() == [1, 0]
    assert scores.pixel_accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        pytest.param([0, 7], [0, 1], "truth holds label 7, but there are 2", id="truth"),
        pytest.param([0, 1], [0, 2], "prediction holds label 2, but there are 2", id="prediction"),
        pytest.param([0, 1], [0], "truth is .* but prediction is", id="shape"),
    ],
)
def test_values_that_are_no_class_are_refused(
    truth: list[int], prediction: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).add(labels(truth), labels(prediction))


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match="prediction must be uint8 labels, got int64"):
        ConfusionMatrix(2).add(labels([0, 1]), np.array([[0, 1]]))


def slow_boundary(values: Labels) -> NDArray[np.bool_]:
    height, width = values.shape
    result = np.zeros(values.shape, np.bool_)
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [values[p] for p in around if 0 <= p[0] < height and 0 <= p[1] < width]
            differs = any(n not in (values[y, x], IGNORE) for n in inside)
            result[y, x] = values[y, x] != IGNORE and differs
    return result


def near(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every pixel against every set pixel: no dilation, no disc."""
    y, x = np.indices(mask.shape)
    result = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        result |= np.hypot(y - row, x - column) <= TOLERANCE
    return result


def slow_boundary_scores(
    maps: list[tuple[Labels, Labels]], classes: int
) -> tuple[list[float], float]:
    """F per class and trimap accuracy from pixel distances, one class at a time."""
    counts = np.zeros((classes, 4))
    band = correct = 0
    for truth, prediction in maps:
        known = np.where(truth == IGNORE, IGNORE, prediction)
        edges, predicted_edges = slow_boundary(truth), slow_boundary(known)
        for c in range(classes):
            t, p = edges & (truth == c), predicted_edges & (known == c)
            counts[c] += [t.sum(), (t & near(p)).sum(), p.sum(), (p & near(t)).sum()]
        zone = near(edges) & (truth != IGNORE)
        band += zone.sum()
        correct += (zone & (truth == prediction)).sum()
    scores = []
    for true, found, predicted, right in counts:
        if true == 0:
            scores.append(math.nan)
        elif found == 0 or right == 0:
            scores.append(0.0)
        else:
            precision, recall = right / predicted, found / true
            scores.append(2 * precision * recall / (precision + recall))
    return scores, correct / band


@pytest.mark.parametrize("classes", [5, 19, 40], ids=["one group", "two groups", "three groups"])
def test_boundary_scores_agree_with_all_pairs_of_pixels(classes: int) -> None:
    maps = []
    for seed in range(3):
        truth = blobs(seed, classes=classes)
        noise = np.random.default_rng(seed).integers(0, classes, truth.shape, dtype=np.uint8)
        moved = np.roll(truth, seed + 2, axis=seed % 2)
        speckled = np.where(noise == 3, noise, moved)
        maps.append((truth, speckled.astype(np.uint8)))
    fast = BoundaryScores(classes)
    for truth, prediction in maps:
        fast.add(truth, prediction)
    expected, trimap = slow_boundary_scores(maps, classes)
    assert np.allclose(fast.per_class, expected, equal_nan=True)
    assert fast.f_score == pytest.approx(np.nanmean(expected))
    assert fast.trimap_accuracy == pytest.approx(trimap)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 1.0), (4, 0.0)])
def test_a_straight_edge_is_found_up_to_three_pixels_away(shift: int, expected: float) -> None:
    truth = np.zeros((8, 40), np.uint8)
    truth[:, 20:] = 1
    prediction = np.zeros_like(truth)
    prediction[:, 20 + shift :] = 1
    scores = BoundaryScores(2)
    scores.add(truth, prediction)
    assert scores.f_score == (expected)


def test_ignore_makes_no_boundary() -> None:
    truth = np.zeros((9, 30), np.uint8)
    truth[:, 10:12] = IGNORE
    prediction = np.zeros_like(truth)
    prediction[:, 10:12] = 1
    scores = BoundaryScores(2)
    scores.add(truth, prediction)
    assert math.isnan(scores.f_score)
    assert math.isnan(scores.trimap_accuracy)


def test_trimap_band_is_three_pixels_around_the_two_boundary_columns() -> None:
    truth = np.zeros((5, 20), np.uint8)
    truth[:, 10:] = 1
    prediction = np.zeros_like(truth)  # every pixel of class 1 is wrong: 4 of the band's 8 columns
    scores = BoundaryScores(2)
    scores.add(truth, prediction)
    assert scores.trimap_accuracy == 0.5
    assert scores.per_class.tolist() == [0.0, 0.0]


def test_summary_is_in_percent_and_names_the_classes() -> None:
    scores = SegmentationScores(("road", "car", "bike"))
    scores.add(labels([0, 0, 1, 1]), labels([0, 0, 0, 1]))
    summary = scores.summary()
    assert summary.per_class == {"road": pytest.approx(200 / 3), "car": 50.0, "bike": None}
    assert summary.miou == pytest.approx((200 / 3 + 50) / 2)
    assert summary.pixel_accuracy == 75.0
    assert summary.trimap_accuracy == 75.0
    assert summary.boundary_f == 100.0
    assert summary.images == 1


def test_summary_without_two_touching_classes_has_no_boundary_scores() -> None:
    scores = SegmentationScores(("road", "car"))
    scores.add(labels([0, 0]), labels([0, 0]))
    assert scores.summary().boundary_f is None
    assert scores.summary().trimap_accuracy is None
    assert scores.summary().miou == 100.0


@pytest.mark.parametrize("where", [(0, 0), (20, 20)], ids=["in the corner", "in the middle"])
def test_a_stray_pixel_of_a_class_that_no_label_shows_costs_a_pixel(where: tuple[int, int]) -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    stray = truth.copy()
    stray[where] = 2
    clean, dirty = (SegmentationScores(("road", "car", "bike")) for _ in range(2))
    clean.add(truth, truth)
    dirty.add(truth, stray)
    before, after = clean.summary(), dirty.summary()
    assert after.per_class["bike"] is None
    assert before.miou - after.miou == pytest.approx(50 / 1200)
    assert before.boundary_f is not None
    assert after.boundary_f is not None
    assert before.boundary_f - after.boundary_f < 3


def test_summary_of_nothing_says_so() -> None:
    scores = SegmentationScores(("road", "car"))
    scores.add(labels([IGNORE, IGNORE]), labels([0, 1]))
    with pytest.raises(DatasetError, match="nothing to score: 1 images without one labelled pixel"):
        scores.summary()


@pytest.mark.parametrize("classes", [5, 40], ids=["one group", "three groups"])
def test_sums_of_parts_and_prepared_truths_give_the_same_scores(classes: int) -> None:
    names = [str(c) for c in range(classes)]
    whole, sums = SegmentationScores(names), SegmentationScores(names)
    for seed in range(3):
        truth, other = blobs(seed, classes=classes), blobs(seed + 1, classes=classes)
        prepared = TrueBoundaries(truth, classes)
        for prediction in (other, np.roll(truth, 2, axis=0)):
            part = SegmentationScores(names)
            part.compare(prepared, prediction)
            sums.merge(part)
            whole.add(truth, prediction)
    assert sums.summary() == whole.summary()
    assert sums.summary().images == 6
    assert np.array_equal(sums.confusion.matrix, whole.confusion.matrix)
    assert np.array_equal(sums.confusion.unpredicted, whole.confusion.unpredicted)
    assert sums.confusion.unpredicted.any()
    assert np.array_equal(sums.boundaries.per_class, whole.boundaries.per_class, equal_nan=True)
