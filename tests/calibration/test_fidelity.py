"""The label-free score: FP32 against itself, against a worse graph, and with labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.fidelity import Reference
from calibration.graphs.execution import load
from calibration.sqnr import CEILING, Sqnr, decibel
from engines.failures import Refused
from engines.twins import upsample

Frames = list[NDArray[np.uint8]]


def disturbed(model: ModelProto, name: str, factor: float) -> ModelProto:
    """A copy with one weight scaled."""
    result = ModelProto()
    result.CopyFrom(model)
    tensor = next(item for item in result.graph.initializer if item.name == name)
    tensor.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name)
    )
    return result


def masks(model: ModelProto, frames: Frames, zoom: int = 1) -> list[NDArray[np.uint8]]:
    """The slow twin: full-resolution logits, then their argmax."""
    session = load(model)
    logits = (session.run(None, {"frames": frame[None]})[0][0] for frame in frames)
    size = zoom * frames[0].shape[0], zoom * frames[0].shape[1]
    return [upsample(values, size).argmax(0).astype(np.uint8) for values in logits]


def test_fp32_is_faithful_to_itself(miniature: ModelProto, frames: Frames) -> None:
    fidelity = Reference(miniature, frames).score(miniature)
    assert (fidelity.miou, fidelity.agreement, fidelity.true_miou) == (100, 100, None)
    assert fidelity.sqnr_db > 60  # FP16's rounding


def test_scores_equal_those_of_the_slow_twin(miniature: ModelProto, frames: Frames) -> None:
    other = disturbed(miniature, "classifier.bias", -3)
    fidelity = Reference(miniature, frames).score(other)
    truth, found = np.stack(masks(miniature, frames)), np.stack(masks(other, frames))
    ious = [
        ((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum()
        for k in np.unique(truth)
    ]
    assert fidelity.miou == pytest.approx(100 * np.mean(ious))
    assert fidelity.agreement == pytest.approx(100 * (truth == found).mean())
    assert fidelity.miou < 100


def test_a_class_that_fp32_never_saw_does_not_count(miniature: ModelProto, frames: Frames) -> None:
    fidelity = Reference(miniature, frames[:1]).score(miniature)
    assert len(np.unique(masks(miniature, frames[:1]))) < 5
    assert fidelity.miou == 100


def test_the_worse_graph_scores_less(miniature: ModelProto, frames: Frames) -> None:
    reference = Reference(miniature, frames)
    little, much = (
        reference.score(disturbed(miniature, "expand.weight", factor)) for factor in (1.1, 2.0)
    )
    assert little.sqnr_db > much.sqnr_db + 6
    assert little.agreement > much.agreement


def test_labels_give_a_real_miou_at_their_own_size(miniature: ModelProto, frames: Frames) -> None:
    truths = masks(miniature, frames, zoom=2)
    for truth in truths:
        truth[:10] = 255
    reference = Reference(miniature, frames, truths)
    same, worse = (
        reference.score(disturbed(miniature, "classifier.bias", factor)) for factor in (1, -3)
    )
    assert reference.true_miou == same.true_miou == 100
    assert worse.true_miou is not None
    assert worse.true_miou < 100


def test_labels_that_are_all_ignore_give_none(miniature: ModelProto, frames: Frames) -> None:
    blank = [np.full(frame.shape[:2], 255, np.uint8) for frame in frames]
    reference = Reference(miniature, frames, blank)
    assert reference.true_miou is None
    assert reference.score(miniature).true_miou is None


def test_no_frames_and_infinite_logits_are_refused(miniature: ModelProto, frames: Frames) -> None:
    with pytest.raises(Refused, match="no frame"):
        Reference(miniature, [])
    with pytest.raises(ValueError, match="labels of 1"):
        Reference(miniature, frames, [frames[0][..., 0]])
    with pytest.raises(Refused, match="not finite"):
        Reference(disturbed(miniature, "classifier.weight", 1e6), frames[:1])
    with pytest.raises(Refused, match="not finite"):
        Reference(miniature, frames[:1]).score(
            disturbed(miniature, "classifier.bias", float("nan"))
        )


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(1.0, 0.0, CEILING), (0.0, 0.0, CEILING), (0.0, 1.0, -CEILING), (1.0, math.inf, -CEILING),
     (1e-30, 1.0, -CEILING), (1e30, 1.0, CEILING), (100.0, 1.0, 20.0)],
)  # fmt: skip
def test_decibels_stay_within_the_ceiling(signal: float, noise: float, expected: float) -> None:
    assert decibel(signal, noise) == pytest.approx(expected)
    assert math.isnan(decibel(math.nan, 1.0))
    assert math.isnan(decibel(1.0, math.nan))


def test_sqnr_is_that_of_all_values_together() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(3, 40)).astype(np.float32)
    found = exact + random.normal(size=exact.shape).astype(np.float32) / 10
    ratio = Sqnr()
    for one, other in zip(exact, found, strict=True):
        ratio.add(one, other)
    power = (exact.astype(np.float64) ** 2).sum() / ((exact.astype(np.float64) - found) ** 2).sum()
    assert ratio.decibel == pytest.approx(10 * np.log10(power))
    equal = Sqnr()
    equal.add(exact, exact)
    assert equal.decibel == CEILING
